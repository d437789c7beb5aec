"""Sizes that follow the letters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QWidget

# of a change of the text size: the application's font first, then the style sheet
LETTERS_CHANGED = (QEvent.Type.FontChange, QEvent.Type.StyleChange)


if TYPE_CHECKING:
    _Widget = QWidget
else:
    _Widget = object


class FollowsRoom(_Widget):
    """Before the base class of a widget whose parts are placed anew with its size and with the letters'."""

    def _follow_room(self) -> None:
        raise NotImplementedError

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._follow_room()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in LETTERS_CHANGED:
            self._follow_room()


class FollowsContents(FollowsRoom):
    """The same, also when what is in it wants another size."""

    def event(self, event: QEvent) -> bool:
        done = super().event(event)
        if event.type() == QEvent.Type.LayoutRequest:
            self._follow_room()
        return done


def wrapped_height(widget: QWidget, least_width: int) -> int:
    """How high the layout of `widget` is at its width of now: size hints alone know nothing of wrapping."""
    layout = widget.layout()
    assert layout is not None
    return layout.heightForWidth(max(widget.width(), least_width)) + 4


def beside_or_below(line: QBoxLayout, parts: Sequence[QWidget], room: int) -> None:
    """Lay `parts` out in a line where all of them fit into `room` pixels, else under each other."""
    needed = sum(part.sizeHint().width() for part in parts) + line.spacing() * (len(parts) + 1)
    across, down = QBoxLayout.Direction.LeftToRight, QBoxLayout.Direction.TopToBottom
    line.setDirection(across if needed <= room else down)


def below_width(line: QBoxLayout) -> int:
    """What the parts of `line` need at least under each other, whichever way they lie now."""
    parts = (line.itemAt(k) for k in range(line.count()))
    return max((part.minimumSize().width() for part in parts if part is not None), default=0)
