"""Lines that the width of a PDF's page has ended are one line again, and nothing else is."""

import pytest

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


def test_a_compound_keeps_its_hyphen() -> None:
    assert page_text("a state-of-the\x02art engine") == "a state-of-the-art engine"


def test_japanese_is_joined_without_spaces() -> None:
    page = lines(
        "　吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつか",
        "ぬ。何でも薄暗いじめじめした所でニャーニャー泣いていた事だけは記",
        "憶している。",
        "　吾輩はここで始めて人間というものを見た。しかもあとで聞くとそれ",
        "は書生という人間中で一番獰悪な種族であった。Debian という名を",
        "聞いたのはその Linux",
        "である。",
    )
    first, second, *rest = page_text(page).split("\n")
    assert first.startswith("　吾輩は") and "見当がつかぬ。" in first and first.endswith("記憶している。")
    assert second.startswith("　吾輩はここで") and "それは書生" in second and second.endswith("Linux")
    assert rest == ["である。"]


@pytest.mark.parametrize(
    "begin",
    [
        "　", "１．", "２）", "①", "第２条", "「", "・", "(2) ", "２０２６年", "3.2 ", "[7] ", "> ", "a) ", "• ", "- ",
        "x = ", "f(x) ",
    ],
)  # fmt: skip
def test_a_beginning_is_never_joined(begin: str) -> None:
    wide = ["それは書生という人間中で一番獰悪な種族であったそうだ、そう聞いた"] * 4
    ends = "それは書生という人間中で一番獰悪な種族であったそうだと聞いた。"
    page = lines(*wide, ends if begin == "「" else wide[0], f"{begin}続きの行")
    assert page_text(page).endswith(f"\n{begin}続きの行") and page_text(page).count("\n") == 1


def test_lists_stay_lists() -> None:
    long = "is a line that is as wide as the page and goes on in the following"
    page = lines(f"• One {long}", "line.", f"• Two {long}:", f"- three {long}", "words")
    assert page_text(page) == lines(f"• One {long} line.", f"• Two {long}:", f"- three {long} words")


def test_a_line_that_the_next_word_would_have_fitted_into_has_ended_by_itself() -> None:
    wide = "A line of the usual width that all the others on this page have too,"
    page = lines(
        wide, wide.lower(), "a line that ends well before", "the next, and so it stays.", wide.lower()
    )
    assert page_text(page) == lines(
        f"{wide} {wide.lower()} a line that ends well before", "the next, and so it stays.", wide.lower()
    )


KEPT = {
    "table": ("name price", "tea 3.20", "coffee 2.80", "water 0.00"),
    "statement": (
        "2026-01-05 Coffee shop in the old town                 3.20  1,234.50",
        "2026-01-06 Books, second hand, from the market        12.00  1,222.50",
        "2026-01-07 Wages of the month before                 900.00  2,122.50",
    ),
    "log": (
        "12:00:01.123 INFO engine opened with eight threads and 4.1 GB free",
        "12:00:02.456 INFO model of 3.2 GB mapped, the first token in 12 ms",
        "12:00:03.789 WARN the disk of /home is nearly full, 1.2 GB of it l",
    ),
    "verse": (
        "Shall I compare thee to a summer's day?",
        "Thou art more lovely and more temperate:",
        "Rough winds do shake the darling buds of May,",
        "And summer's lease hath all too short a date;",
    ),
    "contents": (
        "Introduction and what came before . . . . . . . . . . . . . . . . 2",
        "and a chapter that begins with a small letter . . . . . . . . . . 3",
        "the end of the book, its notes and an index . . . . . . . . . . . 9",
    ),
    "code": (
        "numbers = [first_of_the_numbers, second_of_the_numbers, third_one]",
        "results = [double(number) for number in numbers if number is none]",
        "    print(sorted(results), file=somewhere_else_but_the_terminal_x)",
        "report(results, numbers, first_of_the_numbers, second_of_the_ones)",
    ),
    "questions": (
        "Q: What does the shop in the old town sell to those who come in?",
        "A: Tea, and nothing but tea, whatever they ask and however often?",
        "Q: And on Mondays?",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(KEPT))
def test_what_only_looks_like_a_paragraph_keeps_its_lines(kind: str) -> None:
    assert page_text(lines(*KEPT[kind])) == lines(*KEPT[kind])


def test_a_page_of_millions_of_letters() -> None:
    """Each line that was joined copied all before it: minutes."""
    line = "a line of the usual width that goes on in the next one with a wo\x02"
    assert page_text(80_000 * line) == 80_000 * line.removesuffix("\x02") + "-"


def test_letters_for_what_stands_for_them() -> None:
    assert page_text("\x1cxed, o\x1b, \ufb03\x03 and \x10so\x11\n") == "fixed, off, ffi and “so”"
    assert page_text("a so\u00adft one\ta tab") == "a soft one a tab"
    assert page_text("\u2f42\u5b57\u2f64") == "文字用"


def test_a_page_without_words_is_empty() -> None:
    assert page_text("") == page_text(" \n\n ") == ""
    assert page_text("　段落。\n　次の段落。\n") == "　段落。\n　次の段落。"
    assert page_text("one\ufdd0 two") == "one two"
