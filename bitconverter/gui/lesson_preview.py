"""Rows of a lesson as the model will see them: what is learned is marked, one row at a time."""

from html import escape

from PySide6.QtCore import QEvent, QSizeF
from PySide6.QtWidgets import QTextBrowser, QVBoxLayout, QWidget

from bitconverter.gui import theme
from bitconverter.gui.messages import row_where, tr
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import ElidedLabel, IconButton, label, row
from bitconverter.jobs.prepare_result import Preview

LEAST, MOST = 48, 200  # logical pixels of height: as high as the row, within these


class LessonPreview(QWidget):
    """Hidden without rows."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: tuple[Preview, ...] = ()
        self._at = 0
        self.title, self._hint, self.where = label("heading"), label("small", wrap=True), ElidedLabel("small")
        self.earlier, self.later = IconButton("chevron-left"), IconButton("chevron-right")
        self.earlier.clicked.connect(lambda: self._go(-1))
        self.later.clicked.connect(lambda: self._go(1))
        self.view = QTextBrowser()
        self.view.setOpenLinks(False)
        self.view.document().documentLayout().documentSizeChanged.connect(self._fit)
        theme.use_mono(self.view)
        head = row(Space.SMALL)
        head.addWidget(self.title, 1)
        head.addWidget(self.earlier)
        head.addWidget(self.later)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Space.TINY)
        layout.addLayout(head)
        layout.addWidget(self._hint)
        layout.addWidget(self.where)
        layout.addWidget(self.view)
        self.hide()

    def show_rows(self, rows: tuple[Preview, ...]) -> None:
        """Show the first of `rows`."""
        self._rows, self._at = rows, 0
        self.setVisible(bool(rows))
        self.retranslate()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self.retranslate()

    def retranslate(self) -> None:
        """Say everything again in the language, and mark it in the colours, of now."""
        self.title.setText(tr("preview-title"))
        self._hint.setText(tr("preview-hint"))
        self.earlier.set_text(tr("preview-earlier"))
        self.later.set_text(tr("preview-later"))
        self.view.setAccessibleName(tr("preview-title"))
        self._show()

    def _go(self, step: int) -> None:
        self._at = min(max(self._at + step, 0), len(self._rows) - 1)
        self._show()

    def _show(self) -> None:
        self.earlier.setEnabled(self._at > 0)
        self.later.setEnabled(self._at + 1 < len(self._rows))
        if not self._rows:
            return
        shown = self._rows[self._at]
        self.where.set_text(
            tr(
                "preview-where",
                where=row_where(shown.file, shown.line, shown.place),
                tokens=shown.tokens,
                learned=shown.learned,
            )
        )
        self.view.setHtml(_html(shown))

    def _fit(self, size: QSizeF) -> None:
        height = round(size.height()) + 2 * self.view.frameWidth() + 2
        self.view.setFixedHeight(min(max(height, LEAST), MOST))


def _html(shown: Preview) -> str:
    c = theme.current()
    learned = f"color:{c.text};background-color:{c.accent_soft};text-decoration:underline;font-weight:600"
    parts = []
    for text, is_learned in shown.pieces:
        body = escape(text).replace("\n", "<br>")
        parts.append(f'<span style="{learned if is_learned else f"color:{c.muted}"}">{body}</span>')
    end = " …" if shown.cut else ""
    return f'<div style="white-space:pre-wrap">{"".join(parts)}{end}</div>'
