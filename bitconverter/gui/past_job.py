"""One job that is over: when it was, how it ended, what it made and told, and what to do with it."""

import os
import time

from PySide6.QtCore import Qt, QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QFrame

from bitconverter.gui.activity import LIVE, Activity, Work
from bitconverter.gui.flow import FollowsRoom, beside_or_below
from bitconverter.gui.job_facts import fact_text
from bitconverter.gui.messages import format_duration, tr
from bitconverter.gui.notice import Notice
from bitconverter.gui.texts import MESSAGES
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import Button, ElidedLabel, Texts, column, label, row


class PastJobCard(FollowsRoom, QFrame):
    """Hidden while none is chosen. Emits `page_wanted` with the page of the job, `removed` with the job."""

    page_wanted = Signal(str)
    removed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self._texts = Texts()
        self.entry: Activity | None = None
        self.title, self.place, self.notice = ElidedLabel("heading"), ElidedLabel("muted"), Notice()
        self.names, self.values = label("muted"), label(selectable=True)
        self.folder_button, self.page_button = Button("", "folder"), Button("", "external")
        self.remove_button = Button("quiet", "trash")
        for button, key, slot in (
            (self.folder_button, "open-folder", self._open_folder),
            (self.page_button, "job-show-page", self._show_page),
            (self.remove_button, "job-remove", self._remove),
        ):
            self._texts.set(button.setText, key)
            button.clicked.connect(slot)
        facts, self._buttons = row(Space.WIDE), row(Space.SMALL)
        for text in (self.names, self.values):
            facts.addWidget(text, 0, Qt.AlignmentFlag.AlignTop)
        facts.addStretch()
        for button in (self.folder_button, self.page_button, self.remove_button):
            self._buttons.addWidget(button)
        self._buttons.addStretch()
        inner = column(self, Space.LARGE, Space.MEDIUM)
        inner.addWidget(self.title)
        inner.addWidget(self.place)
        inner.addLayout(facts)
        inner.addWidget(self.notice)
        inner.addLayout(self._buttons)
        self.hide()

    def show_entry(self, entry: Activity | None) -> None:
        """Show `entry`, or nothing where it is None or not over."""
        self.entry = entry = entry if entry is not None and entry.state not in LIVE else None
        self.setVisible(entry is not None)
        if entry is None:
            return
        self.title.set_text(entry.title())
        self.place.set_text(entry.result)
        self.place.setVisible(bool(entry.result))
        lines = _lines(entry)
        self.names.setText("\n".join(name for name, _ in lines))
        self.values.setText("\n".join(value for _, value in lines))
        if entry.state is Work.FAILED and entry.problem is not None:
            self.notice.show_error(entry.problem.now())
        else:
            self.notice.clear()
        self.folder_button.setVisible(bool(entry.result))
        self.folder_button.setEnabled(os.path.exists(entry.result))

    def _follow_room(self) -> None:
        buttons = (self.folder_button, self.page_button, self.remove_button)
        beside_or_below(self._buttons, buttons, self.width() - 2 * Space.LARGE)

    def _open_folder(self) -> None:
        if self.entry is not None:
            path = self.entry.result
            QDesktopServices.openUrl(
                QUrl.fromLocalFile(path if os.path.isdir(path) else os.path.dirname(path))
            )

    def _show_page(self) -> None:
        if self.entry is not None:
            self.page_wanted.emit(self.entry.page)

    def _remove(self) -> None:
        if self.entry is not None:
            self.removed.emit(self.entry)

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        self._follow_room()
        self.show_entry(self.entry)


def _lines(entry: Activity) -> list[tuple[str, str]]:
    """What is known of it: names and values."""
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.started))
    took = format_duration(max(entry.ended - entry.started, 0.0))
    lines = [
        (tr("job-outcome"), tr(f"outcome-{entry.state.value}")), (tr("job-began"), began),
        (tr("job-ended"), f"{entry.when()}  ({took})"),
    ]  # fmt: skip
    known = [
        name for name in entry.numbers if f"fact-{name}" in MESSAGES
    ]  # a later version may have written more
    return lines + [(tr(f"fact-{name}"), fact_text(name, entry.numbers[name])) for name in known]
