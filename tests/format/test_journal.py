"""A journal on a disk that is full: its name is told, also by what is written once more when it is closed."""

import subprocess
import sys
from pathlib import Path

import pytest

# a limit on the size of a file makes its writing fail as a full disk does
PROGRAM = """
import resource, signal, sys
from pathlib import Path
from bitconverter.format.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
journal = Journal(Path(sys.argv[1]))
for act in (lambda: journal.append({"text": "x" * 5000}), journal.close):
    try:
        act()
    except OSError as error:
        print(error.filename)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_full_disk_is_told_with_the_file_by_every_write(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.split() == [str(path)] * 2, done
