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


def test_where_a_life_ended() -> None:
    ends = {
        "layer 3": "layers",
        "polish": "polish",
        "sensitivity": "sensitivity",
        "model.norm.weight": "tensors",
    }
    assert {item: stage([("step", item, 0.0)]) for item in ends} == ends
    assert stage([]) == "start" and stage([("step", "en", 0.0)]) == "report and end"
