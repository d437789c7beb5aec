"""A training that is killed again and again ends in the same bytes; the tool that kills says so only where it holds."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import pytest
from kill_training import Seen, judge
from killing import Told

TOOL = Path(__file__).parents[2] / "tools" / "kill_training.py"


@pytest.mark.parametrize("engine", ["exact", "mezo"])
def test_killed_a_dozen_times_it_ends_in_the_same_bytes(engine: str) -> None:
    """The same with 100 is `python tools/kill_training.py`."""
    words = ["--kills", "12", "--steps", "500", "--damage-every", "4", "--engine", engine]
    done = subprocess.run(
        [sys.executable, str(TOOL), *words], capture_output=True, encoding="utf-8", timeout=1200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    kills = re.findall(r"^kill (\d+) of 12: ", done.stdout, re.MULTILINE)
    assert kills == [str(n) for n in range(1, 13)] and done.stdout.endswith("\nPASSED\n")
    assert "| yes |" in done.stdout and not re.search(r"\| 0 \| yes \|", done.stdout)  # damaged ones were met


def judged(seen: Seen, capsys: pytest.CaptureFixture[str], kills: int = 10, same: bool = True) -> str:
    """The last line."""
    args = argparse.Namespace(kills=10, damage_every=5, engine="exact", seed=0, steps=100)
    held = judge(args, kills, 0.5, seen, same)
    line = capsys.readouterr().out.splitlines()[-1]
    assert held == (line == "PASSED")
    return line


def lived(*told: Told) -> list[Told]:
    return list(told)


def test_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    def good() -> Seen:
        seen = Seen()
        seen.take(lived(("step", 1, 1.0), ("step", 2, 2.0), ("step", 3, 3.0)))
        seen.take(lived(("from", 2, 0.5), ("step", 3, 1.5), ("step", 4, 2.5)))
        seen.found = 1
        return seen

    assert good().redone == [0.0, 1.0] and good().at[4] == 4.0 and good().longest_step == 1.0
    assert judged(good(), capsys) == "PASSED"
    assert "the bytes differ" in judged(good(), capsys, same=False)
    assert "after 7 kills" in judged(good(), capsys, kills=7)
    far = good()
    far.take(lived(("from", 1, 0.0), ("step", 2, 1.0)))
    assert "3.00 s were redone, 2.50 are allowed" in judged(far, capsys)
    blind = good()
    blind.found = 0
    assert "no damaged checkpoint was met" in judged(blind, capsys)
    failed = good()
    failed.take(lived(("failed", "no room", 0.0)))
    assert "no room" in judged(failed, capsys)


@pytest.mark.parametrize(
    ("lives", "problem"),
    [
        ([[("bad", "step-00000002.bad", 0.0), ("from", 1, 0.0)]], ""),
        ([[], [("from", 1, 0.0)]], ""),  # killed before it could say so
        ([[("from", 1, 0.0)]], "nothing was said"),
        ([[("bad", "step-00000002.bad", 0.0), ("from", 2, 0.0)]], "went on from it"),
        ([[("from", 9, 0.0)]], "which it never told of"),
    ],
)
def test_what_was_damaged_must_be_found(lives: list[list[Told]], problem: str) -> None:
    seen = Seen()
    seen.take(lived(("step", 1, 1.0), ("step", 2, 2.0)))
    seen.damaged = "step-00000002"
    for told in lives:
        seen.take(told)
    assert problem in " ".join(seen.problems) and bool(seen.problems) == bool(problem)
