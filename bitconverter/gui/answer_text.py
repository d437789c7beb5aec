"""A Markdown text of any length: in pieces, so that showing a growing answer costs what is new of it."""

from functools import cache
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from bitconverter.gui.text_block import TextBlock

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

PIECE = 2_500  # letters; rendering and laying out one takes about 10 ms


@cache
def _blocks() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table").disable("inline")


def first_piece(text: str, least: int) -> int:
    """How many letters of `text` may be shown apart from the rest: whole blocks of Markdown, at least `least`
    letters, and never the last block, which may still grow. 0: there is no such place."""
    if len(text) <= least:
        return 0
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    for token in _blocks().parse(text):
        if token.level == 0 and token.map is not None and token.nesting >= 0:
            place = starts[token.map[0]]
            if place >= least:
                return place
    return 0


class AnswerText(QWidget):
    """Emits `copied` when a piece of code has been copied."""

    copied = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(0)
        self._pieces: list[tuple[TextBlock, str]] = []
        self._name = ""
        self._add("")

    def set_markdown(self, text: str) -> None:
        """Show `text`; the pieces that it has in common with what was shown stay as they are."""
        done = 0
        kept = 0
        for _block, piece in self._pieces[:-1]:
            if not text.startswith(piece, done):
                break
            done += len(piece)
            kept += 1
        for block, _ in self._pieces[kept + 1 :]:
            block.hide()
            block.deleteLater()
        del self._pieces[kept + 1 :]
        while cut := first_piece(text[done:], PIECE):
            self._show_last(text[done : done + cut])
            self._add("")
            done += cut
        self._show_last(text[done:])

    def refresh(self) -> None:
        """Show the same in the colours and the language of now."""
        for block, piece in self._pieces:
            block.set_markdown(piece)

    def has_code(self) -> bool:
        """Whether a block of code with its copy link is shown."""
        return any(block.has_code() for block, _ in self._pieces)

    def toPlainText(self) -> str:
        """What is read, without marks."""
        return "\n".join(block.toPlainText() for block, _ in self._pieces)

    def toHtml(self) -> str:
        """What is shown, as Qt's HTML."""
        return "".join(block.toHtml() for block, _ in self._pieces)

    def setAccessibleName(self, name: str) -> None:
        self._name = name
        super().setAccessibleName(name)
        for block, _ in self._pieces:
            block.setAccessibleName(name)

    def _show_last(self, text: str) -> None:
        block, shown = self._pieces[-1]
        if text != shown:
            block.set_markdown(text)
            self._pieces[-1] = (block, text)

    def _add(self, text: str) -> None:
        block = TextBlock()
        block.setAccessibleName(self._name)
        block.copied.connect(self.copied)
        self._pieces.append((block, text))
        self._layout.addWidget(block)
