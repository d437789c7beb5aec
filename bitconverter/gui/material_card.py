"""What is to be learned: a place to drop files, then what was found in them, row by row where something is wrong."""

from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from bitconverter.gui.choose import choose_files, choose_folder
from bitconverter.gui.flow import WrappedRow
from bitconverter.gui.lesson_preview import LessonPreview
from bitconverter.gui.messages import ErrorText, error_text, row_text, row_where, tr
from bitconverter.gui.notice import Notice
from bitconverter.gui.source_card import start_folder
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import (
    Button,
    ElidedLabel,
    IconButton,
    IconLabel,
    Texts,
    column,
    frame,
    label,
    row,
    set_property,
)
from bitconverter.jobs.prepare_result import Apart, PrepareResult, Rejected
from bitconverter.settings import Settings

MOST_SHOWN = 50  # rejected rows in the list; the file beside the pack has all


class MaterialCard(QWidget):
    """Emits `added` with paths, `removed` with one, `sample` and `mend_wanted`."""

    added = Signal(list)
    removed = Signal(str)
    sample = Signal()
    mend_wanted = Signal(bool)

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self._texts = Texts()
        self._paths: list[str] = []
        self._result: PrepareResult | None = None
        self._read = True
        self._open = False
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._empty, self._full = self._build_drop(), self._build_full()
        layout.addWidget(self._empty)
        layout.addWidget(self._full)
        self.show_paths([])

    def _build_drop(self) -> QFrame:
        result = frame("drop")
        result.setMinimumHeight(230)
        inner = column(result, 30, 10)
        title, text = label("heading", wrap=True), label("muted", wrap=True)
        for words in (title, text):
            words.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self._texts.set(title.setText, "material-title")
        self._texts.set(text.setText, "material-text")
        self.files_button, self.folder_button = Button("primary", "folder"), Button("")
        self.sample_button = Button("quiet")
        buttons = WrappedRow(Space.SMALL, centred=True)
        for button, key, action in (
            (self.files_button, "material-files", self.ask_files),
            (self.folder_button, "material-folder", self.ask_folder),
            (self.sample_button, "material-sample", self.sample.emit),
        ):
            self._texts.set(button.setText, key)
            button.clicked.connect(lambda _=False, action=action: action())
        for button in (self.files_button, self.folder_button):
            buttons.add(button)
        inner.addStretch()
        inner.addWidget(IconLabel("drop", "accent", 40), 0, Qt.AlignmentFlag.AlignHCenter)
        inner.addWidget(title)
        inner.addWidget(text)
        inner.addSpacing(Space.SMALL)
        inner.addWidget(buttons)
        inner.addWidget(self.sample_button, 0, Qt.AlignmentFlag.AlignHCenter)
        inner.addStretch()
        return result

    def _build_full(self) -> QFrame:
        result = frame("card")
        inner = column(result, spacing=Space.MEDIUM)
        title = label("heading", wrap=True)
        self._texts.set(title.setText, "material-heading")
        more, folder = Button("quiet", "plus"), Button("quiet", "folder")
        self._texts.set(more.setText, "material-more")
        self._texts.set(folder.setText, "material-folder")
        more.clicked.connect(self.ask_files)
        folder.clicked.connect(self.ask_folder)
        head = row(Space.SMALL)
        buttons = WrappedRow(Space.SMALL)
        buttons.add(more)
        buttons.add(folder)
        head.addWidget(title, 1)
        head.addWidget(buttons)
        self._lines = QVBoxLayout()
        self._lines.setSpacing(Space.TINY)
        self.rows: list[QWidget] = []
        self.summary, self.badge = label("strong", wrap=True), label("good")
        self.open_button, self.mend_button = Button("link"), Button("link")
        self.open_button.clicked.connect(self._toggle)
        self.mend_button.clicked.connect(lambda: self.mend_wanted.emit(True))
        sums = row(Space.SMALL)
        sums.addWidget(self.badge)
        sums.addWidget(self.summary, 1)
        self._ways = WrappedRow(Space.SMALL)
        self._ways.add(self.mend_button)
        self._ways.add(self.open_button)
        self.problems = QWidget()
        self._problem_lines = QVBoxLayout(self.problems)
        self._problem_lines.setContentsMargins(0, 0, 0, 0)
        self._problem_lines.setSpacing(Space.SMALL)
        self.notice, self.preview = Notice(), LessonPreview()
        inner.addLayout(head)
        inner.addLayout(self._lines)
        inner.addLayout(sums)
        inner.addWidget(self._ways)
        inner.addWidget(self.problems)
        inner.addWidget(self.notice)
        inner.addWidget(self.preview)
        return result

    # ---- what is shown

    def show_paths(self, paths: list[str], read: bool = True) -> None:
        """These were chosen; nothing is known of them yet. `read`: they are read now, else there is no model yet."""
        self._paths, self._result, self._read = list(paths), None, read
        self._empty.setVisible(not paths)
        self._full.setVisible(bool(paths))
        self.notice.clear()
        self.preview.show_rows(())
        self._show()

    def show_result(self, result: PrepareResult) -> None:
        """What was found."""
        self._result = result
        self.notice.clear()
        self.preview.show_rows(result.previews)
        self._show()

    def show_error(self, error: ErrorText) -> None:
        """They could not even be read."""
        self.notice.show_error(error)
        self._show()

    def _show(self) -> None:
        result = self._result
        self._show_files()
        self.badge.setVisible(result is not None)
        self.mend_button.setVisible(result is not None and result.mendable > 0)
        self.open_button.setVisible(result is not None and result.rejected > 0)
        self._ways.setVisible(result is not None and (result.mendable > 0 or result.rejected > 0))
        self.problems.setVisible(self._open and result is not None and result.rejected > 0)
        if result is None:
            waiting = tr("material-reading" if self._read else "train-needs-model")
            self.summary.setText("" if self.notice.text() else waiting)
            return
        if not result.rows:
            self.summary.setText(tr("material-empty"))
        elif result.rejected:
            self.summary.setText(
                tr("material-some", count=result.rows, used=result.used, rejected=result.rejected)
            )
        else:
            self.summary.setText(tr("material-all", count=result.used))
        if result.mended:
            self.summary.setText(self.summary.text() + " " + tr("material-mended", count=result.mended))
        good = "bad" if not result.used else "careful" if result.rejected else "good"
        few = result.used > 0 and result.entries < 2  # one to learn from, and one to check with
        set_property(self.badge, "role", "careful" if few else good)
        self.badge.setText(tr(f"material-is-{'few' if few else good}"))
        self.mend_button.setText(tr("material-mend", count=result.mendable))
        self.open_button.setText(tr("material-hide" if self._open else "material-look"))
        self._show_problems(result)

    def _show_files(self) -> None:
        for line in self.rows:
            line.hide()
            line.deleteLater()
        apart = {each.path: each for each in self._result.apart} if self._result else {}
        self.rows = [self._file_line(path, apart.get(str(Path(path)))) for path in self._paths]
        for line in self.rows:
            self._lines.addWidget(line)

    def _file_line(self, path: str, apart: Apart | None) -> QWidget:
        """`apart`: it is not used, and why."""
        result = QWidget()
        inner, line = column(result, 0, 0), row(Space.SMALL)
        inner.addLayout(line)
        name = ElidedLabel()
        name.set_text(Path(path).name)
        name.setToolTip(path)
        icon = ("warning", "warning") if apart else ("folder" if Path(path).is_dir() else "clip", "muted")
        line.addWidget(IconLabel(*icon, 16))
        line.addWidget(name, 1)
        line.addWidget(self._file_fact(path, apart))
        out = IconButton("close")
        out.set_text(tr("material-remove", name=Path(path).name))
        out.clicked.connect(lambda: self.removed.emit(path))
        line.addWidget(out)
        if apart is not None:
            why = label("small", wrap=True, selectable=True)
            why.setText(error_text(apart.error).text)
            inner.addWidget(why)
        return result

    def _file_fact(self, path: str, apart: Apart | None) -> QLabel:
        """Of a file: its rows and its encoding, where that is not the usual one."""
        result = label("small")
        if apart is not None:
            result.setText(tr("material-apart"))
            return result
        found = [f for f in self._result.files if f.name == Path(path).name] if self._result else []
        if len(found) == 1:
            text = tr("material-file", used=found[0].used, count=found[0].rows)
            usual = found[0].encoding in ("", "utf_8", "utf_8_sig")
            result.setText(text if usual else f"{text}  ·  {found[0].encoding.replace('_', '-')}")
        return result

    def _show_problems(self, result: PrepareResult) -> None:
        while (taken := self._problem_lines.takeAt(0)) is not None:
            widget = taken.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        for problem in result.problems[:MOST_SHOWN]:
            self._problem_lines.addWidget(_problem_line(problem))
        if result.rejected > MOST_SHOWN:
            more = label("small")
            more.setText(tr("material-more-problems", count=result.rejected - MOST_SHOWN))
            self._problem_lines.addWidget(more)

    def _toggle(self) -> None:
        self._open = not self._open
        self._show()

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        self.preview.retranslate()
        self._show()

    # ---- choosing

    def ask_files(self) -> None:
        """Let the user pick files."""
        paths = choose_files(
            self, tr("material-files-title"), start_folder(self._settings), tr("material-filter")
        )
        if paths:
            self.added.emit(paths)

    def ask_folder(self) -> None:
        """Let the user pick a folder."""
        path = choose_folder(self, tr("material-folder-title"), start_folder(self._settings))
        if path:
            self.added.emit([path])


def _problem_line(problem: Rejected) -> QWidget:
    result = QWidget()
    line = QHBoxLayout(result)
    line.setContentsMargins(0, 0, 0, 0)
    line.setSpacing(Space.SMALL)
    reason, fix = row_text(problem.code, problem.fields, problem.reason, problem.fix)
    text, help_text = label(wrap=True, selectable=True), label("small", wrap=True)
    text.setText(
        tr("material-problem", where=row_where(problem.file, problem.line, problem.place), reason=reason)
    )
    help_text.setText(tr("material-fix", fix=fix))
    words = QVBoxLayout()
    words.setSpacing(0)
    words.addWidget(text)
    words.addWidget(help_text)
    line.addWidget(IconLabel("warning", "warning", 16, 2), 0, Qt.AlignmentFlag.AlignTop)
    line.addLayout(words, 1)
    return result
