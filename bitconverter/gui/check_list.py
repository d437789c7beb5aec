"""The list of what was checked before a conversion: a line each, good, doubtful or bad, with a fix beside it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QWidget

from bitconverter.gui.messages import check_text, tr
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import Button, IconLabel, label

if TYPE_CHECKING:
    from bitconverter.jobs.preflight import CheckItem

_ICONS = {"ok": ("check", "ok"), "warning": ("warning", "warning"), "error": ("error", "error")}
SAID_ELSEWHERE = ("output", "disk", "unfinished")  # when all is well, the page shows these as numbers
_ORDER = {"error": 0, "warning": 1, "ok": 2}
# what helps: another place, a smaller size, going on with what is there, the folder to put a missing file into,
# another model, or the chat
FIXES = {
    "output": ("fix-out",), "output-exists": ("fix-out",), "disk": ("fix-out", "fix-smaller"),
    "work-folder-taken": ("fix-resume", "fix-out"),
    "work-folder-damaged": ("fix-discard", "fix-out"), "work-folder-version": ("fix-discard", "fix-out"),
    "already-converted": ("fix-chat",), "shards": ("fix-folder", "fix-again"), "index": ("fix-folder", "fix-again"),
    "tokenizer": ("fix-folder", "fix-again"), "tokenizer-mismatch": ("fix-folder", "fix-again"),
    "damaged-file": ("fix-folder", "fix-again"),
    "chat-template-broken": ("fix-folder",), "licence": ("fix-folder",), "source-unreadable": ("fix-again",),
}  # fmt: skip
OTHER_FIXES = ("fix-other",)  # of an error that nothing of these helps against: take another model


class CheckList(QWidget):
    """Shows check items: the bad ones first, a line each; the good ones in two columns. Emits `fix` with one of
    the names of FIXES."""

    fix = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._items: tuple[CheckItem, ...] = ()
        self.can_resume = True  # what lies in the work folder; else it can only be discarded
        self.tab_after: QWidget | None = None  # the control that the keyboard comes from
        self.fixes: list[Button] = []
        self._lines = QGridLayout(self)
        self._lines.setContentsMargins(0, 0, 0, 0)
        self._lines.setHorizontalSpacing(Space.LARGE)
        self._lines.setVerticalSpacing(6)
        self._lines.setColumnStretch(0, 1)
        self._lines.setColumnStretch(1, 1)

    def show_items(self, items: "Sequence[CheckItem]") -> None:
        """Replace the list."""
        self._items = tuple(sorted(items, key=lambda item: _ORDER[item.level]))
        self.fixes = []
        while (taken := self._lines.takeAt(0)) is not None:
            widget = taken.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        bad = [item for item in self._items if item.level != "ok"]
        good = [item for item in self._items if item.level == "ok" and item.code not in SAID_ELSEWHERE]
        for position, item in enumerate(bad):
            self._lines.addWidget(self._line(item), position, 0, 1, 2)
        for position, item in enumerate(good):
            self._lines.addWidget(self._line(item), len(bad) + position // 2, position % 2)
        before = self.tab_after
        for button in self.fixes:  # made after everything below them, they would be the last ones for Tab
            if before is not None:
                QWidget.setTabOrder(before, button)
            before = button
        self.setVisible(bool(self._items))

    def retranslate(self) -> None:
        """Say the lines again in the language of now."""
        self.show_items(self._items)

    def _line(self, item: "CheckItem") -> QWidget:
        result = QWidget()
        line = QHBoxLayout(result)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(Space.SMALL)
        icon = IconLabel(*_ICONS[item.level], size=16, lower=3)
        text = label("" if item.level != "ok" else "muted", wrap=True, selectable=True)
        text.setText(check_text(item))
        text.setAlignment(Qt.AlignmentFlag.AlignTop)  # level with its icon beside a longer neighbour
        text.setAccessibleName(f"{tr('level-' + item.level)}: {text.text()}")
        line.addWidget(icon, 0, Qt.AlignmentFlag.AlignTop)
        line.addWidget(text, 1)
        for name in self._fixes_of(item):
            button = Button("link")
            button.setText(tr(name))
            button.setProperty("fix", name)
            button.clicked.connect(lambda _=False, name=name: self.fix.emit(name))
            self.fixes.append(button)
            line.addWidget(button, 0, Qt.AlignmentFlag.AlignTop)
        return result

    def _fixes_of(self, item: "CheckItem") -> tuple[str, ...]:
        if item.level == "ok":
            return ()
        fixes = FIXES.get(item.code, OTHER_FIXES if item.level == "error" else ())
        if self.can_resume:
            return fixes
        return tuple("fix-discard" if name == "fix-resume" else name for name in fixes)
