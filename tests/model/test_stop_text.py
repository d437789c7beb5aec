"""Words that end an answer: cut exactly there, however the text comes, and nothing else is lost."""

import itertools

import pytest

from bitconverter.model.stop_text import StopText


def streamed(stop: str, pieces: list[str]) -> tuple[str, bool]:
    cutter = StopText(stop)
    text = "".join(cutter.push(piece) for piece in pieces)
    return text + cutter.finish(), cutter.found


@pytest.mark.parametrize(
    "text", ["yes\nUser: no", "\nUser:", "aaa\nUse\nUser:x", "ab", "\nUser", "\n\n\nUser:", ""]
)
def test_any_split_gives_the_same_text(text: str) -> None:
    stop = "\nUser:"
    expected = (text.partition(stop)[0], stop in text)
    for count in range(min(3, len(text)) + 1):
        for cuts in itertools.combinations(range(1, len(text)), min(count, max(len(text) - 1, 0))):
            ends = [*cuts, len(text)]
            pieces = [text[a:b] for a, b in zip([0, *cuts], ends, strict=True)]
            assert streamed(stop, pieces) == expected, pieces
    assert streamed(stop, list(text)) == expected


def test_a_word_that_overlaps_with_itself_is_found() -> None:
    assert streamed("aab", list("aaab tail")) == ("a", True)


def test_what_cannot_be_the_stop_is_shown_at_once() -> None:
    cutter = StopText("\nUser:")
    assert [cutter.push(piece) for piece in ("Hel", "lo\n", "Us", "a", "!")] == [
        "Hel",
        "lo",
        "",
        "\nUsa",
        "!",
    ]


def test_nothing_after_the_stop_is_shown_and_no_stop_cuts_nothing() -> None:
    assert streamed("b", ["a", "b", "c"]) == ("a", True)
    assert streamed("", ["a\nUser:", "b"]) == ("a\nUser:b", False)
