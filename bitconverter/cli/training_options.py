"""Which options of `train` mean nothing beside the others: they are refused, never left out in silence."""

import argparse

from bitconverter.cli import texts
from bitconverter.jobs.train_settings import TrainSettings

USUAL = {
    name: getattr(TrainSettings, name)
    for name in ("objective", "directions", "decay", "rank", "targets")
}  # fmt: skip


def without_effect(args: argparse.Namespace) -> str | None:
    """The sentence about the first option that is given and would change nothing."""
    needs = {
        "epsilon": ("engine", "mezo"), "directions": ("engine", "mezo"), "one_sided": ("engine", "mezo"),
        "by_spread": ("engine", "mezo"), "objective": ("engine", "mezo"), "decay": ("engine", "exact"),
        "rank": ("adapter", "lora"), "targets": ("adapter", "lora"),
    }  # fmt: skip
    for name, (of, needed) in needs.items():
        # the loss is what gradients are of, too
        given = vars(args)[name] not in (None, False, "loss" if name == "objective" else None)
        if given and vars(args)[of] != needed:
            option = "--" + name.replace("_", "-")
            return texts.TRAIN_UNUSED.format(option=option, of=of, needed=needed, now=vars(args)[of])
    return None


def fill_in(args: argparse.Namespace) -> None:
    """What is usual, where nothing was given."""
    for name, usual in USUAL.items():
        if vars(args)[name] is None:
            setattr(args, name, usual)
