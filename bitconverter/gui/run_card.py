"""A conversion at work: its layers, the time left, what to do; then what came out of it, or why nothing did."""

from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QProgressBar, QVBoxLayout, QWidget

from bitconverter.gui.activity import Work
from bitconverter.gui.convert_queue import QueueItem
from bitconverter.gui.done_view import DoneView
from bitconverter.gui.layer_strip import LayerStrip
from bitconverter.gui.messages import item_text, time_left, tr
from bitconverter.gui.notice import Notice
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import Button, ElidedLabel, Texts, column, label, row

WORST = 5


class RunCard(QFrame):
    """Shows one item of the queue, or nothing."""

    pause = Signal()
    stop = Signal()
    resume = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self._texts = Texts()
        self.item: QueueItem | None = None
        self._layers = 0
        inner = column(self, spacing=Space.MEDIUM)
        self.notice, self.done = Notice(), DoneView()
        self._work = self._build_work()
        for part in (self._work, self.notice, self.done):
            inner.addWidget(part)
            part.hide()
        self.hide()

    def _build_work(self) -> QWidget:
        result = QWidget()
        layout = QVBoxLayout(result)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(9)
        self.title, self._percent = ElidedLabel("heading"), label("heading")
        self.text, self._eta = ElidedLabel("muted"), label("muted")
        self.worst = label("small", wrap=True)
        self.strip, self.bar = LayerStrip(), QProgressBar()
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        self._texts.set(self.bar.setAccessibleName, "progress")
        self.pause_button, self.stop_button = Button("", "pause"), Button("", "stop")
        self.resume_button = Button("primary", "play")
        for button, key, signal in (
            (self.resume_button, "resume", self.resume), (self.pause_button, "pause", self.pause),
            (self.stop_button, "stop-and-keep", self.stop),
        ):  # fmt: skip
            self._texts.set(button.setText, key)
            button.clicked.connect(signal)
        head, foot, buttons = row(), row(), row(Space.SMALL)
        head.addWidget(self.title, 1)
        head.addWidget(self._percent)
        foot.addWidget(self.text, 1)
        foot.addWidget(self._eta)
        for button in (self.resume_button, self.pause_button, self.stop_button):
            buttons.addWidget(button)
        buttons.addStretch()
        layout.addLayout(head)
        layout.addWidget(self.strip)
        layout.addWidget(self.bar)
        layout.addLayout(foot)
        layout.addWidget(self.worst)
        layout.addLayout(buttons)
        return result

    def show_item(self, item: QueueItem | None, layers: int = 0) -> None:
        """Show `item`, whose model has so many `layers` (0: not known)."""
        self.item, self._layers = item, layers
        self.setVisible(item is not None)
        if item is None:
            return
        state = item.state
        working = state in (Work.RUNNING, Work.PAUSED, Work.WAITING)
        self._work.setVisible(working)
        self.done.setVisible(state is Work.DONE)
        if state is Work.DONE and item.result is not None:
            self.done.show_result(item.job, item.result, item.expected, item.measured())
        self._show_problem(item)
        if working:
            self._show_buttons(item)
            self.show_progress()

    def _show_problem(self, item: QueueItem) -> None:
        if item.state is Work.FAILED and item.problem is not None:
            self.notice.show_error(item.problem.now())
        elif item.state is Work.PAUSED and item.why:
            text = item.problem.now().text if item.problem is not None else tr(f"paused-{item.why}-text")
            self.notice.show_warning(tr(f"paused-{item.why}"), text)
        else:
            self.notice.clear()

    def _show_buttons(self, item: QueueItem) -> None:
        running, stopping = item.state is Work.RUNNING, bool(item.ending)
        self.resume_button.setVisible(item.state is Work.PAUSED)
        self.pause_button.setVisible(running)
        self.pause_button.setEnabled(not stopping)
        self.stop_button.setEnabled(not stopping)
        state = "stopping" if running and stopping else item.state.value
        self.title.set_text(tr(f"run-{state}", name=Path(item.job.source).name))

    def show_progress(self) -> None:
        """How far the shown item is."""
        item = self.item
        if item is None:
            return
        activity = item.activity
        self.bar.setValue(round(activity.share * 1000))
        # of another day: it has not been looked at
        unknown = item.state is Work.PAUSED and not activity.share
        self._percent.setText("" if unknown else f"{activity.share:.0%}".replace("%", " %"))
        self.text.set_text(item_text(activity.item))
        running = item.state is Work.RUNNING and not item.ending
        self._eta.setText(time_left(activity.eta) if running else "")
        self.strip.show_layers(self._layers, max(item.layer, 0), item.errors)
        self._show_worst(item)

    def _show_worst(self, item: QueueItem) -> None:
        worst = sorted(item.matrices.items(), key=lambda pair: -pair[1])[:WORST]
        names = " · ".join(
            tr("matrix-error", layer=layer, matrix=matrix, error=f"{error:.4f}")
            for (layer, matrix), error in worst
        )
        self.worst.setText(tr("worst-matrices", matrices=names) if worst else "")
        self.worst.setVisible(bool(worst))

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        self.done.retranslate()
        self.show_item(self.item, self._layers)
