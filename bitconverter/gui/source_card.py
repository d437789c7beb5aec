"""The model to convert: an inviting place to drop one, then its name and what was checked."""

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, QStandardPaths, Qt, Signal
from PySide6.QtWidgets import QBoxLayout, QFrame, QHBoxLayout, QVBoxLayout, QWidget

from bitconverter.gui import theme
from bitconverter.gui.check_list import CheckList
from bitconverter.gui.choose import choose_file, choose_folder
from bitconverter.gui.flow import FollowsRoom, below_width, beside_or_below
from bitconverter.gui.messages import ErrorText, format_count, format_size, tr
from bitconverter.gui.notice import Notice
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import (
    Button,
    ElidedLabel,
    IconLabel,
    Texts,
    column,
    frame,
    label,
    row,
)
from bitconverter.settings import Settings, storable

if TYPE_CHECKING:
    from bitconverter.jobs.preflight import PreflightReport

DROP_MARGIN = 36
NAME_WIDTH = 260  # pixels of the model's name, at the usual text size, that buttons beside it leave


class SourceCard(FollowsRoom, QWidget):
    """Emits `picked` with the path of a folder or a .gguf file."""

    picked = Signal(str)

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self._texts = Texts()
        self._report: PreflightReport | None = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._empty, self._chosen = QWidget(), self._build_chosen()
        self._drop = self._build_drop()
        inviting = column(self._empty, 0, 26)
        inviting.addWidget(self._drop)
        inviting.addWidget(self._build_steps())
        layout.addWidget(self._empty)
        layout.addWidget(self._chosen)
        self._chosen.hide()

    def _build_drop(self) -> QFrame:
        result = frame("drop")
        result.setMinimumHeight(290)
        inner = column(result, DROP_MARGIN, 10)
        inner.addStretch()
        title, text = label("heading"), label("muted", wrap=True)
        self._texts.set(title.setText, "drop-title")
        self._texts.set(text.setText, "drop-text")
        text.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        folder, file = Button("primary", "folder"), Button("")
        self._texts.set(folder.setText, "choose-folder")
        self._texts.set(file.setText, "choose-gguf")
        folder.clicked.connect(self.ask_folder)
        file.clicked.connect(self.ask_file)
        self._drop_buttons = (folder, file)
        self._buttons = buttons = row()
        buttons.addStretch()
        buttons.addWidget(folder)
        buttons.addWidget(file)
        buttons.addStretch()
        inner.addWidget(IconLabel("drop", "accent", 40), 0, Qt.AlignmentFlag.AlignHCenter)
        inner.addWidget(title, 0, Qt.AlignmentFlag.AlignHCenter)
        inner.addWidget(text)
        inner.addSpacing(Space.SMALL)
        inner.addLayout(buttons)
        inner.addStretch()
        return result

    def _follow_room(self) -> None:
        beside_or_below(self._buttons, self._drop_buttons, self.width() - 2 * DROP_MARGIN)
        name = self._name.fontMetrics().horizontalAdvance(self._name.whole_text())
        left = (
            self.width() - 2 * Space.CARD - self._icon.width() - min(name, round(NAME_WIDTH * theme.scale()))
        )
        beside_or_below(self._head, (self.folder_button, self.file_button), left - self._head.spacing())

    def _build_steps(self) -> "Steps":
        result = Steps()
        for number in (1, 2, 3):
            badge, title, text = label("step"), label("heading", wrap=True), label("muted", wrap=True)
            badge.setText(str(number))
            badge.setAlignment(Qt.AlignmentFlag.AlignCenter)
            self._texts.set(title.setText, f"step-title-{number}")
            self._texts.set(text.setText, f"step-text-{number}")
            text.setAlignment(Qt.AlignmentFlag.AlignTop)
            head = row()
            head.addWidget(badge)
            head.addWidget(title, 1)
            words = QVBoxLayout()
            words.setSpacing(6)
            words.addLayout(head)
            words.addWidget(text, 1)
            result.line.addLayout(words, 1)
        return result

    def _build_chosen(self) -> QFrame:
        result = frame("card")
        inner = column(result)
        self._name, self._facts = ElidedLabel("heading"), ElidedLabel("muted")
        self._path = ElidedLabel("small")
        self.folder_button, self.file_button = Button("", "folder"), Button("")
        self._texts.set(self.folder_button.setText, "change-folder")
        self._texts.set(self.file_button.setText, "change-gguf")
        self.folder_button.clicked.connect(self.ask_folder)
        self.file_button.clicked.connect(self.ask_file)
        words = QVBoxLayout()
        words.setSpacing(2)
        for part in (self._name, self._facts, self._path):
            words.addWidget(part)
        self._icon = IconLabel("folder", "accent", 30)
        self._head, known, change = row(14), row(14), row(14)
        known.addWidget(self._icon, 0, Qt.AlignmentFlag.AlignTop)
        known.addLayout(words, 1)
        change.addWidget(self.folder_button, 0, Qt.AlignmentFlag.AlignTop)
        change.addWidget(self.file_button, 0, Qt.AlignmentFlag.AlignTop)
        change.addStretch()
        self._head.addLayout(known, 1)
        self._head.addLayout(change)
        self._state = label("muted")
        self.checks = CheckList()
        self.checks.tab_after = self.file_button
        self.notice = Notice()
        inner.addLayout(self._head)
        inner.addWidget(self._state)
        inner.addWidget(self.checks)
        inner.addWidget(self.notice)
        return result

    def show_checking(self, path: str) -> None:
        """`path` was chosen and is being looked at."""
        self.show_chosen(path)
        self._texts.set(self._state.setText, "checking")
        self._state.show()

    def show_chosen(self, path: str) -> None:
        """`path` was chosen; nothing is known of it yet."""
        self._report = None
        self._empty.hide()
        self._chosen.show()
        self._name.set_text(Path(path).name)
        self._follow_room()
        self._path.set_text(path)
        self._facts.hide()
        self.checks.show_items(())
        self.notice.clear()
        self._state.hide()

    def show_report(self, report: "PreflightReport") -> None:
        """What was found."""
        self._report = report
        self._name.set_text(report.name)
        self._follow_room()
        self._facts.set_text(facts_text(report))
        self._facts.setVisible(report.source_bytes > 0)
        self._state.hide()
        self.checks.show_items(report.items)

    def show_error(self, error: ErrorText) -> None:
        """It could not even be looked at."""
        self._state.hide()
        self.notice.show_error(error)

    def ask_folder(self) -> None:
        """Let the user pick a model folder."""
        path = choose_folder(self, tr("choose-folder-title"), start_folder(self._settings))
        if path:
            self.picked.emit(path)

    def ask_file(self) -> None:
        """Let the user pick a .gguf file."""
        kind = tr("gguf-filter")
        path = choose_file(self, tr("choose-gguf-title"), start_folder(self._settings), kind)
        if path:
            self.picked.emit(path)

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        self.checks.retranslate()
        if self._report is not None:
            self._facts.set_text(facts_text(self._report))


class Steps(FollowsRoom, QWidget):
    """What will happen, in steps beside each other, or below each other where letters are large."""

    def __init__(self) -> None:
        super().__init__()
        self.line = QHBoxLayout(self)
        self.line.setContentsMargins(0, 0, 0, 0)
        self.line.setSpacing(22)

    def minimumSizeHint(self) -> QSize:
        return QSize(below_width(self.line), super().minimumSizeHint().height())

    def _follow_room(self) -> None:
        steps = self.line.count()
        needed = steps * below_width(self.line) + (steps - 1) * self.line.spacing()
        across, down = QBoxLayout.Direction.LeftToRight, QBoxLayout.Direction.TopToBottom
        self.line.setDirection(across if needed <= self.width() else down)


def facts_text(report: "PreflightReport") -> str:
    """One line about a model: family, parameters, size, kind of file."""
    facts = [report.family] if report.family else []
    if report.parameters:
        facts.append(tr("parameters", count=format_count(report.parameters)))
    facts.append(format_size(report.source_bytes))
    return "  ·  ".join(facts)


def remember_folder(settings: Settings, path: str) -> None:
    """The next file dialog opens where the model `path` is."""
    folder = str(Path(path).parent)
    if storable(folder):
        settings["last_folder"] = folder


def start_folder(settings: Settings) -> str:
    """Where a file dialog opens: where the last model was, else the user's documents."""
    if settings["last_folder"]:
        return str(settings["last_folder"])
    return QStandardPaths.writableLocation(QStandardPaths.StandardLocation.DocumentsLocation)
