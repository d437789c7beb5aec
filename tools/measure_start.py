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

import bitconverter
from bitconverter.gui.pages import PAGES
from bitconverter.jobs.benchmark import machine

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
        sys.exit(f"{command[0]} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def forget(folder: Path) -> None:
    """Let the system take the files below `folder` out of memory."""
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", type=Path, action="append", help="the exe of a bundle")
    parser.add_argument(
        "--page", choices=[spec.name for spec in PAGES], default="welcome", help="of this Python"
    )
    parser.add_argument(
        "--platform", default="offscreen", help="Qt's: offscreen, or xcb where there is a screen"
    )
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--cold", action="store_true")
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


if __name__ == "__main__":
    main()
