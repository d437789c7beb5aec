"""Sizes that follow the letters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QRect, QSize
from PySide6.QtGui import QResizeEvent, QShowEvent
from PySide6.QtWidgets import QBoxLayout, QSizePolicy, QWidget

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


class WrappedRow(FollowsContents, QWidget):
    """A row that goes on in the next line where there is no room for all of its parts. `centred`: each line is in the
    middle, not at the left."""

    def __init__(self, spacing: int, centred: bool = False) -> None:
        super().__init__()
        self._spacing, self._centred = spacing, centred
        self._parts: list[QWidget] = []
        policy = QSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)

    def add(self, part: QWidget) -> None:
        """Put `part` at the end."""
        part.setParent(self)
        self._parts.append(part)

    def sizeHint(self) -> QSize:
        """With all of them in one line."""
        places = self._places(None)
        return QSize(_right(places), _bottom(places))

    def minimumSizeHint(self) -> QSize:
        """As narrow as the widest of them."""
        widest = max((part.sizeHint().width() for part in self._shown()), default=0)
        return QSize(widest, _bottom(self._places(max(self.width(), widest))))

    def heightForWidth(self, width: int) -> int:
        return _bottom(self._places(width))

    def showEvent(self, event: QShowEvent) -> None:
        """Nobody tells a hidden row that its parts want another size."""
        super().showEvent(event)
        self._follow_room()

    def _follow_room(self) -> None:
        for part, place in self._places(self.width()):
            part.setGeometry(place)
        self.updateGeometry()

    def _shown(self) -> list[QWidget]:
        return [part for part in self._parts if not part.isHidden()]

    def _places(self, width: int | None) -> list[tuple[QWidget, QRect]]:
        """Where each part is in a row of this width, None for one that is as wide as it needs."""
        result: list[tuple[QWidget, QRect]] = []
        top = 0
        for line in self._lines(width):
            left, height = self._left(line, width), max(part.sizeHint().height() for part in line)
            for part in line:
                result.append((part, QRect(left, top, part.sizeHint().width(), height)))
                left += part.sizeHint().width() + self._spacing
            top += height + self._spacing
        return result

    def _left(self, line: list[QWidget], width: int | None) -> int:
        """Where the first part of a line is."""
        if not self._centred or width is None:
            return 0
        needed = sum(part.sizeHint().width() for part in line) + self._spacing * (len(line) - 1)
        return max(width - needed, 0) // 2

    def _lines(self, width: int | None) -> list[list[QWidget]]:
        lines: list[list[QWidget]] = []
        end = 0
        for part in self._shown():
            end += self._spacing + part.sizeHint().width()
            if not lines or (width is not None and end > width):
                lines.append([])
                end = part.sizeHint().width()
            lines[-1].append(part)
        return lines


def _right(places: list[tuple[QWidget, QRect]]) -> int:
    return max((place.x() + place.width() for _, place in places), default=0)


def _bottom(places: list[tuple[QWidget, QRect]]) -> int:
    return max((place.y() + place.height() for _, place in places), default=0)


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
