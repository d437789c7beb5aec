"""Lines that the width of a PDF's page has ended are one line again, and nothing else is."""

from bitconverter.jobs.pdf_text import page_text


def lines(*texts: str) -> str:
    return "\n".join(texts)


def test_a_paragraph_is_one_line_and_the_next_begins_anew() -> None:
    page = lines(
        "A Title",
        "The first paragraph goes over several lines of the page and ends in a",
        "short one.",
        "The second begins behind it, and has an inner hyphen in its half-done",
        "sentence.",
    )
    assert page_text(page) == lines(
        "A Title",
        "The first paragraph goes over several lines of the page and ends in a short one.",
        "The second begins behind it, and has an inner hyphen in its half-done sentence.",
    )


def test_a_divided_word_is_one_again() -> None:
    """Where a line ends with a hyphen the library puts a control character in the place of both."""
    page = lines(
        "This line is so long that its last word is hyphen\x02ated, as in UTF\x028 or a page num\x02"
    )
    assert (
        page_text(page) == "This line is so long that its last word is hyphenated, as in UTF-8 or a page num-"
    )
    many = (
        "A line of about the usual width, of which every one is divi\x02"
        "ded and goes on in another that has nearly as many words"
    )
    assert page_text(lines(*[many] * 9, "end")) == " ".join([many.replace("\x02", "")] * 9 + ["end"])


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
    assert page_text("a so\u00adft one\ta tab") == "a soft one a tab"
    assert page_text("\u2f42\u5b57\u2f64") == "文字用"


def test_a_page_without_words_is_empty() -> None:
    assert page_text("") == page_text(" \n\n ") == ""
