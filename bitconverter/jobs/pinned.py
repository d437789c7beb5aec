"""Pinned checkpoints: states of a training that its user wants to keep, in `NAME.soul.pinned/` (docs/FORMAT.md section
4.4), each a checkpoint with the settings that it was made with. They outlive the training, and others go on from them.
"""

import json
from pathlib import Path
from typing import Any

from bitconverter.format.errors import UserError
from bitconverter.jobs import train_state
from bitconverter.jobs.checkpoints import Checkpoints
from bitconverter.jobs.train_state import ASIDE

PINNED = ".pinned"
SETTINGS = "settings.json"
# With these a state fits into a training; the others may be different from there on.
FIXED = (
    "layers", "batch", "window", "seed", "labels", "engine", "epsilon", "directions", "objective", "adapter", "rank",
    "targets", "one_sided", "by_spread",
)  # fmt: skip


def pins_of(soul: str) -> Checkpoints:
    """What is pinned of the training of `soul`, also of one that was set aside."""
    return Checkpoints(Path(soul.removesuffix(ASIDE) + PINNED), keep=None)


def read_pin(path: str) -> dict[str, bytes]:
    """The files of the pinned state in the folder `path`. Raises UserError("pin-damaged")."""
    step = _step_of(path)
    files = Checkpoints(Path(path).parent, keep=None).load(step)
    if files is None or SETTINGS not in files or train_state.STATE not in files:
        raise damaged(path)
    return files


def check_fits(path: str, files: dict[str, bytes], settings: dict[str, Any]) -> None:
    """Whether a training with these settings can go on from that state. Raises UserError: "pin-settings",
    "pin-steps"."""
    theirs = json.loads(files[SETTINGS])
    mine = json.loads(json.dumps(settings, default=str))
    for name in FIXED:
        if theirs.get(name) != mine[name]:
            raise UserError(
                "pin-settings",
                f"{name} is {mine[name]}, and the training of the pinned state {path} had {theirs.get(name)}. Go on "
                "with the settings that it had; steps and rate may be others.",
                name=name, value=mine[name], wanted=theirs.get(name), path=path,
            )  # fmt: skip
    step = _step_of(path)
    if settings["steps"] <= step:
        raise UserError(
            "pin-steps",
            f"The pinned state has {step} steps behind it already. Go on to more steps than that.",
            step=step,
        )


def damaged(path: str) -> UserError:
    return UserError(
        "pin-damaged",
        f"{path} is no pinned state of a training, or it is damaged. Go on from another one.",
        path=path,
    )


def of_another(path: str) -> UserError:
    return UserError(
        "pin-other",
        f"The model, the lesson or this program has changed since {path} was pinned, so no training can go on from it.",
        path=path,
    )


def _step_of(path: str) -> int:
    step = Path(path).name.rpartition("-")[2]
    return int(step) if step.isascii() and step.isdecimal() else -1
