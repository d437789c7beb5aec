"""Activity: every job, running or over, and what happens when the last one is done."""

from functools import partial

from PySide6.QtCore import (
    QModelIndex,
    QPersistentModelIndex,
    QRect,
    QSize,
    QSortFilterProxyModel,
    Qt,
    QTimer,
)
from PySide6.QtGui import QFont, QKeySequence, QPainter, QShortcut
from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QListView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
)

from bitconverter.gui import artwork, theme
from bitconverter.gui.activity import LIVE, Activities, Activity, Work
from bitconverter.gui.flow import WrappedRow
from bitconverter.gui.messages import tr
from bitconverter.gui.page import Shell
from bitconverter.gui.past_job import PastJobCard
from bitconverter.gui.sections import ScrolledPage
from bitconverter.gui.settings_page import choice_text
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import Button, label, row
from bitconverter.store.job_store import MOST

ICONS = {
    Work.WAITING: ("clock", "muted"), Work.RUNNING: ("play", "accent"), Work.PAUSED: ("pause", "warning"),
    Work.STOPPED: ("stop", "muted"), Work.FAILED: ("error", "error"), Work.DONE: ("check", "ok"),
}  # fmt: skip
LIVE_ORDER = (Work.RUNNING, Work.PAUSED, Work.WAITING)
Index = QModelIndex | QPersistentModelIndex
BAR = 4
MOST_SEEN = 5  # lines of a list before it scrolls


class Part(QSortFilterProxyModel):
    """The jobs that are over, what ended last first; or those that are not, what runs first, then in their order."""

    def __init__(self, activities: Activities, over: bool) -> None:
        super().__init__()
        self._over = over
        self.setSortRole(Activities.ENDED)
        self.setSourceModel(activities)
        self.sort(0, Qt.SortOrder.DescendingOrder if over else Qt.SortOrder.AscendingOrder)

    def lessThan(self, left: Index, right: Index) -> bool:
        if self._over:
            return super().lessThan(left, right)
        return _place(left) < _place(right)

    def filterAcceptsRow(self, row: int, parent: QModelIndex | QPersistentModelIndex) -> bool:
        entry: Activity = self.sourceModel().index(row, 0, parent).data(Activities.ENTRY)
        return (entry.state not in LIVE) == self._over


def _place(index: Index) -> tuple[int, float, int]:
    """Of two that began in the same millisecond the one above is the newer one."""
    entry: Activity = index.data(Activities.ENTRY)
    return LIVE_ORDER.index(entry.state) if entry.state in LIVE_ORDER else 0, entry.started, -index.row()


class ActivityDelegate(QStyledItemDelegate):
    """An icon, what the job does, how far it is, and a bar while it runs."""

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        bar = 12 if index.data(Activities.ENTRY).state in LIVE else 0
        return QSize(200, option.fontMetrics.height() * 2 + 18 + bar)  # type: ignore[attr-defined]

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
        when = entry.when()
        beside = option.fontMetrics.horizontalAdvance(when) + (Space.LARGE if when else 0)  # type: ignore[attr-defined]
        room = text.width() - beside
        title = painter.fontMetrics().elidedText(entry.title(), Qt.TextElideMode.ElideMiddle, room)
        painter.drawText(QRect(text.left(), text.top(), room, height), title)
        painter.setFont(option.font)  # type: ignore[attr-defined]
        painter.setPen(artwork.qcolor(colors.muted))
        painter.drawText(
            QRect(text.left(), text.top(), text.width(), height), Qt.AlignmentFlag.AlignRight, when
        )
        painter.setPen(artwork.qcolor(colors.error if entry.state is Work.FAILED else colors.muted))
        detail = painter.fontMetrics().elidedText(
            entry.detail().replace("\n", " "), Qt.TextElideMode.ElideRight, text.width()
        )
        painter.drawText(QRect(text.left(), text.top() + height + 2, text.width(), height), detail)
        if entry.state in (Work.RUNNING, Work.PAUSED):
            track = QRect(text.left(), text.top() + 2 * height + 7, text.width(), BAR)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(artwork.qcolor(colors.track))
            painter.drawRoundedRect(track, 2, 2)
            painter.setBrush(artwork.qcolor(tint))
            track.setWidth(round(track.width() * min(entry.share, 1.0)))
            painter.drawRoundedRect(track, 2, 2)
        painter.restore()


class ActivityPage(ScrolledPage):
    """What runs or waits, what is over, and what came of the one that is chosen."""

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell, "activity-title")
        self.pause_button, self.clear_button = Button("", "pause"), Button("quiet", "trash")
        self.texts.set(self.pause_button.setText, "pause-all")
        self.texts.set(self.clear_button.setText, "clear-finished")
        self.pause_button.clicked.connect(shell.pause_all)
        self.clear_button.clicked.connect(self._clear)
        self.head.addWidget(self.pause_button)
        self.subtitle = label("muted", wrap=True)
        self.texts.set(self.subtitle.setText, "activity-subtitle", count=MOST)
        self.empty = label("muted", wrap=True)
        self.texts.set(self.empty.setText, "activity-empty")
        self.now, self.over = self._list(False, "activity-title"), self._list(True, "activity-over")
        delete = QShortcut(QKeySequence(QKeySequence.StandardKey.Delete), self.over)
        delete.setContext(Qt.ShortcutContext.WidgetShortcut)
        delete.activated.connect(self._remove_chosen)
        self.card = PastJobCard()
        self.over.selectionModel().currentChanged.connect(self._choose)
        self.card.page_wanted.connect(shell.page_wanted)
        self.card.removed.connect(self._remove)
        self._over_title = label("heading")
        self.texts.set(self._over_title.setText, "activity-over")
        over = row(Space.MEDIUM)
        over.addWidget(self._over_title, 1)
        over.addWidget(self.clear_button)
        for part in (self.subtitle, self.empty, self.now):
            self.body.addWidget(part)
        self.body.addLayout(self._build_after())
        self.body.addLayout(over)
        self.body.addWidget(self.over)
        self.body.addWidget(self.card)
        self.body.addStretch()
        for what in (shell.activities.rowsInserted, shell.activities.modelReset):
            what.connect(lambda *_: self._show())
        shell.activities.turned.connect(lambda _entry: self._show())
        self.retranslate()

    def _list(self, over: bool, name: str) -> QListView:
        result = QListView()
        result.setModel(Part(self.shell.activities, over))
        result.model().setParent(result)
        result.setItemDelegate(ActivityDelegate(result))
        result.setEditTriggers(QListView.EditTrigger.NoEditTriggers)
        result.setUniformItemSizes(True)
        self.texts.set(result.setAccessibleName, name)
        if not over:
            result.activated.connect(self._open)
            result.doubleClicked.connect(self._open)
        return result

    def _build_after(self) -> QHBoxLayout:
        self.after = QComboBox()
        for value in ("nothing", "sleep", "shutdown"):
            self.after.addItem("", value)
        self.texts.set(self.after.setAccessibleName, "set-when_finished")
        self.after.currentIndexChanged.connect(self._choose_after)
        after = label()
        self.texts.set(after.setText, "set-when_finished")
        self.awake = label("small", wrap=True)
        self.awake.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        choice = WrappedRow(Space.MEDIUM)
        choice.add(after)
        choice.add(self.after)
        line = row(Space.MEDIUM)
        line.addWidget(choice)
        line.addWidget(self.awake, 1)
        return line

    def _choose_after(self, index: int) -> None:
        value = self.after.itemData(index)
        if self.isVisible() and value != self.settings["when_finished"]:
            self.settings["when_finished"] = value
            self.shell.setting_changed.emit("when_finished")

    def _open(self, index: QModelIndex) -> None:
        self.shell.page_wanted.emit(index.data(Activities.ENTRY).page)

    # ---- what is over

    def _choose(self, index: QModelIndex) -> None:
        self.card.show_entry(index.data(Activities.ENTRY) if index.isValid() else None)
        if self.card.isVisible():
            QTimer.singleShot(0, self.card, lambda: self.area.ensureWidgetVisible(self.card, 0, Space.MEDIUM))

    def _remove(self, entry: Activity | None) -> None:
        if entry is not None:
            back = self.shell.history.remove([entry])
            self.card.show_entry(None)
            self.shell.say(partial(tr, "job-removed", name=entry.title()), "undo", back)

    def _remove_chosen(self) -> None:
        self._remove(self.card.entry)

    def _clear(self) -> None:
        gone = [entry for entry in self.shell.activities.entries if entry.state not in LIVE]
        back = self.shell.history.remove(gone)
        self.card.show_entry(None)
        self.shell.say(partial(tr, "jobs-cleared", count=len(gone)), "undo", back)

    # ---- the window

    def _show(self) -> None:
        entries = self.shell.activities.entries
        over = sum(entry.state not in LIVE for entry in entries)
        self.empty.setVisible(over == len(entries))
        for view, count in ((self.now, len(entries) - over), (self.over, over)):
            view.setVisible(count > 0)
            view.setFixedHeight(
                min(count, MOST_SEEN) * max(view.sizeHintForRow(0), 1) + 2 * view.frameWidth() + 2
            )
        for part in (self._over_title, self.clear_button):
            part.setVisible(over > 0)
        self.pause_button.setEnabled(self.shell.working)
        self.awake.setText(tr("awake-held") if self.shell.working and self.settings["keep_awake"] else "")

    def entered(self) -> None:
        """The choice may have been changed in the settings."""
        self.shell.history.load()
        self.after.setCurrentIndex(self.after.findData(self.settings["when_finished"]))
        self._show()

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        super().retranslate()
        for index in range(self.after.count()):
            self.after.setItemText(index, choice_text("when_finished", self.after.itemData(index)))
        self.card.retranslate()
        self._show()
