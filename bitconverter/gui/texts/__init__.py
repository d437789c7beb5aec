"""Every sentence of the window in English and Japanese, a file per screen.

`MESSAGES` is the whole table; `gui/messages.py` reads it. tests/gui/test_messages.py fails for a message that
lacks a language or a field, that no code uses, or that some code uses and is not here.
"""

from bitconverter.gui.texts import chat, convert, errors, history, sampling, settings, train, window
from bitconverter.gui.texts.text import join

MESSAGES = join(
    window.TEXTS, convert.TEXTS, chat.TEXTS, history.TEXTS, sampling.TEXTS, settings.TEXTS, train.TEXTS,
    errors.TEXTS,
)  # fmt: skip
