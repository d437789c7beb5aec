"""The strip at the bottom of the window: the job that runs, and the memory of this PC."""

import psutil
from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QProgressBar, QWidget

from bitconverter.gui.activity import Activities, Activity
from bitconverter.gui.flow import FollowsRoom
from bitconverter.gui.messages import format_size, tr
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import Button, ElidedLabel, IconLabel, Texts, label

MEMORY_INTERVAL = 3000  # milliseconds
LEAST_TITLE = 160  # pixels of what runs


class StatusStrip(FollowsRoom, QFrame):
    """Emits `wanted` with the page of the job that is shown."""

    wanted = Signal(str)

    def __init__(self, activities: Activities) -> None:
        super().__init__()
        self.setObjectName("status")
        self._texts = Texts()
        self._activities = activities
        self._shown: Activity | None = None
        self._title, self._detail = ElidedLabel("strong"), label("muted")
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        self.bar.setFixedWidth(160)
        self._texts.set(self.bar.setAccessibleName, "progress")
        self.show_button = Button("quiet")
        self._texts.set(self.show_button.setText, "show")
        self.show_button.clicked.connect(self._show_page)
        self._job = QWidget()
        job = QHBoxLayout(self._job)
        job.setContentsMargins(0, 0, 0, 0)
        job.setSpacing(Space.MEDIUM)
        job.addWidget(self._title, 1)
        job.addWidget(self.bar)
        job.addWidget(self._detail)
        job.addWidget(self.show_button)
        self._memory = label("small")
        self._memory_bar = QProgressBar()
        self._memory_bar.setRange(0, 1000)
        self._memory_bar.setTextVisible(False)
        self._memory_bar.setFixedWidth(70)
        self._texts.set(self._memory_bar.setAccessibleName, "memory-in-use")
        line = QHBoxLayout(self)
        line.setContentsMargins(Space.LARGE, Space.TINY, Space.LARGE, Space.TINY)
        line.setSpacing(Space.SMALL)
        line.addWidget(self._job, 1)
        line.addStretch()
        self._memory_icon = IconLabel("memory", "muted", 16)
        line.addWidget(self._memory_icon, 0, Qt.AlignmentFlag.AlignVCenter)
        line.addWidget(self._memory_bar)
        line.addWidget(self._memory)
        activities.turned.connect(self._follow)
        activities.progressed.connect(self._progressed)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.show_memory)
        self._timer.start(MEMORY_INTERVAL)
        self.show_memory()
        self._follow()

    def _follow_room(self) -> None:
        """Where there is no room for both, what runs is told and not the memory."""
        memory = (self._memory_icon, self._memory_bar, self._memory)
        job = (self.bar, self._detail, self.show_button)
        needed = sum(part.sizeHint().width() + Space.MEDIUM for part in (*memory, *job)) + LEAST_TITLE
        for part in memory:
            part.setVisible(self._shown is None or needed <= self.width())

    def show_memory(self) -> None:
        """What of the RAM is taken now."""
        memory = psutil.virtual_memory()
        used = memory.total - memory.available
        self._memory_bar.setValue(round(1000 * used / memory.total))
        self._memory.setText(tr("memory-line", used=format_size(used), total=format_size(memory.total)))

    def _follow(self) -> None:
        running = self._activities.running
        self._shown = running[0] if running else None
        self._job.setVisible(bool(running))
        if running:
            self._progressed(running[0])
        self._follow_room()

    def _progressed(self, entry: Activity) -> None:
        if entry is not self._shown:
            return
        self._title.set_text(entry.title())
        self._detail.setText(entry.short())
        self.bar.setValue(round(entry.share * 1000))
        self._follow_room()

    def _show_page(self) -> None:
        if self._shown is not None:
            self.wanted.emit(self._shown.page)

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        self.show_memory()
        self._follow()
