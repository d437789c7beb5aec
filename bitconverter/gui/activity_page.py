"""Activity: every job, running or over, and what happens when the last one is done."""

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRect, QSize, Qt
from PySide6.QtGui import QFont, QPainter
from PySide6.QtWidgets import QComboBox, QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem

from bitconverter.gui import artwork, theme
from bitconverter.gui.activity import Activities, Activity, Work
from bitconverter.gui.messages import tr
from bitconverter.gui.page import Shell
from bitconverter.gui.sections import ScrolledPage
from bitconverter.gui.settings_page import choice_text
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import Button, label, row

ICONS = {
    Work.WAITING: ("clock", "muted"), Work.RUNNING: ("play", "accent"), Work.PAUSED: ("pause", "warning"),
    Work.STOPPED: ("stop", "muted"), Work.FAILED: ("error", "error"), Work.DONE: ("check", "ok"),
}  # fmt: skip
BAR = 4


class ActivityDelegate(QStyledItemDelegate):
    """An icon, what the job does, how far it is, and a bar while it runs."""

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        return QSize(200, option.fontMetrics.height() * 2 + 30)  # type: ignore[attr-defined]

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        entry: Activity = index.data(Activities.ENTRY)
        colors = theme.current()
        rect: QRect = option.rect.adjusted(0, 2, 0, -2)  # type: ignore[attr-defined]
        state = option.state  # type: ignore[attr-defined]
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if state & QStyle.StateFlag.State_Selected:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(artwork.qcolor(colors.accent_soft))
            painter.drawRoundedRect(rect, 8, 8)
        name, color = ICONS[entry.state]
        tint = getattr(colors, color)
        picture = artwork.pixmap(name, tint, 20, painter.device().devicePixelRatioF())
        painter.drawPixmap(rect.left() + Space.MEDIUM, rect.top() + (rect.height() - 20) // 2, picture)
        text = rect.adjusted(46, 6, -Space.LARGE, -6)
        height = option.fontMetrics.height()  # type: ignore[attr-defined]
        bold = QFont(option.font)  # type: ignore[attr-defined]
        bold.setWeight(QFont.Weight.DemiBold)
        painter.setFont(bold)
        painter.setPen(artwork.qcolor(colors.text))
        title = painter.fontMetrics().elidedText(entry.title(), Qt.TextElideMode.ElideMiddle, text.width())
        painter.drawText(QRect(text.left(), text.top(), text.width(), height), title)
        painter.setFont(option.font)  # type: ignore[attr-defined]
        painter.setPen(artwork.qcolor(colors.error if entry.state is Work.FAILED else colors.muted))
        detail = painter.fontMetrics().elidedText(
            entry.detail().replace("\n", " "), Qt.TextElideMode.ElideRight, text.width()
        )
        painter.drawText(QRect(text.left(), text.top() + height + 2, text.width(), height), detail)
        if entry.state in (Work.RUNNING, Work.PAUSED):
            track = QRect(text.left(), text.top() + 2 * height + 7, text.width(), BAR)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(artwork.qcolor(colors.border))
            painter.drawRoundedRect(track, 2, 2)
            painter.setBrush(artwork.qcolor(tint))
            track.setWidth(round(track.width() * min(entry.share, 1.0)))
            painter.drawRoundedRect(track, 2, 2)
        painter.restore()


class ActivityPage(ScrolledPage):
    """The list of the window's jobs."""

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell, "activity-title", "activity-subtitle")
        self.pause_button, self.clear_button = Button("", "pause"), Button("quiet", "trash")
        self.texts.set(self.pause_button.setText, "pause-all")
        self.texts.set(self.clear_button.setText, "clear-finished")
        self.pause_button.clicked.connect(shell.pause_all)
        self.clear_button.clicked.connect(self._clear)
        self.head.addWidget(self.pause_button)
        self.head.addWidget(self.clear_button)
        self.empty = label("muted", wrap=True)
        self.texts.set(self.empty.setText, "activity-empty")
        self.list = QListView()
        self.list.setModel(shell.activities)
        self.list.setItemDelegate(ActivityDelegate(self.list))
        self.list.setEditTriggers(QListView.EditTrigger.NoEditTriggers)
        self.list.setMinimumHeight(260)
        self.list.setUniformItemSizes(True)
        self.texts.set(self.list.setAccessibleName, "activity-title")
        self.list.activated.connect(self._open)
        self.list.doubleClicked.connect(self._open)
        self.after = QComboBox()
        for value in ("nothing", "sleep", "shutdown"):
            self.after.addItem("", value)
        self.texts.set(self.after.setAccessibleName, "set-when_finished")
        self.after.currentIndexChanged.connect(self._choose_after)
        after = label()
        self.texts.set(after.setText, "set-when_finished")
        self.awake = label("small")
        line = row(Space.MEDIUM)
        line.addWidget(after)
        line.addWidget(self.after)
        line.addStretch()
        line.addWidget(self.awake)
        self.body.addWidget(self.empty)
        self.body.addWidget(self.list, 1)
        self.body.addLayout(line)
        shell.activities.turned.connect(lambda _entry: self._show())
        self.retranslate()

    def _choose_after(self, index: int) -> None:
        value = self.after.itemData(index)
        if self.isVisible() and value != self.settings["when_finished"]:
            self.settings["when_finished"] = value
            self.shell.setting_changed.emit("when_finished")

    def _open(self, index: QModelIndex) -> None:
        self.shell.page_wanted.emit(index.data(Activities.ENTRY).page)

    def _clear(self) -> None:
        self.shell.activities.clear()
        self._show()

    def _show(self) -> None:
        entries = self.shell.activities.entries
        self.empty.setVisible(not entries)
        self.list.setVisible(bool(entries))
        self.pause_button.setEnabled(self.shell.working)
        self.clear_button.setEnabled(len(self.shell.activities.running) < len(entries))
        self.awake.setText(tr("awake-held") if self.shell.working and self.settings["keep_awake"] else "")

    def entered(self) -> None:
        """The choice may have been changed in the settings."""
        self.after.setCurrentIndex(self.after.findData(self.settings["when_finished"]))
        self._show()

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        super().retranslate()
        for index in range(self.after.count()):
            self.after.setItemText(index, choice_text("when_finished", self.after.itemData(index)))
        self._show()
