"""What a model is to run on, in one word: `auto`, `cpu`, `cuda` (the first graphics card) or `cuda:N`.

Knows nothing of the engine, so that the arguments of the command line and the settings can ask here too.
"""

import re
from dataclasses import dataclass

from bitconverter.format.errors import UserError

AUTO, CPU = "auto", "cpu"
WORDS = "auto, cpu, cuda or cuda:N"


@dataclass(frozen=True)
class Device:
    """What is asked for: `word` as above; `memory`: as if the card had only so many bytes, None for all; `layers`: at
    most so many, None for all that fit."""

    word: str = CPU
    memory: int | None = None
    layers: int | None = None

    def check(self) -> None:
        """Raises UserError: "device-word", "device-limit", "device-unused"."""
        card_number(self.word)
        for name, value in (("--gpu-memory", self.memory), ("--gpu-layers", self.layers)):
            if value is not None and value < 1:
                raise UserError(
                    "device-limit",
                    f"{name} {value} is not possible: give at least 1, or --device cpu to use no graphics card.",
                    name=name, value=value,
                )  # fmt: skip
            if value is not None and self.word == CPU:
                raise UserError(
                    "device-unused",
                    f"{name} says what a graphics card gets, and --device cpu uses none. Leave one of them out.",
                    name=name,
                )


PROCESSOR = Device()  # what jobs run on unless they are told


def card_number(word: str) -> int | None:
    """The number of the card that `word` asks for; None for auto and cpu. Raises UserError("device-word")."""
    match = re.fullmatch(r"cuda(?::(0|[1-9][0-9]?))?", word)
    if match is None and word not in (AUTO, CPU):
        raise UserError(
            "device-word",
            f"There is no device {word!r}: give {WORDS}, N counting the graphics cards from 0 "
            "(`bitconverter devices` lists them).",
            word=word,
        )
    return int(match[1] or 0) if match else None


def is_device_word(word: object) -> bool:
    """Whether `word` can be asked for; not whether there is such a card."""
    try:
        card_number(str(word))
    except UserError:
        return False
    return True
