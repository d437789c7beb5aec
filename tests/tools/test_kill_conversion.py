"""Conversions that are killed again and again end in the same bytes; the tool says so only where it holds."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from kill_conversion import Tried, judge, stage

from bitconverter.jobs.convert import ConvertJob

TOOL = Path(__file__).parents[2] / "tools" / "kill_conversion.py"


def test_killed_nine_times_they_end_in_the_same_bytes() -> None:
    """The same with 100 is `python tools/kill_conversion.py`."""
    done = subprocess.run(
        [sys.executable, str(TOOL), "--kills", "9"], capture_output=True, encoding="utf-8", timeout=1200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"^kill \d+, ", done.stdout, re.MULTILINE)) == 9
    assert done.stdout.endswith("\nPASSED\n")


def test_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    tried = SimpleNamespace(name="fast", kills=Counter(start=3), ended=1, problems=list[str]())
    assert judge([tried], 3, 0)  # type: ignore[list-item]
    assert not judge([tried], 4, 0)  # type: ignore[list-item]
    tried.problems.append("fast: the bytes differ")
    assert not judge([tried], 3, 0)  # type: ignore[list-item]
    assert "| fast | 3 | 1 | start 3 |" in capsys.readouterr().out


def test_other_bytes_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversion whose end is not what it was without a break."""
    times = iter(range(10))

    def live(_: object, job: ConvertJob, **__: object) -> list[tuple[str, str, float]]:
        Path(job.out).mkdir()
        (Path(job.out) / "model").write_text(str(next(times)))
        return [("step", "layer 0", 0.0), ("end", "", 1.0)]

    monkeypatch.setattr("kill_conversion.live", live)
    tried = Tried("fast", ConvertJob("nowhere", str(tmp_path / "out")))
    tried.kill_until_it_ends(np.random.default_rng(0), 1)
    assert tried.problems == ["fast: the bytes differ"]


def test_the_moments_of_a_conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = (
        [("file", "open", 0.0)] * 7 + [("step", "a.b", 0.0), ("file", "open", 0.0)] * 60 + [("end", 0, 1.0)]
    )
    monkeypatch.setattr("kill_conversion.live", lambda *_, **__: told)
    (tmp_path / "out").mkdir()
    tried, random = Tried("fast", ConvertJob("nowhere", str(tmp_path / "out"))), np.random.default_rng(0)
    made = [tried.moment(random, kills) for kills in range(400)]
    assert {moment.files for moment in made[3::4]} == set(range(8))
    assert {moment.files for moment in made[1::4]} == {1, 2}
    assert {moment.files for moment in made[::2] if moment.place is not None} == {0}
    assert all((moment.place is None) == (n % 4 == 3) for n, moment in enumerate(made))
    places = [moment.place for moment in made if moment.place is not None]
    assert min(places) == 0 and 7 < np.mean(places) < 13  # a sixth of 60 results


def test_where_a_life_ended() -> None:
    ends = {
        "layer 3": "layers",
        "polish": "polish",
        "sensitivity": "sensitivity",
        "model.norm.weight": "tensors",
    }
    assert {item: stage([("step", item, 0.0)]) for item in ends} == ends
    assert stage([]) == "start" and stage([("step", "en", 0.0)]) == "report and end"
