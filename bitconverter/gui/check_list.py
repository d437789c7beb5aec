"""The list of what was checked before a conversion: a line each, good, doubtful or bad."""

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QWidget

from bitconverter.gui.messages import check_text, tr
from bitconverter.gui.widgets import IconLabel, label
from bitconverter.jobs.preflight import CheckItem

_ICONS = {"ok": ("check", "ok"), "warning": ("warning", "warning"), "error": ("error", "error")}
SAID_ELSEWHERE = ("output", "disk", "unfinished")  # when all is well, the page shows these as numbers
_ORDER = {"error": 0, "warning": 1, "ok": 2}


class CheckList(QWidget):
    """Shows check items: the bad ones first, a line each; the good ones in two columns."""

    def __init__(self) -> None:
        super().__init__()
        self._items: tuple[CheckItem, ...] = ()
        self._lines = QGridLayout(self)
        self._lines.setContentsMargins(0, 0, 0, 0)
        self._lines.setHorizontalSpacing(16)
        self._lines.setVerticalSpacing(6)
        self._lines.setColumnStretch(0, 1)
        self._lines.setColumnStretch(1, 1)

    def show_items(self, items: Sequence[CheckItem]) -> None:
        """Replace the list."""
        self._items = tuple(sorted(items, key=lambda item: _ORDER[item.level]))
        while (taken := self._lines.takeAt(0)) is not None:
            widget = taken.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        bad = [item for item in self._items if item.level != "ok"]
        good = [item for item in self._items if item.level == "ok" and item.code not in SAID_ELSEWHERE]
        for position, item in enumerate(bad):
            self._lines.addWidget(_line(item), position, 0, 1, 2)
        for position, item in enumerate(good):
            self._lines.addWidget(_line(item), len(bad) + position // 2, position % 2)
        self.setVisible(bool(self._items))

    def retranslate(self) -> None:
        """Say the lines again in the language of now."""
        self.show_items(self._items)


def _line(item: CheckItem) -> QWidget:
    result = QWidget()
    line = QHBoxLayout(result)
    line.setContentsMargins(0, 0, 0, 0)
    line.setSpacing(8)
    icon = IconLabel(*_ICONS[item.level], size=16, lower=3)
    text = label("" if item.level != "ok" else "muted", wrap=True, selectable=True)
    text.setText(check_text(item))
    text.setAlignment(Qt.AlignmentFlag.AlignTop)  # level with its icon beside a longer neighbour
    text.setAccessibleName(f"{tr('level-' + item.level)}: {text.text()}")
    line.addWidget(icon, 0, Qt.AlignmentFlag.AlignTop)
    line.addWidget(text, 1)
    return result
