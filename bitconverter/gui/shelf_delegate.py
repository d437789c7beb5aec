"""How a model on the shelf is drawn: its icon, its name, its facts, whether it fits this PC."""

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRect, QSize, Qt
from PySide6.QtGui import QFont, QHelpEvent, QPainter
from PySide6.QtWidgets import QAbstractItemView, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QToolTip

from bitconverter.gui import artwork, theme
from bitconverter.gui.messages import tr
from bitconverter.gui.shelf_model import ENTRY, facts, fit_of, fit_text, why_damaged
from bitconverter.gui.tokens import Radius, Space
from bitconverter.jobs.shelf import CONVERTED, GGUF, SOUL, UNFINISHED, ShelfEntry

ICONS = {CONVERTED: "chip", UNFINISHED: "pause", GGUF: "zip", SOUL: "star"}
FIT_COLORS = {"good": ("ok", "ok_soft"), "tight": ("warning", "warning_soft"), "no": ("error", "error_soft")}
ICON, INDENT = 24, 34
Index = QModelIndex | QPersistentModelIndex


class ShelfDelegate(QStyledItemDelegate):
    """Two lines of text and a badge. Nothing but painting."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(240, option.fontMetrics.height() * 2 + 22)  # type: ignore[attr-defined]

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        entry: ShelfEntry = index.data(ENTRY)
        colors, font = theme.current(), QFont(option.font)  # type: ignore[attr-defined]
        left = INDENT * depth(index) or 2  # the view's own indentation would be painted as chosen too
        rect: QRect = option.rect.adjusted(left, 2, -2, -2)  # type: ignore[attr-defined]
        state = option.state  # type: ignore[attr-defined]
        usable = entry.there and not entry.damaged
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        back = self._background(state)
        if back:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(artwork.qcolor(back))
            painter.drawRoundedRect(rect, Radius.BUTTON, Radius.BUTTON)
        tint = colors.accent if usable else colors.muted
        icon = artwork.pixmap(
            ICONS.get(entry.kind, "folder"), tint, ICON, painter.device().devicePixelRatioF()
        )
        painter.drawPixmap(rect.left() + Space.MEDIUM, rect.top() + (rect.height() - ICON) // 2, icon)
        right = self._paint_badge(painter, entry, rect)
        text = QRect(rect.left() + 48, rect.top() + 6, right - rect.left() - 56, rect.height() - 12)
        height = painter.fontMetrics().height()
        font.setWeight(QFont.Weight.DemiBold)
        painter.setFont(font)
        painter.setPen(artwork.qcolor(colors.text if usable else colors.muted))
        name = painter.fontMetrics().elidedText(entry.name, Qt.TextElideMode.ElideMiddle, text.width())
        painter.drawText(text.left(), text.top(), text.width(), height, 0, name)
        font.setWeight(QFont.Weight.Normal)
        painter.setFont(font)
        painter.setPen(artwork.qcolor(colors.error if entry.damaged else colors.muted))
        line = painter.fontMetrics().elidedText(
            "  ·  ".join(facts(entry)), Qt.TextElideMode.ElideRight, text.width()
        )
        painter.drawText(text.left(), text.bottom() - height, text.width(), height + 2, 0, line)
        painter.restore()

    def _background(self, state: QStyle.StateFlag) -> str:
        colors = theme.current()
        if state & QStyle.StateFlag.State_Selected:
            return colors.accent_soft
        return colors.raised if state & QStyle.StateFlag.State_MouseOver else ""

    def _paint_badge(self, painter: QPainter, entry: ShelfEntry, rect: QRect) -> int:
        """Draws it at the right; where the room for text ends."""
        found = fit_of(entry)
        if found is None:
            return rect.right() - Space.SMALL
        front, back = (getattr(theme.current(), name) for name in FIT_COLORS[found.level])
        text = tr(f"fit-{found.level}")
        width = painter.fontMetrics().horizontalAdvance(text) + 24
        height = painter.fontMetrics().height() + 6
        badge = QRect(rect.right() - width - Space.SMALL, 0, width, height)
        badge.moveTop(rect.center().y() - height // 2)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(artwork.qcolor(back))
        painter.drawRoundedRect(badge, height / 2, height / 2)
        painter.setPen(artwork.qcolor(front))
        painter.drawText(badge, int(Qt.AlignmentFlag.AlignCenter), text)
        return badge.left()

    def helpEvent(
        self, event: QHelpEvent, view: QAbstractItemView, option: QStyleOptionViewItem, index: Index
    ) -> bool:
        """The tool tip: where it is, and the numbers behind the badge."""
        entry = index.data(ENTRY)
        if not isinstance(entry, ShelfEntry):
            return False
        found = fit_of(entry)
        lines = [entry.path, fit_text(found) if found else "", why_damaged(entry)]
        QToolTip.showText(event.globalPos(), "\n".join(line for line in lines if line), view)
        return True


def depth(index: Index) -> int:
    """How many stand above it."""
    return 1 + depth(index.parent()) if index.parent().isValid() else 0
