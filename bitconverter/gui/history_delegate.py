"""How a row of the list of chats is painted and renamed."""

from typing import Any

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QPointF, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontMetrics, QPainter, QTextCharFormat, QTextLayout, QTextOption
from PySide6.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from bitconverter.gui import artwork, theme
from bitconverter.gui.history_model import ROW, Row

AnyIndex = QModelIndex | QPersistentModelIndex
ICON = 16


class HistoryDelegate(QStyledItemDelegate):
    """Headers are small; a found message has two more lines with the words that were found."""

    def sizeHint(self, option: QStyleOptionViewItem, index: AnyIndex) -> QSize:
        row: Row = index.data(ROW)
        line = _of(option).fontMetrics.height()
        height = (
            line + 16 if row.kind == "header" else 3 * line + 18 if row.message is not None else line + 15
        )
        return QSize(120, height)

    def updateEditorGeometry(self, editor: QWidget, option: QStyleOptionViewItem, index: AnyIndex) -> None:
        """As high as the row: a field with its edges takes more than a line of letters."""
        editor.setGeometry(_of(option).rect)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: AnyIndex) -> None:
        row: Row = index.data(ROW)
        colors = theme.current()
        has = _of(option)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        area = QRect(has.rect)
        if row.kind == "header":
            _words(painter, area.adjusted(10, 8, -6, 0), row.text, _small(has.font), colors.muted)
        else:
            state = has.state
            box = QRectF(area.adjusted(2, 1, -2, -1))
            if state & QStyle.StateFlag.State_Selected:
                painter.setBrush(QColor(colors.accent_soft))
            elif state & QStyle.StateFlag.State_MouseOver:
                painter.setBrush(QColor(colors.track))
            else:
                painter.setBrush(Qt.BrushStyle.NoBrush)
            focus = state & QStyle.StateFlag.State_HasFocus and state & QStyle.StateFlag.State_Selected
            painter.setPen(QColor(colors.accent) if focus else Qt.PenStyle.NoPen)
            painter.drawRoundedRect(box, 7, 7)
            if row.message is not None:
                self._paint_hit(painter, area.adjusted(12, 6, -10, -6), row, has.font)
            else:
                self._paint_line(painter, area, row, has.font)
        painter.restore()

    def _paint_line(self, painter: QPainter, area: QRect, row: Row, font: QFont) -> None:
        colors = theme.current()
        left = 12 + (16 if row.indented else 0)
        if row.kind == "folder":
            name = "chevron-down" if row.open else "chevron-right"
            top = area.top() + (area.height() - ICON) // 2
            ratio = painter.device().devicePixelRatioF()
            painter.drawPixmap(area.left() + 9, top, artwork.pixmap(name, colors.muted, ICON, ratio))
            left += 18
            count = QRect(area.right() - 40, area.top(), 30, area.height())
            painter.setPen(QColor(colors.muted))
            painter.setFont(_small(font))
            painter.drawText(count, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, row.detail)
        right = 44 if row.kind == "folder" else 10
        _words(painter, area.adjusted(left, 0, -right, 0), row.text, font, colors.text)

    def _paint_hit(self, painter: QPainter, area: QRect, row: Row, font: QFont) -> None:
        colors = theme.current()
        line = QFontMetrics(font).height()
        bold = QFont(font)
        bold.setWeight(QFont.Weight.DemiBold)
        _words(painter, QRect(area.left(), area.top(), area.width(), line), row.text, bold, colors.text)
        found = QTextCharFormat()
        found.setForeground(QColor(colors.accent))
        found.setFontWeight(QFont.Weight.Bold)
        part: Any = QTextLayout.FormatRange()
        part.start, part.length, part.format = row.mark[0], row.mark[1] - row.mark[0], found
        layout = QTextLayout(row.detail, _small(font))
        layout.setTextOption(QTextOption())
        layout.setFormats([part])
        layout.beginLayout()
        top = 0.0
        for _ in range(2):
            text_line = layout.createLine()
            if not text_line.isValid():
                break
            text_line.setLineWidth(area.width())
            text_line.setPosition(QPointF(0, top))
            top += text_line.height()
        layout.endLayout()
        painter.setPen(QColor(colors.muted))
        layout.draw(painter, QPointF(area.left(), area.top() + line + 3))


def _of(option: QStyleOptionViewItem) -> Any:
    """PySide's declarations leave out the fields of the option."""
    return option


def _small(font: QFont) -> QFont:
    small = QFont(font)
    small.setPointSizeF(font.pointSizeF() * 0.88)
    return small


def _words(painter: QPainter, area: QRect, text: str, font: QFont, color: str) -> None:
    painter.setFont(font)
    painter.setPen(QColor(color))
    cut = QFontMetrics(font).elidedText(text, Qt.TextElideMode.ElideRight, area.width())
    painter.drawText(area, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, cut)
