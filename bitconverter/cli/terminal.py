"""Writing to whatever the terminal is: never a crash over a character, one progress line on a terminal."""

import codecs
import io
import locale
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from bitconverter.jobs.job import Progress

SPARSE_SECONDS = 10.0  # between progress lines where there is no terminal
LINE_SECONDS = 0.1
_OR_CODE_PAGE = "or code page"
# all but tabulator and line end: with them a name in a foreign file could tell the terminal what to do
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


def make_streams_safe(windows: bool = sys.platform == "win32") -> None:
    """A character that the terminal's encoding lacks (cp932, ASCII) becomes '?', not an exception.

    On Windows files and pipes are UTF-8: its code page (cp1252 for an English user) would lose Japanese answers.
    What another program writes to our input in the code page is understood as well. A closed input is an empty one.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            utf8 = windows and not stream.isatty()
            stream.reconfigure(encoding="utf-8" if utf8 else None, errors="replace")
    if sys.stdin is None:  # closed by whoever started this program
        sys.stdin = io.StringIO()
    if isinstance(sys.stdin, io.TextIOWrapper):
        if windows and not sys.stdin.isatty():
            codecs.register_error(_OR_CODE_PAGE, _in_code_page)
            sys.stdin.reconfigure(encoding="utf-8-sig", errors=_OR_CODE_PAGE)
        else:
            sys.stdin.reconfigure(errors="replace")


def _in_code_page(error: UnicodeError) -> tuple[str, int]:
    """For codecs: from the first byte that is no UTF-8, all is read as the system's code page."""
    assert isinstance(error, UnicodeDecodeError)
    rest = error.object[error.start :]
    return rest.decode(locale.getencoding(), "replace"), len(error.object)


def visible(text: str) -> str:
    """With control characters, which escape sequences begin with, written as \\x1b."""
    return text.translate(_CONTROLS)


def size(n: int | float) -> str:
    """Bytes for people: decimal units, as in shops and file managers."""
    if n < 1000:
        return f"{n:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        n /= 1000
        if n < 1000 or unit == "TB":
            return f"{n:.3g} {unit}" if n < 999.5 else f"{n:.0f} {unit}"
    raise AssertionError


def duration(seconds: float) -> str:
    """5 s, 3:05, 2:10:00."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


class ProgressLine:
    """Progress on standard error: one line that is rewritten on a terminal, otherwise a line now and then."""

    def __init__(self, stream: TextIO | None = None, quiet: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._terminal = self._stream.isatty()
        self._shown = 0  # columns of the line on the terminal
        self._last = -LINE_SECONDS if self._terminal else time.monotonic()

    def show(self, progress: "Progress") -> None:
        """Write it if it is time: a job that is done before that needs no progress."""
        now = time.monotonic()
        if self._quiet or now - self._last < (LINE_SECONDS if self._terminal else SPARSE_SECONDS):
            return
        self._last = now
        text = visible(describe(progress))
        if not self._terminal:
            print(text, file=self._stream, flush=True)
            return
        width = max(20, shutil.get_terminal_size().columns - 1)
        text = text[:width]
        self._stream.write("\r" + text.ljust(self._shown))
        self._stream.flush()
        self._shown = len(text)

    def clear(self) -> None:
        """Take the line away, so that something else can be printed."""
        if self._shown:
            self._stream.write("\r" + " " * self._shown + "\r")
            self._stream.flush()
            self._shown = 0

    def say(self, text: str) -> None:
        """A line of its own on standard error."""
        if not self._quiet:
            self.clear()
            print(visible(text), file=self._stream, flush=True)


def describe(progress: "Progress") -> str:
    """` 43%  58.1 MB of 134 MB, 12 s left  model.layers.3.mlp.up_proj`."""
    share = progress.done / progress.total if progress.total else 1.0
    if progress.unit == "byte":
        amount = f"{size(progress.done)} of {size(progress.total)}"
    else:
        amount = f"{progress.done} of {progress.total} {progress.unit}s"
    return f"{share:4.0%}  {amount}{time_left(progress)}  {progress.item}".rstrip()


def time_left(progress: "Progress") -> str:
    """`, 12 s left`, or nothing where it is not known."""
    if progress.eta is None or progress.done >= progress.total:
        return ""
    return f", {duration(progress.eta)} left"


def as_table(rows: list[tuple[Any, ...]], right: set[int]) -> str:
    """Columns of equal width; those in `right` are aligned right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))] if cells else []
    lines = []
    for row in cells:
        parts = [
            c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)
