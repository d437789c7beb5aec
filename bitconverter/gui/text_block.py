"""Text that is as high as it needs to be and can be selected: a document without a scroll bar."""

from PySide6.QtCore import QSizeF, Qt, QUrl, Signal
from PySide6.QtGui import QDesktopServices, QGuiApplication, QResizeEvent, QTextDocument, QWheelEvent
from PySide6.QtWidgets import QFrame, QSizePolicy, QTextBrowser

from bitconverter.gui import theme
from bitconverter.gui.messages import tr


class TextBlock(QTextBrowser):
    """Shows plain text or Markdown. Loads nothing by itself; web links open in the browser."""

    copied = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._codes: list[str] = []
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setOpenLinks(False)
        self.setTabChangesFocus(True)
        self.anchorClicked.connect(self._open)
        self.document().setDocumentMargin(0)
        self.document().documentLayout().documentSizeChanged.connect(self._fit)

    def set_markdown(self, text: str) -> None:
        """Show Markdown."""
        from bitconverter.gui.markdown import document_style, render

        colors = theme.current()
        mono = ", ".join(f"'{family}'" for family in theme.mono_font().families())
        self.document().setDefaultStyleSheet(document_style(colors, theme.scale()))
        html, self._codes = render(text, colors, mono, tr("copy"), theme.scale())
        self.setHtml(html)

    def has_code(self) -> bool:
        """Whether a block of code with its copy link is shown."""
        return bool(self._codes)

    def set_plain(self, text: str) -> None:
        """Show the text as it is."""
        self.setPlainText(text)

    def ideal_width(self, limit: int) -> int:
        """The width the text takes when no line is broken, at most `limit`."""
        probe = QTextDocument()
        probe.setDefaultFont(self.font())
        probe.setDocumentMargin(0)
        probe.setPlainText(self.toPlainText())
        return min(limit, int(probe.idealWidth()) + 3)

    def loadResource(self, kind: int, name: QUrl | str) -> object:
        return None  # nothing named in a text is fetched, from the disk or from the network

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit(self.document().size())

    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()  # the page scrolls, not the block

    def _fit(self, size: QSizeF) -> None:
        height = int(size.height()) + 2
        if height != self.height():
            self.setFixedHeight(height)

    def _open(self, url: QUrl) -> None:
        from bitconverter.gui.markdown import COPY_SCHEME

        if url.scheme() == COPY_SCHEME:
            number = url.path()  # a model may write such a link itself, with anything in it
            if number.isdecimal() and int(number) < len(self._codes):
                QGuiApplication.clipboard().setText(self._codes[int(number)])
                self.copied.emit()
        elif url.scheme() in ("http", "https"):
            QDesktopServices.openUrl(url)
