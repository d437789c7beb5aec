"""Small pieces that every page is made of."""

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QEvent, QObject, QPoint, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)  # fmt: skip

from bitconverter.gui import artwork, theme
from bitconverter.gui.messages import tr
from bitconverter.gui.tokens import Space


class Texts:
    """Remembers which message each widget shows, so that a change of language can say it all again."""

    def __init__(self) -> None:
        self._bound: dict[tuple[int, str], tuple[Callable[[str], Any], str, dict[str, Any]]] = {}

    def set(self, setter: Callable[[str], Any], key: str, **fields: Any) -> None:
        """Show the message `key` through `setter`, a bound method such as label.setText."""
        owner = getattr(setter, "__self__", None)
        self._bound[(id(owner), setter.__name__)] = (setter, key, fields)
        setter(tr(key, **fields))

    def refresh(self) -> None:
        """Say everything again in the language of now."""
        for setter, key, fields in self._bound.values():
            setter(tr(key, **fields))


def set_property(widget: QWidget, name: str, value: Any) -> None:
    """Set a property that the style sheet looks at, and restyle."""
    if widget.property(name) == value:
        return
    widget.setProperty(name, value)
    widget.style().unpolish(widget)
    widget.style().polish(widget)


def label(role: str = "", wrap: bool = False, selectable: bool = False) -> QLabel:
    """A label that shows plain text, whatever the text holds."""
    result = QLabel()
    result.setTextFormat(Qt.TextFormat.PlainText)
    result.setProperty("role", role)
    result.setWordWrap(wrap)
    if selectable:
        result.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return result


def frame(role: str) -> QFrame:
    """A frame that the style sheet draws by its role."""
    result = QFrame()
    result.setProperty("role", role)
    return result


def column(parent: QWidget, margin: int = Space.CARD, spacing: int = 10) -> QVBoxLayout:
    """A vertical layout with one margin all around."""
    result = QVBoxLayout(parent)
    result.setContentsMargins(margin, margin, margin, margin)
    result.setSpacing(spacing)
    return result


def dialog_column(parent: QWidget) -> QVBoxLayout:
    """The vertical layout of a dialog."""
    result = QVBoxLayout(parent)
    result.setContentsMargins(24, 20, 24, 18)
    result.setSpacing(Space.MEDIUM)
    return result


def row(spacing: int = 10) -> QHBoxLayout:
    """A horizontal layout without margins."""
    result = QHBoxLayout()
    result.setContentsMargins(0, 0, 0, 0)
    result.setSpacing(spacing)
    return result


def keep_in_line(area: QScrollArea, below: QHBoxLayout) -> None:
    """What is below a scrolled page stays centred under it: it leaves room for the scroll bar as well."""
    bar = area.verticalScrollBar()

    def make_room(least: int, most: int) -> None:
        below.setContentsMargins(0, 0, bar.sizeHint().width() if most > least else 0, 0)

    bar.rangeChanged.connect(make_room)


ICON = 18  # pixels, beside letters of the usual size


class Button(QPushButton):
    """A push button of a kind of the style sheet, with an icon that follows the theme."""

    def __init__(self, kind: str = "", icon: str = "") -> None:
        super().__init__()
        self.setProperty("kind", kind)
        self._kind, self._icon = kind, icon
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self._tint()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.FontChange):
            self._tint()

    def _tint(self) -> None:
        if not self._icon:
            return
        colors, size = theme.current(), theme.icon_size(ICON)
        tint = {"primary": colors.accent_text, "quiet": colors.accent}.get(self._kind, colors.muted)
        gap = 0 if self._kind == "model" else 6  # Qt leaves hardly any room between icon and text
        self.setIcon(artwork.icon(self._icon, tint, colors.muted, size, gap))
        self.setIconSize(QSize(size + gap, size))


class ElidedButton(Button):
    """A button whose text is cut at its end where there is no room for it; the whole text is the tool tip."""

    def __init__(self, kind: str = "", icon: str = "") -> None:
        super().__init__(kind, icon)
        self._whole = ""
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def set_text(self, text: str) -> None:
        """The whole text."""
        self._whole = text
        self.setAccessibleName(text)
        self.updateGeometry()
        self._elide()

    def sizeHint(self) -> QSize:
        cut, whole = (self.fontMetrics().horizontalAdvance(text) for text in (self.text(), self._whole))
        hint = super().sizeHint()
        return QSize(hint.width() - cut + whole, hint.height())

    def minimumSizeHint(self) -> QSize:
        return QSize(120, self.sizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._elide()

    def _elide(self) -> None:
        letters = self.fontMetrics()
        edges = super().sizeHint().width() - letters.horizontalAdvance(self.text())
        cut = letters.elidedText(self._whole, Qt.TextElideMode.ElideRight, max(self.width() - edges, 40))
        self.setToolTip(self._whole if cut != self._whole else "")
        if cut.replace("&", "&&") != self.text():
            self.setText(cut.replace("&", "&&"))


class IconButton(QToolButton):
    """A tool button that is only an icon; its tool tip is its accessible name as well."""

    def __init__(self, icon: str, kind: str = "", size: int = 18) -> None:
        super().__init__()
        self.setProperty("kind", kind)
        self._kind, self._name, self._size = kind, icon, size
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self._tint()

    def set_icon(self, name: str) -> None:
        """Show another icon."""
        self._name = name
        self._tint()

    def set_text(self, text: str) -> None:
        """The tool tip and the accessible name."""
        self.setToolTip(text)
        self.setAccessibleName(text)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.FontChange):
            self._tint()

    def _tint(self) -> None:
        colors, size = theme.current(), theme.icon_size(self._size)
        tint = colors.accent_text if self._kind == "send" else colors.muted
        self.setIcon(artwork.icon(self._name, tint, colors.muted, size))
        self.setIconSize(QSize(size, size))


class IconLabel(QWidget):
    """An icon that is only looked at. `color` is the name of a colour of the theme, `lower` the room above."""

    def __init__(self, name: str, color: str = "muted", size: int = 18, lower: int = 0) -> None:
        super().__init__()
        self._name, self._color, self._usual, self._lower = name, color, size, lower
        self._fit()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._fit()

    def _fit(self) -> None:
        self._size = theme.icon_size(self._usual)
        self.setFixedSize(self._size, self._size + self._lower)

    def show_icon(self, name: str, color: str) -> None:
        """Show another icon in another colour."""
        self._name, self._color = name, color
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        color = getattr(theme.current(), self._color)
        painter = QPainter(self)
        painter.drawPixmap(
            0, self._lower, artwork.pixmap(self._name, color, self._size, self.devicePixelRatioF())
        )
        painter.end()


class ElidedLabel(QLabel):
    """One line that is cut in the middle when there is no room; the whole text is the tool tip."""

    def __init__(self, role: str = "") -> None:
        super().__init__()
        self._whole = ""
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setProperty("role", role)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)

    def set_text(self, text: str) -> None:
        """The whole text."""
        self._whole = text
        self.setToolTip(text)
        self.setAccessibleName(text)
        self._elide()

    def whole_text(self) -> str:
        """The text before it was cut."""
        return self._whole

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._elide()

    def _elide(self) -> None:
        metrics, room = self.fontMetrics(), max(self.width() - 2, 40)
        cut = metrics.elidedText(self._whole, Qt.TextElideMode.ElideMiddle, room)
        while room > 40 and metrics.horizontalAdvance(cut) > self.width():
            room -= 4  # letters of another font, such as Japanese ones, are not always counted right
            cut = metrics.elidedText(self._whole, Qt.TextElideMode.ElideMiddle, room)
        self.setText(cut)


MOVES = (QEvent.Type.Resize, QEvent.Type.Move, QEvent.Type.Show, QEvent.Type.Hide)


class Toast(QFrame):
    """A short line at the bottom of its parent that offers one action and goes away by itself. `above`: what it stands
    above, however tall that grows: the highest of what is visible."""

    action = Signal()
    MILLISECONDS = 10_000
    FROM_BOTTOM = 150  # pixels, where nothing is named to stand above

    def __init__(self, parent: QWidget, *above: QWidget) -> None:
        super().__init__(parent)
        self._above: tuple[QWidget, ...] = ()
        self.setObjectName("toast")
        self._say: Callable[[], str] = str
        self._action = ""
        self._text = label()
        self._button = QPushButton()
        self._button.setCursor(Qt.CursorShape.PointingHandCursor)
        self._button.clicked.connect(self._act)
        line = QHBoxLayout(self)
        line.setContentsMargins(18, 9, 10, 9)
        line.addWidget(self._text)
        line.addWidget(self._button)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.hide)
        self.hide()
        parent.installEventFilter(self)
        self.stand_above(*above)

    def stand_above(self, *above: QWidget) -> None:
        """What it stands above from now on."""
        for part in self._above:
            part.removeEventFilter(self)
        self._above = above
        for part in above:
            part.installEventFilter(self)
        if not self.isHidden():
            self._place()

    def show_text(self, text: Callable[[], str], action: str = "") -> None:
        """Show what `text` returns, and a button of the message `action` if there is one."""
        self._say, self._action = text, action
        self.retranslate()
        self.show()
        self.raise_()
        self._timer.start(self.MILLISECONDS)

    def retranslate(self) -> None:
        """Say it in the language of now."""
        self._text.setText(self._say())
        self._button.setText(tr(self._action) if self._action else "")
        self._button.setVisible(bool(self._action))
        self._place()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """What it stands on or above has another size or place, has come or gone."""
        if not self.isHidden() and event.type() in MOVES:
            self._place()
        return False

    def _place(self) -> None:
        parent = self.parentWidget()
        assert parent is not None
        self._fit_into(parent.width() - 2 * Space.WIDE)
        self.adjustSize()
        bottom = parent.height() - self.FROM_BOTTOM
        middle = parent.width() // 2
        parts = [part for part in self._above if part.isVisible()]
        if parts:
            tops = [part.mapTo(parent, QPoint(0, 0)).y() for part in parts]
            bottom = min(min(tops) - Space.SMALL, parent.height() - Space.PAGE)  # it may be scrolled away
            middle = parts[0].mapTo(parent, parts[0].rect().center()).x()
        left = min(middle - self.width() // 2, parent.width() - Space.WIDE - self.width())
        self.move(max(left, Space.WIDE), max(bottom - self.height(), 0))

    def _fit_into(self, width: int) -> None:
        """On one line where there is room for it, else on several."""
        layout = self.layout()
        assert layout is not None
        beside = layout.contentsMargins().left() + layout.contentsMargins().right()
        if not self._button.isHidden():
            beside += layout.spacing() + self._button.sizeHint().width()
        needed = self._text.fontMetrics().horizontalAdvance(self._text.text()) + 4
        self._text.setWordWrap(needed > width - beside)
        self._text.setFixedWidth(min(needed, width - beside))

    def dismiss(self) -> None:
        """Take it away now."""
        self._timer.stop()
        self.hide()

    def _act(self) -> None:
        self.dismiss()
        self.action.emit()
