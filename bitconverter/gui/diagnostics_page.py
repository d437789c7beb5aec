"""Diagnostics: the self-test, the logs, and a support file that shows what is in it before it is written."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QStandardPaths, Qt, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QComboBox, QPlainTextEdit, QProgressBar, QVBoxLayout, QWidget

from bitconverter import paths
from bitconverter.gui import theme
from bitconverter.gui.activity import Activity
from bitconverter.gui.choose import choose_target
from bitconverter.gui.flow import WrappedRow
from bitconverter.gui.job_worker import JobRunner
from bitconverter.gui.messages import error_text, format_duration, format_size, tr, why_text
from bitconverter.gui.notice import Notice
from bitconverter.gui.page import Shell
from bitconverter.gui.sections import ScrolledPage, card
from bitconverter.gui.support import contents, write_zip
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import Button, IconLabel, label, row
from bitconverter.jobs.job import Event, Failed, Finished, Progress

if TYPE_CHECKING:
    from bitconverter.jobs.self_test_job import Check, SelfTestResult


class DiagnosticsPage(ScrolledPage):
    """Nothing is sent anywhere: the support file is saved where the user says."""

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell, "page-diagnostics", "diagnostics-text")
        self.result: SelfTestResult | None = None
        self._activity: Activity | None = None
        self._runner = JobRunner(self)
        self._runner.happened.connect(self._on_event)
        self._runner.idle.connect(shell.idle)
        self.notice = Notice()
        self.body.addWidget(self.notice)
        self.body.addWidget(self._build_test())
        self.body.addWidget(self._build_support())
        self.body.addStretch()

    def _build_test(self) -> QWidget:
        box, inner = card("selftest", self.texts)
        words = label("muted", wrap=True)
        self.texts.set(words.setText, "selftest-text")
        self.start_button = Button("primary", "play")
        self.texts.set(self.start_button.setText, "selftest-start")
        self.start_button.clicked.connect(self.start)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.texts.set(self.bar.setAccessibleName, "progress")
        self.bar.hide()
        self.lines = QVBoxLayout()
        self.lines.setSpacing(Space.TINY)
        line = row(Space.MEDIUM)
        line.addWidget(self.start_button)
        line.addWidget(self.bar, 1)
        line.addStretch()
        inner.addWidget(words)
        inner.addLayout(line)
        inner.addLayout(self.lines)
        return box

    def _build_support(self) -> QWidget:
        box, inner = card("support", self.texts)
        words = label("muted", wrap=True)
        self.texts.set(words.setText, "support-text")
        self.preview_button, self.save_button = Button("", "search"), Button("primary", "zip")
        self.logs_button = Button("quiet", "folder")
        self.texts.set(self.preview_button.setText, "support-preview")
        self.texts.set(self.save_button.setText, "support-save")
        self.texts.set(self.logs_button.setText, "open-logs")
        self.preview_button.clicked.connect(self.preview)
        self.save_button.clicked.connect(self._ask_save)
        self.logs_button.clicked.connect(self._open_logs)
        self.save_button.setEnabled(False)  # first seen, then saved
        line = WrappedRow(Space.SMALL)
        for button in (self.preview_button, self.save_button):
            line.add(button)
        second = row()
        second.addWidget(self.logs_button)
        second.addStretch()
        self.files: dict[str, str] = {}
        self.names, self.view = QComboBox(), QPlainTextEdit()
        self.view.setReadOnly(True)
        self.view.setTabChangesFocus(True)
        theme.use_mono(self.view)
        self.view.setMinimumHeight(220)
        for part in (self.names, self.view):
            self.texts.set(part.setAccessibleName, "support")
            part.hide()
        self.names.currentTextChanged.connect(lambda name: self.view.setPlainText(self.files.get(name, "")))
        inner.addWidget(words)
        inner.addWidget(line)
        inner.addLayout(second)
        inner.addWidget(self.names)
        inner.addWidget(self.view)
        return box

    # ---- the self-test

    def start(self) -> None:
        """Run the self-test where models go."""
        if self._runner.busy:
            return
        self.notice.clear()
        folder = self.settings["output_folder"] or str(paths.config_folder())
        self._activity = self.shell.activities.begin("selftest", "", "diagnostics")
        self.start_button.setEnabled(False)
        self.bar.show()
        from bitconverter.jobs.self_test_job import SelfTestJob

        self._runner.start(SelfTestJob(folder=folder))

    def _on_event(self, event: Event) -> None:
        assert self._activity is not None
        self.shell.activities.happened(self._activity, event)
        if isinstance(event, Progress):
            self.bar.setRange(0, event.total)
            self.bar.setValue(event.done)
            return
        if isinstance(event, Finished):
            self.result = event.result
            self._show_result()
        elif isinstance(event, Failed):
            self.notice.show_error(error_text(event.error))
        self.bar.hide()
        self.start_button.setEnabled(True)

    def _show_result(self) -> None:
        while (taken := self.lines.takeAt(0)) is not None:
            widget = taken.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        for check in self.result.checks if self.result is not None else ():
            self.lines.addWidget(_line(check))

    def report(self) -> str:
        """The self-test as text."""
        if self.result is None:
            return ""
        lines = [f"{check.code}: {check.problem or 'ok'} {check.fields}" for check in self.result.checks]
        return "\n".join([*lines, format_duration(self.result.seconds)])

    # ---- the support file

    def preview(self) -> None:
        """Show every file that would be in the zip."""
        self.files = contents(self.settings, self.report())
        self.names.clear()
        self.names.addItems(list(self.files))
        self.names.show()
        self.view.show()
        self.save_button.setEnabled(True)

    def _ask_save(self) -> None:
        folder = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.DocumentsLocation)
        path = choose_target(
            self, tr("support-save"), str(Path(folder) / "bitconverter-support.zip"), "ZIP (*.zip)"
        )
        if path:
            self.save(path)

    def save(self, path: str) -> None:
        """Write what the preview shows, and nothing else."""
        try:
            write_zip(path, self.files)
        except OSError as error:
            self.notice.show_error(error_text(error))
            return
        self.shell.say(partial(tr, "support-saved", path=path))

    def _open_logs(self) -> None:
        paths.log_folder().mkdir(parents=True, exist_ok=True)
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(paths.log_folder())))

    # ---- the window

    @property
    def busy(self) -> bool:
        """Whether the self-test runs."""
        return self._runner.busy

    def escape(self) -> None:
        """Esc stops the self-test."""
        self._runner.cancel()

    def shut_down(self) -> None:
        """Stop the self-test."""
        self._runner.cancel()

    def stop_and_wait(self) -> None:
        """Stop it and wait for its thread."""
        self._runner.stop_and_wait()

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        super().retranslate()
        self._show_result()


def _line(check: "Check") -> QWidget:
    result = QWidget()
    line = row(Space.SMALL)
    result.setLayout(line)
    fields = {key: _in_words(key, value) for key, value in check.fields.items()}
    words = label("error" if check.problem else "", wrap=True, selectable=True)
    how = "none" if fields.get("why") else "ok"  # a part that is well without what it looked for
    text = why_text(check.problem) if check.problem else tr(f"selftest-{check.code}-{how}", **fields)
    words.setText(f"{tr(f'selftest-{check.code}')}: {text}")
    icon = IconLabel("error" if check.problem else "check", "error" if check.problem else "ok", 16, 3)
    line.addWidget(icon, 0, Qt.AlignmentFlag.AlignTop)
    line.addWidget(words, 1)
    return result


def _in_words(key: str, value: Any) -> Any:
    if key in ("free", "total"):
        return format_size(value)
    if key == "why":
        return why_text(value)
    return ", ".join(value) if key == "cards" else value
