"""The step log: what is written is read, small, and everything else is refused with a reason."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitconverter.format.errors import FormatError
from bitconverter.format.step_log import StepLog, log_bytes, read_log


def make(steps: int, directions: int = 1) -> StepLog:
    rng = np.random.default_rng(0)
    restored = np.full(steps, -1, np.int32)
    return StepLog(
        "モデル", "ab" * 32, 6, "lora", 4, ("q", "up"), 5, 0.02, "graded", steps // 2, {"lesson": "本.txt"},
        rng.standard_normal((steps, directions)).astype(np.float32), rng.random(steps), restored,
    )  # fmt: skip


def test_a_log_comes_back(tmp_path: Path) -> None:
    log = make(7, 3)
    log.restored[4] = 2
    (tmp_path / "a.steps").write_bytes(log_bytes(log))
    back = read_log(tmp_path / "a.steps")
    for name in ("slopes", "rates", "restored"):
        np.testing.assert_array_equal(getattr(back, name), getattr(log, name))
    assert (back.base_name, back.base_sha256, back.layers, back.seed, back.epsilon, back.best_step, back.notes) == (
        log.base_name, log.base_sha256, log.layers, log.seed, log.epsilon, log.best_step, log.notes,
    )  # fmt: skip
    assert log_bytes(back) == log_bytes(log) and back.reach == "graded"


def test_a_log_of_before_went_equally_far_along_all(tmp_path: Path) -> None:
    (tmp_path / "a.steps").write_bytes(changed(format_version=1, reach="drop"))
    assert read_log(tmp_path / "a.steps").reach == "even"


def test_twenty_thousand_steps_are_less_than_a_megabyte() -> None:
    assert len(log_bytes(make(20_000))) < 1_000_000


def changed(**changes: Any) -> bytes:
    """A log with other words in its first line, signed again."""
    data = log_bytes(make(3))
    line, _, body = data[:-32].partition(b"\n")
    head = json.loads(line) | changes
    data = json.dumps({key: value for key, value in head.items() if value != "drop"}).encode() + b"\n" + body
    return data + hashlib.sha256(data).digest()


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "other"}, {"format_version": 3}, {"reach": "far"}, {"reach": "drop"},
        {"steps": 4}, {"steps": -1}, {"steps": 1e9}, {"steps": True},
        {"directions": 0}, {"best_step": 4}, {"epsilon": 0}, {"epsilon": "x"}, {"seed": -1}, {"layers": 0.5},
        {"notes": []}, {"notes": {"a": 1}}, {"base_name": None}, {"base_sha256": "drop"}, {"notes": "drop"},
        {"base_name": "\ud800"}, {"notes": {"a": "\ud800"}}, {"notes": {"\ud800": "a"}},
    ],
)  # fmt: skip
def test_another_first_line_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "a.steps").write_bytes(changed(**changes))
    with pytest.raises(FormatError, match=r"a\.steps is not a step log"):
        read_log(tmp_path / "a.steps")


def test_values_that_cannot_be_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.steps"
    for name, value in (("rates", np.nan), ("slopes", np.inf), ("restored", 3), ("restored", -2)):
        log = make(3)
        getattr(log, name)[1] = value
        path.write_bytes(log_bytes(log))
        with pytest.raises(FormatError):
            read_log(path)


def test_damage_is_noticed(tmp_path: Path) -> None:
    whole, path = log_bytes(make(4, 2)), tmp_path / "a.steps"
    rng = np.random.default_rng(3)
    for at in [0, len(whole) - 1, *rng.integers(0, len(whole), 60).tolist()]:
        flipped = bytearray(whole)
        flipped[at] ^= int(rng.integers(1, 256))
        for damaged in (whole[:at], bytes(flipped)):
            path.write_bytes(damaged)
            with pytest.raises(FormatError):
                read_log(path)
