"""The pinned states of one training: go on from one, let one go; pin one more while it is not finished."""

from PySide6.QtCore import Signal, SignalInstance
from PySide6.QtWidgets import QComboBox, QSpinBox, QWidget

from bitconverter.gui.flow import FollowsRoom, beside_or_below
from bitconverter.gui.messages import tr
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import Button, Texts, column, label, row
from bitconverter.store.run_store import UNFINISHED, Run

MOST_STEPS = 1_000_000


class PinRow(FollowsRoom, QWidget):
    """Emits what its buttons ask for, with the Run; `unpin` and `go_on` also with the step of the pinned state, `go_on`
    with the last step then."""

    pin = Signal(object)
    unpin = Signal(object, int)
    go_on = Signal(object, int, int)

    def __init__(self) -> None:
        super().__init__()
        self._texts = Texts()
        self._run: Run | None = None
        self.steps, self.last = QComboBox(), QSpinBox()
        self.steps.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.last.setRange(1, MOST_STEPS)
        self.last.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
        self.go_on_button, self.unpin_button = Button("", "play"), Button("quiet", "close")
        self.pin_button = Button("quiet", "pin")
        words, self._until = label("small", wrap=True), label("small")
        self._texts.set(words.setText, "pins-text")
        self._texts.set(self._until.setText, "pins-until")
        self._texts.set(self.steps.setAccessibleName, "pins-states")
        self._texts.set(self.last.setAccessibleName, "pins-until")
        self._texts.set(self.go_on_button.setText, "pins-go-on")
        self._texts.set(self.unpin_button.setText, "unpin")
        self._texts.set(self.pin_button.setText, "pins-pin")
        self._fields, self._buttons = QWidget(), QWidget()
        self._of_a_pin = (self._fields, self.go_on_button, self.unpin_button)
        fields, self._line, self._in_line = row(Space.SMALL), row(Space.SMALL), row(Space.SMALL)
        for part in (self.steps, self._until, self.last):
            fields.addWidget(part)
        for button in (self.go_on_button, self.unpin_button, self.pin_button):
            self._in_line.addWidget(button)
        for holder, inside in ((self._fields, fields), (self._buttons, self._in_line)):
            inside.setContentsMargins(0, 0, 0, 0)
            inside.addStretch()
            holder.setLayout(inside)
            self._line.addWidget(holder)
        self._line.addStretch()
        inner = column(self, 0, Space.SMALL)
        inner.addWidget(words)
        inner.addLayout(self._line)
        self.steps.currentIndexChanged.connect(lambda _: self._show_last())
        self.go_on_button.clicked.connect(lambda: self._emit(self.go_on, self.step, self.last.value()))
        self.unpin_button.clicked.connect(lambda: self._emit(self.unpin, self.step))
        self.pin_button.clicked.connect(lambda: self._emit(self.pin))
        self.hide()

    @property
    def step(self) -> int:
        """Of the pinned state that is chosen."""
        return int(self.steps.currentData() or 0)

    def show_run(self, run: Run | None) -> None:
        """The pinned states of `run`; None: nothing to show."""
        self._run = run
        pinned = run.pinned if run is not None else ()
        chosen = self.step
        self.steps.blockSignals(True)
        self.steps.clear()
        for step in pinned:
            self.steps.addItem(tr("samples-step", step=step), step)
        if chosen in pinned:
            self.steps.setCurrentIndex(pinned.index(chosen))
        self.steps.blockSignals(False)
        unfinished = run is not None and run.outcome == UNFINISHED
        for part in self._of_a_pin:
            part.setVisible(bool(pinned))
        self.pin_button.setVisible(unfinished)
        self.setVisible(bool(pinned) or unfinished)
        self._follow_room()
        self._show_last()

    def _follow_room(self) -> None:
        buttons = [b for b in (self.go_on_button, self.unpin_button, self.pin_button) if b.isVisibleTo(self)]
        beside_or_below(self._in_line, buttons, self.width())
        parts = [part for part in (self._fields, self._buttons) if part.isVisibleTo(self)]
        beside_or_below(self._line, parts, self.width())

    def _show_last(self) -> None:
        """As many steps as it was to have; where that is no more than are behind it, as many again."""
        if self._run is None:
            return
        wanted = self._run.settings.get("steps")
        steps = wanted if isinstance(wanted, int) and wanted > 0 else 1
        self.last.setMinimum(self.step + 1)
        self.last.setValue(steps if steps > self.step else self.step + steps)

    def _emit(self, signal: SignalInstance, *values: int) -> None:
        if self._run is not None:
            signal.emit(self._run, *values)

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        last = self.last.value()
        self.show_run(self._run)
        self.last.setValue(last)
