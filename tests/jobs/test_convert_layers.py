"""How much text a model is calibrated on, where nobody says."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from running import finish

from bitconverter.engine import check_config
from bitconverter.jobs import convert_layers, plan
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.convert_layers import calibration_window, windows_used
from bitconverter.jobs.plan import PlanJob
from bitconverter.jobs.preflight import PreflightJob


@pytest.mark.parametrize(
    ("hidden", "windows"),
    [(64, 64), (576, 64), (2048, 64), (2049, 65), (2560, 80), (3584, 112), (4096, 128), (8192, 128)],
)
def test_a_wide_model_gets_more_text(hidden: int, windows: int, tiny_model: Path) -> None:
    tiny = check_config((tiny_model / "config.json").read_bytes())
    info = replace(tiny, hidden_size=hidden, max_positions=2048)
    assert windows_used(info, "full") == windows
    short = replace(info, max_positions=256)  # windows of half as many tokens
    assert windows_used(short, "full") == min(max(64, -(-hidden // 16)), 128)
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
        finish(PreflightJob(str(tiny_model), str(out), calibration_windows=given, **wish)).needed_bytes
        for given in (windows, None)
    ]
    assert told[0] == told[1]
    finish(ConvertJob(str(tiny_model), str(out), threads=1, **wish))
    made = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert made["parameters"]["calibration"]["windows"] == windows


def test_the_plan_reckons_with_as_much(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert_layers, "CALIBRATION_WINDOWS", 11)
    timed: list[int] = []

    def probe(*words: Any) -> Any:
        timed.append(words[-2])
        return real_probe(*words)

    real_probe = plan.probe
    monkeypatch.setattr(plan, "probe", probe)
    monkeypatch.setattr(plan, "peak_bytes", lambda *_, windows, **__: windows)
    monkeypatch.setattr(plan, "_report_seconds", lambda *_: 0.0)
    monkeypatch.setattr(plan.Speeds, "seconds", lambda _self, method, tokens: tokens)
    for part in ("measuring", "polishing"):
        monkeypatch.setattr(plan.Speeds, part, lambda *_: 0.0)
    window = calibration_window(check_config((tiny_model / "config.json").read_bytes()))
    for given, used in ((None, 11), (2, 2)):
        choice = finish(PlanJob(str(tiny_model), threads=1, calibration_windows=given)).choices[0]
        assert choice.peak_full == used
        assert choice.seconds_full == timed.pop() == used * window
