"""How much text a model is calibrated on, where nobody says."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bitconverter.engine import Cancel, check_config
from bitconverter.jobs import convert_layers, plan
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.convert_layers import windows_used
from bitconverter.jobs.job import Finished, run_job
from bitconverter.jobs.plan import PlanJob
from bitconverter.jobs.preflight import PreflightJob


def done(job: Any) -> Any:
    last = run_job(job, lambda _: None, Cancel())
    assert isinstance(last, Finished), last
    return last.result


@pytest.mark.parametrize(
    ("hidden", "windows"),
    [(64, 64), (576, 64), (1365, 64), (1366, 65), (1536, 72), (2048, 96), (3072, 128), (8192, 128)],
)
def test_a_wide_model_gets_more_text(hidden: int, windows: int, tiny_model: Path) -> None:
    info = replace(check_config((tiny_model / "config.json").read_bytes()), hidden_size=hidden)
    assert windows_used(info, "full") == windows
    assert windows_used(info, "diag") == 64
    assert windows_used(info, "full", 7) == windows_used(info, "diag", 7) == 7


@pytest.mark.parametrize(("method", "windows"), [("full", 3), ("diag", 2)])
def test_the_conversion_takes_as_much_as_was_told(
    method: str, windows: int, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tiny model as if it were wide."""
    monkeypatch.setattr(convert_layers, "CALIBRATION_WINDOWS", 2)
    monkeypatch.setattr(convert_layers, "MOST_BY_DEFAULT", 3)
    monkeypatch.setattr(convert_layers, "TOKENS_PER_ENTRY", 512)

    out = tmp_path / "out"
    wish: dict[str, Any] = {"method": method, "polish": 0 if method == "full" else None}
    told = [
        done(PreflightJob(str(tiny_model), str(out), calibration_windows=given, **wish)).needed_bytes
        for given in (windows, None)
    ]
    assert told[0] == told[1]
    done(ConvertJob(str(tiny_model), str(out), threads=1, **wish))
    made = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert made["parameters"]["calibration"]["windows"] == windows


def test_the_plan_reckons_with_as_much(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert_layers, "CALIBRATION_WINDOWS", 5)
    monkeypatch.setattr(plan, "peak_bytes", lambda *_, windows, **__: windows)
    for given, used in ((None, 5), (2, 2)):
        assert (
            done(PlanJob(str(tiny_model), threads=1, calibration_windows=given)).choices[0].peak_full == used
        )
