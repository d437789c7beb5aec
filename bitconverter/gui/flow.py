"""Heights of widgets whose text wraps."""

from PySide6.QtWidgets import QWidget


def wrapped_height(widget: QWidget, least_width: int) -> int:
    """How high the layout of `widget` is at its width of now: size hints alone know nothing of wrapping."""
    layout = widget.layout()
    assert layout is not None
    return layout.heightForWidth(max(widget.width(), least_width)) + 4
