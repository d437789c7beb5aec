"""Errors that nobody caught: a dialog with a report to copy, instead of a silent end."""

import platform
import sys
import threading
import traceback
from types import TracebackType

import PySide6
from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDialog, QPlainTextEdit, QWidget

from bitconverter import __version__
from bitconverter.gui import theme
from bitconverter.gui.messages import tr
from bitconverter.gui.widgets import Button, dialog_column, label, row


class CrashDialog(QDialog):
    """Shows one report."""

    def __init__(self, report: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("crash-title"))
        self.setMinimumSize(620, 380)
        text = label(wrap=True)
        text.setText(tr("crash-text"))
        self.view = QPlainTextEdit(report)
        self.view.setReadOnly(True)
        theme.use_mono(self.view, 9)
        self.view.setAccessibleName(tr("crash-title"))
        copy, close = Button("", "copy"), Button("primary")
        copy.setText(tr("copy-report"))
        close.setText(tr("close"))
        copy.clicked.connect(lambda: QGuiApplication.clipboard().setText(report))
        close.clicked.connect(self.accept)
        foot = row()
        foot.addWidget(copy)
        foot.addStretch()
        foot.addWidget(close)
        layout = dialog_column(self)
        layout.addWidget(text)
        layout.addWidget(self.view, 1)
        layout.addLayout(foot)


def report_of(error: BaseException) -> str:
    """What is worth sending: versions and the way to the error; no contents."""
    return (
        f"BitConverter {__version__}, Python {platform.python_version()}, Qt {PySide6.__version__}, "
        f"{platform.platform()}\n\n" + "".join(traceback.format_exception(error))
    )


class CrashHooks(QObject):
    """Installed for the time the window lives. Errors of other threads are brought to the GUI thread."""

    _caught = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.dialog: CrashDialog | None = None
        self._caught.connect(self._show)
        self._before = (sys.excepthook, threading.excepthook)

    def install(self) -> None:
        """Take over both hooks."""
        sys.excepthook = self._hook
        threading.excepthook = self._thread_hook

    def remove(self) -> None:
        """Put the former hooks back."""
        sys.excepthook, threading.excepthook = self._before

    def _hook(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            self._before[0](kind, error, trace)
            return
        if sys.stderr is not None:  # a windowed program on Windows has none
            traceback.print_exception(kind, error, trace)
        self._caught.emit(error)

    def _thread_hook(self, arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is not None:
            self._hook(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)

    def _show(self, error: BaseException) -> None:
        if self.dialog is not None and self.dialog.isVisible():
            return  # one at a time: a fault in a timer must not open a hundred windows
        self.dialog = CrashDialog(report_of(error))
        self.dialog.open()
