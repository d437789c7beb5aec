"""A training at work: its curves, where it is, the time left, and what to do."""

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QProgressBar, QWidget

from bitconverter.gui.device_text import steps_badge
from bitconverter.gui.flow import FollowsRoom, WrappedRow, beside_or_below
from bitconverter.gui.loss_plot import LossPlot
from bitconverter.gui.messages import ErrorText, time_left, tr
from bitconverter.gui.notice import Notice
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import Button, ElidedLabel, Texts, column, label, row
from bitconverter.jobs.eco import WAITS
from bitconverter.jobs.job import Note

STANDS_STILL = 3  # checks without a better one: it may be ended
MARGIN = 20
# what is done outside the steps, by its unit; else the material is read through the lower layers
BEFORE = {"look": "train-looking", "dream": "train-dreaming", "answer": "train-answering"}


class TrainCard(FollowsRoom, QFrame):
    """Emits what its buttons ask for. `phase`: "preparing", "running", "pausing", "paused" or "stopping", or "" while
    there is nothing to show."""

    pause = Signal()
    resume = Signal()
    keep = Signal()
    pin = Signal()
    discard = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self._texts = Texts()
        self._name, self.phase = "", ""
        self._eta: float | None = None
        self._done, self._total, self._item = 0, 0, ""
        self._steps = 0  # of the whole training
        self._waiting: Note | None = None
        self._slower: Note | None = None
        self._device: Note | None = None
        self._build()
        self.hide()

    def _build(self) -> None:

        inner = column(self, MARGIN, Space.MEDIUM)
        self.title, self._percent = ElidedLabel("heading"), label("heading")
        self.plot, self.bar = LossPlot(), QProgressBar()
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        self._texts.set(self.bar.setAccessibleName, "progress")
        self.text, self.eta = ElidedLabel("muted"), label("muted")
        self.device = label("badge")
        self.notice = Notice()
        self.pause_button, self.keep_button = Button("", "pause"), Button("", "stop")
        self.resume_button, self.discard_button = Button("primary", "play"), Button("quiet", "trash")
        self.pin_button = Button("quiet", "pin")
        head, foot, self._line = row(), row(), row(Space.SMALL)
        head.addWidget(self.title, 1)
        head.addWidget(self._percent)
        foot.addWidget(self.text, 1)
        foot.addWidget(self.eta)
        for button, key, signal in (
            (self.resume_button, "resume", self.resume), (self.pause_button, "pause", self.pause),
            (self.keep_button, "train-keep", self.keep), (self.pin_button, "pin-now", self.pin),
            (self.discard_button, "discard", self.discard),
        ):  # fmt: skip
            self._texts.set(button.setText, key)
            button.clicked.connect(signal)
            self._line.addWidget(button)
        self._texts.set(self.pin_button.setToolTip, "pin-now-tip")
        self._line.addStretch()
        inner.addLayout(head)
        inner.addWidget(self.device, 0, Qt.AlignmentFlag.AlignLeft)
        inner.addWidget(self._build_numbers())
        inner.addWidget(self.plot)
        inner.addWidget(self.bar)
        inner.addLayout(foot)
        inner.addWidget(self.notice)
        inner.addLayout(self._line)

    def _build_numbers(self) -> QWidget:
        result, self.numbers = WrappedRow(Space.WIDE), {}
        for key in ("now-before", "now-best", "now-best-step"):
            name, number, pair = label("small"), label("number", selectable=True), QWidget()
            self._texts.set(name.setText, key)
            lines = column(pair, 0, 1)
            lines.addWidget(number)
            lines.addWidget(name)
            result.add(pair)
            self.numbers[key] = number
        return result

    # ---- what is shown

    def begin(self, name: str, steps: int) -> None:
        """A training of `steps` called `name` begins, or goes on: its curves so far are told again."""
        self._name, self._steps = name, steps
        self.plot.clear()
        self._waiting = self._slower = self._device = None
        self.notice.clear()
        self._show_device()
        self._show_numbers()
        self.show_phase("preparing")

    def show_phase(self, phase: str) -> None:
        """See `phase` above."""
        self.phase = phase
        self.setVisible(bool(phase))
        if not phase:
            return
        if phase == "preparing":
            self._done, self._total, self._item, self._eta = 0, 0, "", None
        self.title.set_text(tr(f"train-{phase}", name=self._name))
        self.pause_button.setVisible(phase in ("preparing", "running", "pausing"))
        self.pause_button.setEnabled(phase in ("preparing", "running"))
        self.resume_button.setVisible(phase == "paused")
        self.discard_button.setVisible(phase == "paused")
        self.keep_button.setVisible(phase != "preparing")
        self.pin_button.setVisible(phase in ("running", "paused"))
        self._enable()
        self.show_progress(self._done, self._total, self._item, self._eta)
        self._follow_room()

    def _follow_room(self) -> None:
        """Its buttons stand side by side where all fit."""
        buttons = (
            self.resume_button, self.pause_button, self.keep_button, self.pin_button, self.discard_button
        )  # fmt: skip
        shown = [button for button in buttons if button.isVisibleTo(self)]
        beside_or_below(self._line, shown, self.width() - 2 * MARGIN)

    def show_progress(self, done: int, total: int, item: str, eta: float | None) -> None:
        """How far it is; `item`: "step", or the unit of what comes before or behind the steps (BEFORE)."""
        self._done, self._total, self._item, self._eta = done, total, item, eta
        share = done / total if total else 0.0
        self.bar.setValue(round(share * 1000))
        self._percent.setText(f"{share:.0%}".replace("%", " %") if total else "")
        if item == "step":
            self.text.set_text(tr("train-step", step=done, steps=total))
        elif self.phase == "paused":
            self.text.set_text("")  # nothing is read now
        else:
            self.text.set_text(tr(BEFORE.get(item, "train-reading")))
        show = self.phase in ("preparing", "running")
        self.eta.setText(time_left(eta) if show else "")

    def add_point(self, name: str, step: int, value: float) -> None:
        """A number for the curves: "loss" or "validation"."""
        self.plot.add(name, step, value)
        self._enable()
        if name == "validation":
            self._slower = None
            self._advise()
        self._show_numbers()

    def show_curves(self, losses: list[tuple[int, float]], checks: list[tuple[int, float]]) -> None:
        """Those of a training that goes on, up to where it is."""
        self.plot.show_points(losses, checks)
        if self.phase == "paused":
            self._show_reached()
        self._enable()
        self._show_numbers()

    def show_paused(self, problem: ErrorText | None, why: str = "") -> None:
        """It waits to go on; because of `problem`, or of `why` ("interrupted")."""
        self.show_phase("paused")
        self._show_reached()
        if problem is not None:
            self.notice.show_error(problem)
        elif why:
            self.notice.show_warning(tr(f"train-{why}"), tr(f"train-{why}-text"))
        else:
            self.notice.clear()

    def _show_reached(self) -> None:
        """The step that it waits at; before the first one, nothing."""
        if self.plot.losses:
            self.show_progress(self.plot.losses[-1][0], self._steps, "step", None)
        else:
            self.show_progress(0, 0, "", None)

    def show_waiting(self, note: Note) -> None:
        """It waits for what `note` says (a code of eco.WAITS), or goes on."""
        self._waiting = note if note.code in WAITS else None
        self._advise()

    def show_device(self, note: Note) -> None:
        """On what its steps run: the note "train-device"."""
        self._device = note
        self._show_device()

    def show_slower(self, note: Note) -> None:
        """The loss jumped, and the best state was taken up again; said until the next check."""
        self._slower = note
        self._advise()

    def _show_device(self) -> None:
        words, tip = ("", "") if self._device is None else steps_badge(self._device.fields)
        self.device.setText(words)
        self.device.setToolTip(tip)
        self.device.setVisible(bool(words))

    def _advise(self) -> None:
        """What the user should know while it is at work: why it waits, that it jumped, that it stands still."""
        best = self.plot.best_check()
        since = sum(step > best[0] for step, _ in self.plot.checks) if best else 0
        if self._waiting is not None:
            key = f"train-{self._waiting.code}"
            self.notice.show_warning(tr(key), tr(f"{key}-text", **self._waiting.fields))
        elif self._slower is not None:
            self.notice.show_warning(tr("train-slowed"), tr("train-slowed-text", **self._slower.fields))
        elif best is not None and since >= STANDS_STILL:
            self.notice.show_warning(tr("train-plateau"), tr("train-plateau-text", step=best[0]))
        else:
            self.notice.clear()

    def _enable(self) -> None:
        """There is something to keep and to pin once it was looked at."""
        for button in (self.keep_button, self.pin_button):
            button.setEnabled(self.phase in ("running", "paused") and bool(self.plot.checks))

    def _show_numbers(self) -> None:
        checks, best = self.plot.checks, self.plot.best_check()
        self.numbers["now-before"].setText(f"{checks[0][1]:.3f}" if checks else "–")
        self.numbers["now-best"].setText(f"{best[1]:.3f}" if best else "–")
        self.numbers["now-best-step"].setText(str(best[0]) if best else "–")

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        self.plot.retranslate()
        self.show_phase(self.phase)
        self._show_device()
        if self.phase == "running":
            self._advise()
