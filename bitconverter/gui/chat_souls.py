"""Which soul each model was opened with last, and whether it was on."""

from bitconverter.gui.model_memory import ModelMemory
from bitconverter.settings import Settings

SOULS = ModelMemory("chat_souls", (str, bool))


def remember(settings: Settings, model: str, soul: str, on: bool) -> None:
    """`model` was opened with `soul`, a file's path; "" forgets the one it had."""
    SOULS.remember(settings, model, *((soul, on) if soul else ()))


def remembered(settings: Settings, model: str) -> tuple[str, bool]:
    """The soul of `model`, "" for none, and whether it was on."""
    soul, on = SOULS.remembered(settings, model) or ("", False)
    return soul, on
