"""From the start of the process to its first painted window: python tools/measure_start.py [--program EXE] ...

Each start is a process of its own with an empty profile. Without --program it is this Python's BitConverter, as the
command starts it; a frozen program tells the time in its self-test (the same window, as at a first start). --cold lets
the system forget the program's files before each start; it does not forget those that another process has open.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import PySide6
from devenv import SetupError

import bitconverter

LIMIT = 1.5  # seconds until the window is painted; a release is refused beyond it
TIMES = 5

# The folders of this Python that a start reads.
OWN = [Path(place).parent for place in (bitconverter.__file__, os.__file__)]
OWN += [Path(place) for place in PySide6.__path__]

# The window as `bitconverter` opens it; it says its age when it is painted, and closes.
CHILD = """
import sys
from bitconverter.gui import app
from bitconverter.gui.process_age import process_age
class Window(app.MainWindow):
    def __init__(self, settings):
        super().__init__(settings)
        self.appeared.connect(self.tell)
    def tell(self):
        print(process_age(), flush=True)
        self.stop_and_close()
app.MainWindow = Window
sys.exit(app.main(["bitconverter", "-platform", sys.argv[1]]))
"""


def of_this_python(screen: str, page: str, home: Path) -> float:
    """Seconds of one start, on the page that was open last."""
    (home / "settings.json").write_text(json.dumps({"page": page}), encoding="utf-8")
    return float(_output([sys.executable, "-c", CHILD, screen], home).split()[-1])


def of_program(program: Path, screen: str, home: Path) -> float:
    """Seconds of one start of a frozen program."""
    report = home / "self-test.json"
    _output([str(program), "--platform", screen, "--selftest", str(report)], home)
    parts = json.loads(report.read_text(encoding="utf-8"))["parts"]
    return float(parts["start"]["seconds_until_shown"])


def _output(command: list[str], home: Path) -> str:
    environment = {**os.environ, "BITCONVERTER_HOME": str(home)}
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise SetupError(f"{command[0]} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def need_soon(program: Path, screen: str = "offscreen", times: int = TIMES) -> float:
    """The median of some starts of a frozen program; raises SetupError beyond LIMIT."""
    seconds = list[float]()
    for _ in range(times):
        with tempfile.TemporaryDirectory() as home:
            seconds.append(of_program(program, screen, Path(home)))
    return within_limit(seconds, str(program))


def within_limit(seconds: list[float], what: str) -> float:
    """The median; raises SetupError beyond LIMIT."""
    median = statistics.median(seconds)
    each = " ".join(f"{value:.2f}" for value in seconds)
    if median > LIMIT:
        raise SetupError(f"{what}: painted {median:.2f} s after the start, allowed are {LIMIT} s ({each})")
    return median


def forget(folder: Path) -> None:
    """Let the system take the files below `folder` out of memory."""
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> int:
    from bitconverter.gui.pages import PAGES
    from bitconverter.jobs.benchmark import machine  # asks for the engine, which a release check does without

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", type=Path, action="append", help="the exe of a bundle")
    parser.add_argument(
        "--page", choices=[spec.name for spec in PAGES], default="welcome", help="of this Python"
    )
    parser.add_argument(
        "--platform", default="offscreen", help="Qt's: offscreen, or xcb where there is a screen"
    )
    parser.add_argument("--times", type=int, default=TIMES)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--limit", action="store_true", help=f"fail beyond {LIMIT} s, as for a release")
    given = parser.parse_args()
    print(f"{date.today()}, {machine()}, {given.platform}{', cold' if given.cold else ''}")
    for program in given.program or [None]:
        seconds = []
        for _ in range(given.times):
            if given.cold:
                for folder in OWN if program is None else [program.parent]:
                    forget(folder)
            with tempfile.TemporaryDirectory() as home:
                if program is None:
                    seconds.append(of_this_python(given.platform, given.page, Path(home)))
                else:
                    seconds.append(of_program(program, given.platform, Path(home)))
        name = f"this Python, {given.page}" if program is None else str(program)
        each = " ".join(f"{value:.2f}" for value in seconds)
        print(f"{name}: painted {statistics.median(seconds):.2f} s after the start (median of {each})")
        if given.limit:
            within_limit(seconds, name)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SetupError as error:
        sys.exit(f"tools/measure_start.py: {error}")
