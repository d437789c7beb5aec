"""What the first answer needs is imported and made ready on a thread while its model is opened."""

import threading

_BEGUN = threading.Event()


def warm_up() -> None:
    """Once: Markdown and the colours of usual languages."""

    def work() -> None:
        from bitconverter.gui.markdown import colour_usual

        colour_usual()

    if not _BEGUN.is_set():
        _BEGUN.set()
        threading.Thread(target=work, name="lexers", daemon=True).start()
