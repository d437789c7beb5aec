"""The trainings of before: a list; of one its curves and settings, of two what they have differently."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QTreeWidget, QTreeWidgetItem, QVBoxLayout

from bitconverter.gui.messages import ErrorText, format_duration, ran_on_text, tr
from bitconverter.gui.notice import Notice
from bitconverter.gui.pin_row import PinRow
from bitconverter.gui.texts import MESSAGES
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import Texts, column, label
from bitconverter.jobs.runs import RunDiff
from bitconverter.store.run_store import Run

if TYPE_CHECKING:
    from bitconverter.gui.loss_plot import LossPlot

COLUMNS = ("number", "started", "name", "outcome", "loss", "pinned")
ROWS_SEEN = 6
TIMES = ("seconds",)
WORDS = {
    "engine": "engine-",
    "adapter": "run-value-",
    "objective": "run-value-",
}  # what their values are called
SHARES = ("accuracy_before", "accuracy_after")


class RunList(QFrame):
    """Emits `wanted` with the numbers of the one or two trainings that are to be looked at."""

    wanted = Signal(int, int)

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self._texts = Texts()
        self.runs: tuple[Run, ...] = ()
        self.diff: RunDiff | None = None
        title, words = label("heading"), label("small", wrap=True)
        self._texts.set(title.setText, "runs-title")
        self._texts.set(words.setText, "runs-text")
        self.table, self.details = _table(), _table()
        self.pins = PinRow()
        self.details.setSelectionMode(QTreeWidget.SelectionMode.NoSelection)
        self._texts.set(self.table.setAccessibleName, "runs-title")
        self._texts.set(self.details.setAccessibleName, "runs-details")
        self.table.itemSelectionChanged.connect(self._selected)
        self.notice = Notice()
        self._curves = QVBoxLayout()
        self.plot: LossPlot | None = None
        inner = column(self, spacing=Space.MEDIUM)
        for part in (title, words, self.notice, self.table, self.pins):
            inner.addWidget(part)
        inner.addLayout(self._curves)
        inner.addWidget(self.details)
        self.hide()

    def show_runs(self, runs: tuple[Run, ...]) -> None:
        """All that are known, the newest first."""
        self.notice.clear()
        if runs != self.runs:
            chosen = self.chosen()
            self.runs = runs
            self._fill()
            self._choose(chosen)
        self._show()

    def show_diff(self, diff: RunDiff) -> None:
        """What was `wanted`."""
        self.diff = diff
        self._show()

    def show_error(self, error: ErrorText) -> None:
        """The list cannot be read."""
        self.notice.show_error(error)
        self.show()

    def chosen(self) -> list[int]:
        """The numbers of the selected trainings, the first two of them."""
        places = sorted(self.table.indexOfTopLevelItem(item) for item in self.table.selectedItems())
        return [self.runs[place].id for place in places][:2]

    def _choose(self, numbers: list[int]) -> None:
        """Those that were chosen before the list was read anew, if they are all still there."""
        places = [place for place, run in enumerate(self.runs) if run.id in numbers]
        if not numbers or len(places) != len(numbers):
            self.diff = None
            return
        self.table.blockSignals(True)
        for place in places:
            if (item := self.table.topLevelItem(place)) is not None:
                item.setSelected(True)
        self.table.blockSignals(False)
        self.wanted.emit(numbers[0], numbers[-1])

    def _selected(self) -> None:
        found = self.chosen()
        if found:
            self.wanted.emit(found[0], found[-1])
        else:
            self.diff = None
            self._show()

    def _fill(self) -> None:
        heads = [tr(f"runs-{name}") for name in COLUMNS]
        _fill(self.table, heads, [_cells(run) for run in self.runs], ROWS_SEEN)

    def _show(self) -> None:
        self.setVisible(bool(self.runs))
        diff = self.diff
        self.details.setVisible(diff is not None)
        if self.plot is not None:
            self.plot.setVisible(diff is not None and diff.first.id == diff.second.id)
        if diff is None:
            self.pins.show_run(None)
            return
        one = diff.first.id == diff.second.id
        rows = (
            _one(diff.first) if one else [*_both(diff, "settings"), *_devices(diff), *_both(diff, "numbers")]
        )
        names = [tr("runs-number-of", number=diff.first.id), tr("runs-number-of", number=diff.second.id)]
        heads = ["", *(names[:1] if one else names)]
        _fill(self.details, heads, rows, len(rows))
        self.pins.show_run(diff.first if one else None)
        if one:
            self._show_curves(diff.first)

    def _show_curves(self, run: Run) -> None:
        if self.plot is None:
            from bitconverter.gui.loss_plot import LossPlot  # its library takes half a second to load

            self.plot = LossPlot()
            self._curves.addWidget(self.plot)
        self.plot.show_points(list(run.losses), list(run.checks))
        self.plot.setVisible(bool(run.losses))

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        self.pins.retranslate()
        if self.plot is not None:
            self.plot.retranslate()
        places = [self.table.indexOfTopLevelItem(item) for item in self.table.selectedItems()]
        self._fill()
        self.table.blockSignals(True)
        for place in places:
            if (item := self.table.topLevelItem(place)) is not None:
                item.setSelected(True)
        self.table.blockSignals(False)
        self._show()


def _table() -> QTreeWidget:
    """A list of several columns."""
    table = QTreeWidget()
    table.setRootIsDecorated(False)
    table.setUniformRowHeights(True)
    table.setSelectionMode(QTreeWidget.SelectionMode.ExtendedSelection)
    return table


def _fill(table: QTreeWidget, heads: list[str], rows: list[tuple[str, ...]], seen: int) -> None:
    """As high as `seen` rows, columns as wide as what is in them."""
    table.blockSignals(True)
    table.clear()
    table.setColumnCount(len(heads))
    table.setHeaderLabels(heads)
    table.addTopLevelItems([QTreeWidgetItem(list(cells[: len(heads)])) for cells in rows])
    table.blockSignals(False)
    for place in range(len(heads)):
        table.resizeColumnToContents(place)
    around = table.header().sizeHint().height() + table.horizontalScrollBar().sizeHint().height() + 12
    table.setFixedHeight(around + max(1, min(seen, len(rows))) * max(0, table.sizeHintForRow(0)))


def _cells(run: Run) -> tuple[str, ...]:
    numbers = run.numbers
    loss = f"{numbers['before']:.3f} → {numbers['after']:.3f}" if {"before", "after"} <= set(numbers) else "–"
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started / 1000))
    name = Path(run.soul.removesuffix(".aside")).stem
    pinned = ", ".join(map(str, run.pinned))
    return str(run.id), when, name, tr(f"run-is-{run.outcome}"), loss, pinned


def _one(run: Run) -> list[tuple[str, ...]]:
    both = [*run.settings.items(), *run.numbers.items()]
    rows = [(tr(f"run-{name}"), _value(name, value)) for name, value in both if _known(name)]
    return [*rows, (tr("run-devices"), _places(run))]


def _devices(diff: RunDiff) -> list[tuple[str, ...]]:
    first, second = _places(diff.first), _places(diff.second)
    return [(tr("run-devices"), first, second)] if first != second else []


def _places(run: Run) -> str:
    """On what it ran, one after the other."""
    return " → ".join(ran_on_text(asdict(device)) for device in run.devices) or "–"


def _both(diff: RunDiff, what: str) -> list[tuple[str, ...]]:
    return [
        (tr(f"run-{name}"), _value(name, first), _value(name, second))
        for name, first, second in getattr(diff, what)
        if _known(name)
    ]


def _known(name: str) -> bool:
    """A later version may have written more."""
    return f"run-{name}" in MESSAGES


def _value(name: str, value: Any) -> str:
    if value is None or value in ([], ""):
        return "–"
    if isinstance(value, bool):
        return tr("run-value-yes" if value else "run-value-no")
    if name in WORDS and f"{WORDS[name]}{value}" in MESSAGES:
        return tr(f"{WORDS[name]}{value}")
    if isinstance(value, list):
        return ", ".join(str(item).strip() for item in value)
    if name in TIMES and isinstance(value, int | float):
        return format_duration(value)
    if name in SHARES and isinstance(value, int | float):
        return f"{value:.1%}".replace("%", " %")
    return f"{value:.5g}" if isinstance(value, float) else str(value)
