"""What the first answer needs is imported and made ready on a thread while its model is opened."""

import threading
from functools import cache


@cache
def warm_up() -> threading.Thread:
    """Once: Markdown and the colours of usual languages. Whoever ends the window waits for the thread."""
    thread = threading.Thread(target=_colour_usual, name="lexers")
    thread.start()
    return thread


def _colour_usual() -> None:
    from bitconverter.gui.markdown import colour_usual

    colour_usual()
