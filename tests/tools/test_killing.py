"""A process is killed at the moment that was chosen, however its pace changes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"
PIECES, FILES = 40, 6  # files of each piece

# Processes are forked, which shall not be done to the tests' own one.
PROGRAM = f"""
import json, os, sys, time
sys.path.insert(0, {str(TOOLS)!r})
from killing import Moment, begin, live

def work(pace, teller):
    for piece in range({PIECES}):
        time.sleep({{"quick": 0, "slow": 0.002, "slower": 0.001 * piece, "quicker": 0.2 * (piece == 10)}}[pace])
        for _ in range({FILES}):
            open(os.devnull, "rb").close()
        teller.result("step", piece, piece)
    teller.say("end", 0)

if __name__ == "__main__":
    begin()
    for moment in json.loads(sys.argv[2]):
        print(json.dumps([word for word, _, _ in live(work, sys.argv[1], moment=Moment(*moment))]))
"""


def lives(folder: Path, pace: str, *moments: tuple[int | None, int, float]) -> list[list[str]]:
    """The words that each told."""
    program = folder / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(program), pace, json.dumps(moments)],
        cwd=folder, capture_output=True, encoding="utf-8", env={**os.environ, "PYTHONUTF8": "1"}, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("pace", ["quick", "slow", "slower", "quicker"])
def test_nothing_gets_past_its_moment(tmp_path: Path, pace: str) -> None:
    """Killed in the piece behind it, be it a thousand times quicker than the one before ("quicker")."""
    moments = [(place, 0, share) for place in (0, 10, PIECES - 2) for share in (0.0, 0.9)]
    for words, (place, _, _) in zip(lives(tmp_path, pace, *moments), moments, strict=True):
        assert words.count("step") in (place + 1, place + 2) and "end" not in words


@pytest.mark.parametrize("pace", ["quick", "slow", "quicker"])
def test_behind_files_nothing_gets_past_the_next_one(tmp_path: Path, pace: str) -> None:
    moments = [(10, files, share) for files in (1, 4) for share in (0.0, 0.9)]
    for words, (_, files, _) in zip(lives(tmp_path, pace, *moments), moments, strict=True):
        assert words.count("step") == 11
        behind = words[::-1].index("step")
        assert behind in (files, files + 1)


def test_files_of_the_start_are_counted_from_its_beginning(tmp_path: Path) -> None:
    at_once, behind, too_many = lives(tmp_path, "slow", (None, 0, 0.5), (None, 4, 0.5), (None, 99, 0.5))
    assert at_once.count("step") <= 1
    assert "step" not in behind and behind.count("file") in (4, 5)
    assert too_many.count("step") == 1 and too_many.count("file") in (FILES, FILES + 1)


def test_where_there_are_too_few_files_the_next_result_counts(tmp_path: Path) -> None:
    (words,) = lives(tmp_path, "quick", (10, 99, 0.5))
    assert words.count("step") == 12 and words[::-1].index("step") <= 1


def test_one_that_never_gets_there_comes_to_its_end(tmp_path: Path) -> None:
    (words,) = lives(tmp_path, "quick", (PIECES, 0, 0.5))
    assert words[-1] == "end" and words.count("step") == PIECES
