"""The step log of a run without gradients: seed and slopes, from which the run can be gone through again bit for bit
(docs/FORMAT.md section 4.1)."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitconverter.format.errors import FormatError

FORMAT, VERSION = "bitconverter-steps", 2
REACHES = ("even", "graded")
MATRICES = ("q", "k", "v", "o", "gate", "up", "down")
MOST_HEADER = 1 << 16
MOST_STEPS, MOST_DIRECTIONS = 10**7, 10**4


@dataclass(frozen=True)
class StepLog:
    """slopes f32 [steps, directions] as model/mezo.py gives them, rates f64 [steps] (0: the step changed nothing),
    restored i32 [steps]: the step whose state was taken up again then, -1: none. best_step: the state that became the
    soul. layers: how many learned; adapter ("gain", "lora" or "delta"), rank, targets: what of them; reach: how far
    directions go along the parameters, one of REACHES; notes: the soul's."""

    base_name: str
    base_sha256: str
    layers: int
    adapter: str
    rank: int
    targets: tuple[str, ...]
    seed: int
    epsilon: float
    reach: str
    best_step: int
    notes: dict[str, str]
    slopes: npt.NDArray[np.float32]
    rates: npt.NDArray[np.float64]
    restored: npt.NDArray[np.int32]


def log_bytes(log: StepLog) -> bytes:
    """The file's content; it depends on the log alone."""
    steps, directions = log.slopes.shape
    head = {
        "format": FORMAT, "format_version": VERSION, "steps": steps, "directions": directions,
        "base_name": log.base_name, "base_sha256": log.base_sha256,
        "layers": log.layers, "adapter": log.adapter, "rank": log.rank, "targets": list(log.targets),
        "seed": log.seed, "epsilon": log.epsilon, "reach": log.reach,
        "best_step": log.best_step, "notes": log.notes,
    }  # fmt: skip
    data = json.dumps(head, ensure_ascii=True).encode() + b"\n"
    data += log.rates.astype("<f8").tobytes() + log.restored.astype("<i4").tobytes()
    data += log.slopes.astype("<f4").tobytes()
    return data + hashlib.sha256(data).digest()


def read_log(path: Path) -> StepLog:
    """Raises FormatError saying what is wrong with the file; OSError if it cannot be read at all."""
    data = path.read_bytes()
    newline = data[:MOST_HEADER].find(b"\n")
    if newline < 0:
        raise _broken(path, "it has no first line")
    if hashlib.sha256(data[:-32]).digest() != data[-32:]:
        raise _broken(path, "its bytes are not those that were written")
    try:
        return _parsed(json.loads(data[:newline]), data[newline + 1 : -32])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise _broken(path, str(error) or type(error).__name__) from None


def _parsed(head: Any, body: bytes) -> StepLog:
    if (
        not isinstance(head, dict)
        or head.get("format") != FORMAT
        or head.get("format_version") not in (1, VERSION)
    ):
        raise ValueError("it is not a step log of this version")
    reach = head["reach"] if head["format_version"] == VERSION else "even"
    if reach not in REACHES:
        raise ValueError("how far its directions go is not known")
    steps, directions = _whole(head, "steps", MOST_STEPS), _whole(head, "directions", MOST_DIRECTIONS)
    if len(body) != steps * (8 + 4 + 4 * directions):
        raise ValueError(f"it does not hold {steps} steps")
    rates = np.frombuffer(body, "<f8", steps).astype(np.float64)
    restored = np.frombuffer(body, "<i4", steps, 8 * steps).astype(np.int32)
    slopes = np.frombuffer(body, "<f4", steps * directions, 12 * steps).astype(np.float32)
    if not np.isfinite(rates).all() or not np.isfinite(slopes).all():
        raise ValueError("it holds what is no number")
    if (restored < -1).any() or (restored >= np.arange(1, steps + 1)).any():
        raise ValueError("it goes back to steps that were not made")
    notes, base = head["notes"], (head["base_name"], head["base_sha256"])
    if not isinstance(notes, dict):
        raise ValueError("its notes are none")
    if not all(isinstance(text, str) for text in (*base, *notes, *notes.values())):
        raise ValueError("a text in it is none")
    for text in (*base, *notes, *notes.values()):
        text.encode()  # a UnicodeEncodeError is a ValueError: half a character
    epsilon = float(head["epsilon"])
    if not 0 < epsilon < 10:
        raise ValueError(f"its epsilon is {epsilon}")
    targets = head["targets"]
    if head["adapter"] not in ("gain", "lora", "delta") or not isinstance(targets, list) or len(targets) > 7:
        raise ValueError("what learned is not known")
    if not all(target in MATRICES for target in targets) or not _whole(head, "rank", 256):
        raise ValueError("what learned is not known")
    return StepLog(
        *base, _whole(head, "layers", 10**6), head["adapter"], head["rank"], tuple(targets),
        _whole(head, "seed", 2**53), epsilon, reach, _whole(head, "best_step", steps), dict(notes),
        slopes.reshape(steps, directions), rates, restored,
    )  # fmt: skip


def _whole(head: dict[str, Any], key: str, most: int) -> int:
    value = head[key]
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"its {key} is {str(value)[:40]}")
    return value


def _broken(path: Path, reason: str) -> FormatError:
    return FormatError(
        "steps-broken",
        f"{path} is not a step log that can be used: {reason}. Copy it again.",
        path=str(path),
        reason=reason,
    )
