"""Every sentence of the window in English and Japanese, a file per screen.

`MESSAGES` is the whole table; `gui/messages.py` reads it. tests/gui/test_messages.py fails for a message that
lacks a language or a field, that no code uses, or that some code uses and is not here.
"""

from bitconverter.gui.texts import (
    activity,
    chat,
    convert,
    device,
    diagnostics,
    errors,
    history,
    runs,
    sampling,
    settings,
    shelf,
    train,
    welcome,
    window,
)
from bitconverter.gui.texts.text import join

MESSAGES = join(
    window.TEXTS, welcome.TEXTS, activity.TEXTS, shelf.TEXTS, convert.TEXTS, chat.TEXTS, history.TEXTS, sampling.TEXTS,
    settings.TEXTS, errors.TEXTS, train.TEXTS, runs.TEXTS, diagnostics.TEXTS, device.TEXTS,
)  # fmt: skip
