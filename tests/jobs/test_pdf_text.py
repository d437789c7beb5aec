"""Lines that the width of a PDF's page has ended are one line again, and nothing else is."""

from bitconverter.jobs.pdf_text import page_text


def lines(*texts: str) -> str:
    return "\n".join(texts)


def test_a_paragraph_is_one_line_and_the_next_begins_anew() -> None:
    page = lines(
        "A Title",
        "The first paragraph goes over several lines of the page, is hyphen-",
        "ated at the end of one of them, and ends somewhere in the middle of",
        "the third of them.",
        "The second begins behind it, and has an inner hyphen in its half-done",
        "sentence. It is a UTF-",
        "",
        "8 text.",
    )
    assert page_text(page) == lines(
        "A Title",
        "The first paragraph goes over several lines of the page, is hyphenated at the end of one of them, and ends "
        "somewhere in the middle of the third of them.",
        "The second begins behind it, and has an inner hyphen in its half-done sentence. It is a UTF-",
        "",
        "8 text.",
    )


def test_japanese_is_joined_without_spaces() -> None:
    page = lines(
        "　吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつか",
        "ぬ。何でも薄暗いじめじめした所でニャーニャー泣いていた事だけは記",
        "憶している。",
        "　吾輩はここで始めて人間というものを見た。しかもあとで聞くとそれ",
        "は書生という人間中で一番獰悪な種族であったそうだ。",
    )
    first, second = page_text(page).split("\n")
    assert "見当がつかぬ。" in first and first.endswith("記憶している。") and " " not in first
    assert second.startswith("　吾輩はここで") and "それは書生" in second


def test_lists_stay_lists() -> None:
    long = "is a line that is as wide as the page and goes on in the following"
    page = lines(f"• One {long}", "line.", f"• Two {long}:", f"- three {long}", "- line, or")
    assert page_text(page) == lines(f"• One {long} line.", f"• Two {long}:", f"- three {long} - line, or")
    assert page_text(lines(f"A {long}", "1. first", f"B {long}.", "- second")) == lines(
        f"A {long}", "1. first", f"B {long}.", "- second"
    )


def test_tables_and_poems_keep_their_lines() -> None:
    table = lines("name price", "tea 3.20", "coffee 2.80", "water 0.00")
    assert page_text(table) == table
    code = lines(
        "for word in words:",
        "    print(word)",
        "",
        "words that are wider than any other line on all of this page",
    )
    assert page_text(code) == code


def test_letters_for_what_stands_for_them() -> None:
    assert page_text("\x1cxed, o\x1b, \ufb03\x03 and \x10so\x11\n") == "fixed, off, ffi and “so”"
    soft = "An invisible hyphen ends this line, which is wide enough for it, and in\u00ad\nside of a word"
    assert page_text(soft) == soft.replace("\u00ad\n", "")


def test_a_page_without_words_is_empty() -> None:
    assert page_text("") == page_text(" \n\n ") == ""
