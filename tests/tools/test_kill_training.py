"""A training that is killed again and again ends in the same bytes; the tool that kills says so only where it holds."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from kill_training import KEPT, PREPARED, Seen, judge, moments
from killing import FILE, Told

TOOL = Path(__file__).parents[2] / "tools" / "kill_training.py"


@pytest.mark.parametrize("engine", ["exact", "mezo"])
def test_killed_a_dozen_times_it_ends_in_the_same_bytes(engine: str) -> None:
    """The same with 100 is `python tools/kill_training.py`."""
    words = ["--kills", "12", "--steps", "800", "--layers", "6", "--texts", "10", "--damage-every", "3"]
    words += ["--engine", engine]
    done = subprocess.run(
        [sys.executable, str(TOOL), *words], capture_output=True, encoding="utf-8", timeout=1200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    kills = re.findall(r"^kill (\d+) of 12: ", done.stdout, re.MULTILINE)
    assert kills == [str(n) for n in range(1, 13)] and done.stdout.endswith("\nPASSED\n")
    assert "| yes |" in done.stdout and not re.search(r"\| 0 \| yes \|", done.stdout)  # damaged ones were met
    assert "windows before its first step" in done.stdout and "at step" in done.stdout


def without_a_break(parts: int, steps: int) -> list[Told]:
    """Twenty files at the start, one in each step, nine more in every tenth."""
    told: list[Told] = [(FILE, "open", 0.0)] * 20
    told += [("made", n - parts, 0.0) for n in range(1, parts + 1)]
    for step in range(1, steps + 1):
        told += [*[(FILE, "open", 0.0)] * (1 if step % 10 else 10), ("step", step, 0.0)]
    return [*told, *[(FILE, "open", 0.0)] * 50, ("end", 0, 0.0)]


@pytest.mark.parametrize(
    ("kills", "parts", "steps"), [(12, 48, 800), (100, 110, 20_000), (12, 2, 3), (2, 48, 800), (1, 48, 800)]
)
def test_the_moments_are_spread_over_what_is_done(kills: int, parts: int, steps: int) -> None:
    """At any pace: some before the first step and some behind it, in the work, in saves and at the start."""
    made = moments(kills, without_a_break(parts, steps), np.random.default_rng(0))
    assert made == moments(kills, without_a_break(parts, steps), np.random.default_rng(0))
    assert len(made) == kills
    for kill, moment in enumerate(made):
        assert 0 <= moment.share < 1 and (moment.place is None) == (kill % 4 == 3)
        if moment.place is None:
            assert 0 <= moment.files <= 20
        else:
            assert (moment.files > 0) == (kill % 4 == 1) and moment.files <= (
                KEPT if moment.place < 0 else 10
            )
    places = [moment.place for moment in made if moment.place is not None]
    assert places == sorted(places) and places[0] > -parts and places[-1] < steps
    before = max(1, round(kills / 3))
    assert [place < 0 for place in places] == [n % 4 != 3 and n < before for n in range(kills) if n % 4 != 3]
    if kills == 12 and steps == 800:
        assert len({place // 100 for place in places if place >= 0}) >= 5


def test_without_parts_all_kills_are_behind_the_first_step() -> None:
    made = moments(4, without_a_break(0, 10), np.random.default_rng(0))
    assert all(moment.place is None or moment.place >= 0 for moment in made)


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
        seen.found, seen.before = 1, 4
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
    assert "no damaged state was met" in judged(blind, capsys)
    late = good()
    late.before = 0
    assert "0 of 10 kills were before the first step" in judged(late, capsys)
    failed = good()
    failed.take(lived(("failed", "no room", 0.0)))
    assert "no room" in judged(failed, capsys)


def test_what_is_redone_before_the_first_step_counts() -> None:
    seen = Seen()
    seen.take(lived(("made", -20, 1.0), ("made", -10, 2.0)))
    seen.take(lived(("from", -20, 0.5), ("made", -10, 1.5), ("made", 0, 2.5), ("began", 0, 2.5)))
    seen.take(lived(("began", 0, 0.25), ("step", 1, 1.25)))
    assert seen.redone == [0.0, 1.0, 0.0] and seen.at[0] == 3.0 and seen.at[1] == 4.0
    seen.take(lived(("from", 0, 0.25), ("step", 1, 1.25)))
    seen.take(lived(("made", -20, 1.0)))  # all of it again
    assert seen.redone[3:] == [1.0, 4.0] and not seen.problems


@pytest.mark.parametrize(
    ("lives", "problem"),
    [
        ([[("bad", f"{PREPARED}.bad", 0.0), ("from", -20, 0.0)]], ""),
        ([[], [("from", -20, 0.0)]], ""),
        ([[("from", -20, 0.0)]], "nothing was said"),
        ([[("made", -20, 1.0)]], "nothing was said"),
    ],
)
def test_damage_before_the_first_step_must_be_found(lives: list[list[Told]], problem: str) -> None:
    seen = Seen()
    seen.take(lived(("made", -20, 1.0), ("made", -10, 2.0)))
    seen.damaged = PREPARED
    for told in lives:
        seen.take(told)
    assert problem in " ".join(seen.problems) and bool(seen.problems) == bool(problem)


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
