"""What is written, on a terminal and elsewhere."""

import argparse
import io
import locale
import os
import sys

import pytest

from bitconverter.cli import running, terminal
from bitconverter.cli.results import print_result
from bitconverter.cli.terminal import (
    ProgressLine,
    as_table,
    describe,
    duration,
    make_streams_safe,
    size,
    visible,
)
from bitconverter.format.errors import UserError
from bitconverter.jobs.job import Progress


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (93_142_784, "93.1 MB"), (999_999, "1000 kB"), (4 * 10**12, "4 TB")],
)  # fmt: skip
def test_sizes_are_decimal(n: int, text: str) -> None:
    assert size(n) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (185, "3:05"), (7800, "2:10:00")]
)
def test_durations_read_like_a_clock(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_progress_names_share_amount_rest_and_item() -> None:
    text = describe(Progress(58_100_000, 134_000_000, "byte", item="model.norm.weight", eta=12.3))
    assert text == " 43%  58.1 MB of 134 MB, 12 s left  model.norm.weight"
    assert describe(Progress(3, 3, "token", eta=0.0)) == "100%  3 of 3 tokens"
    assert describe(Progress(0, 0, "run")) == "100%  0 of 0 runs"


def test_on_a_terminal_one_line_is_written_over_and_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "LINE_SECONDS", 0.0)
    screen = Screen()
    line = ProgressLine(screen)
    line.show(Progress(1, 3, "token", item="a long item"))
    line.show(Progress(2, 3, "token"))
    line.say("a note")
    line.clear()
    first, second = " 33%  1 of 3 tokens  a long item", " 67%  2 of 3 tokens"
    expected = f"\r{first}\r{second.ljust(len(first))}\r{' ' * len(second)}\ra note\n"
    assert screen.getvalue() == expected


def test_elsewhere_lines_are_few_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "SPARSE_SECONDS", 10.0)
    now = [100.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    line = ProgressLine(stream)
    for second in range(25):
        now[0] = 100.0 + second
        line.show(Progress(second, 25, "run"))
    assert stream.getvalue() == " 40%  10 of 25 runs\n 80%  20 of 25 runs\n"


def test_quiet_means_nothing_at_all() -> None:
    stream = Screen()
    line = ProgressLine(stream, quiet=True)
    line.show(Progress(1, 1, "run"))
    line.say("a note")
    line.clear()
    assert stream.getvalue() == ""


def test_a_table_lines_up() -> None:
    assert as_table([("a", 1), ("bcd", 20)], right={1}) == "a     1\nbcd  20"


def redirected(monkeypatch: pytest.MonkeyPatch, asked: bytes, terminal_too: bool = False) -> io.BytesIO:
    """Standard output, with an English Windows' code page for it and for `asked` at standard input."""
    said = io.BytesIO()
    for name, raw in (("stdin", io.BytesIO(asked)), ("stdout", said), ("stderr", io.BytesIO())):
        stream = io.TextIOWrapper(raw, encoding="cp1252", write_through=True)
        if terminal_too:
            monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(sys, name, stream)
    return said


@pytest.mark.parametrize(
    "asked", ["静かに\n動く é".encode(), "静かに\n動く é".encode("utf-8-sig")], ids=["utf-8", "with a mark"]
)
def test_on_windows_files_and_pipes_are_utf8(monkeypatch: pytest.MonkeyPatch, asked: bytes) -> None:
    said = redirected(monkeypatch, asked)
    make_streams_safe(windows=True)
    print(sys.stdin.read(), end="")
    assert said.getvalue().decode() == "静かに\n動く é".replace("\n", os.linesep)


def test_what_comes_in_the_code_page_is_read_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locale, "getencoding", lambda: "cp932")
    redirected(monkeypatch, "hello\nこんにちは、動く\n".encode("cp932"))
    make_streams_safe(windows=True)
    assert sys.stdin.read() == "hello\nこんにちは、動く\n"


@pytest.mark.parametrize(("windows", "terminal_too"), [(False, False), (True, True)])
def test_elsewhere_the_encoding_stays_and_nothing_crashes(
    monkeypatch: pytest.MonkeyPatch, windows: bool, terminal_too: bool
) -> None:
    said = redirected(monkeypatch, b"\xe9\x81", terminal_too)
    make_streams_safe(windows=windows)
    print(sys.stdin.read() + "静", end="")
    assert said.getvalue() == b"\xe9??"


EVIL = "evil\x1b]0;title\x07\x9b2J\r\x7f"


def test_control_characters_of_foreign_names_are_shown_and_not_sent() -> None:
    assert visible(EVIL) == r"evil\x1b]0;title\x07\x9b2J\x0d\x7f"
    assert visible("日本語 é\tа\n") == "日本語 é\tа\n"
    screen = Screen()
    line = ProgressLine(screen)
    line.say(EVIL)
    line.show(Progress(1, 2, "byte", item=EVIL))
    assert not set(screen.getvalue()) & set("\x1b\x07\x9b\x7f") and screen.getvalue().count(r"\x1b") == 2


def test_control_characters_of_errors_and_results_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    running.report(UserError("x", EVIL))
    running.report(RuntimeError(EVIL))
    print_result(argparse.Namespace(json=False), None, lambda _: EVIL)
    told = capsys.readouterr()
    assert not set(told.out + told.err) & set("\x1b\x07\x9b\x7f\r")
    assert r"\x1b]0;title" in told.out and told.err.count(r"\x1b]0;title") == 2
