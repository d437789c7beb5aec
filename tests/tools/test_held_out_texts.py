"""Every build of the documentation gives the recorded text."""

from held_out_texts import japanese, undated

PAGE = "heapq\n© Copyright 2001-{year}, Python Software Foundation.\nLast updated on {date}.\nFound a bug?"


def test_when_a_page_was_built_is_not_in_the_text() -> None:
    builds = {
        undated(PAGE.format(year=year, date=date))
        for year, date in ((2025, "April 28, 2025"), (2026, "May 4, 2026"), (2026, "October 07, 2026"))
    }
    assert builds == {PAGE.format(year=2026, date="October 07, 2026")}


def test_other_dates_stay() -> None:
    text = "Changed on May 4, 2026. Copyright 1999-2005 by nobody."
    assert undated(text) == text


def test_japanese_paragraphs_are_one_line_each_and_others_are_left_out():
    long = "今日の天気は晴れで、\n   明日の天気は雨の予報です。" * 8
    text = f"目次\n\n{long}\n\nAn English paragraph that is long enough. {'x' * 200}\n\n{long}"
    first, second = japanese(text).split("\n\n")
    assert first == second == "今日の天気は晴れで、明日の天気は雨の予報です。" * 8
