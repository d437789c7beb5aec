"""How the window opens and closes: where it stood, its first painting, the question while a job runs, the tray.
What is in it is main_window.py's."""

from functools import partial

from PySide6.QtCore import QByteArray, QEvent, QObject, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QCloseEvent, QShowEvent, QWindow
from PySide6.QtWidgets import QMainWindow

from bitconverter.gui.closing import CloseDialog, Tray, tray_there
from bitconverter.gui.messages import tr
from bitconverter.gui.page import Shell
from bitconverter.gui.page_stack import PageStack
from bitconverter.gui.pages import PAGES
from bitconverter.settings import Settings

LEAST_SIZE = (760, 480)  # a screen of 1366 x 768 at 150 % has 911 x 512, less the task bar
USUAL_SIZE = (1180, 780)
FRAME = (16, 48)  # around the window, about: a title bar, and borders to draw at


class WindowLife(QMainWindow):
    """It closes when no thread of its pages is alive. `appeared`: it is painted for the first time, which is what a
    start is to come to soon; all else waits for that."""

    appeared = Signal()

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self._appeared = self._closing = False
        self.close_dialog: CloseDialog | None = None
        self.setWindowTitle(tr("app-name"))
        self.setMinimumSize(*LEAST_SIZE)
        self.shell = Shell(settings, self)
        self.pages = PageStack(PAGES, self.shell)
        self.tray = Tray(self)
        self.tray.opened.connect(self.bring_to_front)
        self.tray.quit_chosen.connect(self.stop_and_close)
        self.shell.idle.connect(self._close_when_idle)

    # ---- opening

    def _restore(self) -> None:
        """Where it was when it was closed."""
        geometry = QByteArray.fromBase64(self._settings["window_geometry"].encode())
        if geometry.isEmpty() or not self.restoreGeometry(geometry):
            room = self.screen().availableSize() - QSize(*FRAME)
            self.resize(QSize(*USUAL_SIZE).boundedTo(room).expandedTo(self.minimumSize()))

    def bring_to_front(self) -> None:
        """Show the window, also out of the tray."""
        self.tray.leave()
        self.setWindowState(self.windowState() & ~Qt.WindowState.WindowMinimized)
        self.show()
        self.raise_()
        self.activateWindow()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.windowHandle().installEventFilter(self)
        problems, self._settings.problems = self._settings.problems, []
        if problems:
            self.shell.say(partial(tr, "settings-damaged", names=", ".join(problems)))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Sees when the system has put the window on the screen; Qt paints it at that event."""
        if event.type() == QEvent.Type.Expose and isinstance(watched, QWindow) and watched.isExposed():
            watched.removeEventFilter(self)
            if not self._appeared:
                self._appeared = True
                QTimer.singleShot(0, self, self.appeared.emit)
        return super().eventFilter(watched, event)

    # ---- closing

    @property
    def busy(self) -> bool:
        """Whether a thread of a page is alive."""
        return any(page.busy for page in self.pages)

    def closeEvent(self, event: QCloseEvent) -> None:
        if not self.busy:
            self._finish()
            event.accept()
            return
        event.ignore()
        if self._closing:
            return
        choice = self._settings["close_action"]
        if not self.shell.working or choice == "quit":
            self.stop_and_close()
        elif choice == "tray" and tray_there():
            self.tray.enter()
        else:
            self._ask_how_to_close()

    def _ask_how_to_close(self) -> None:
        if self.close_dialog is not None:
            return
        dialog = CloseDialog(tray_there(), self)
        self.close_dialog = dialog
        dialog.finished.connect(self._closing_answered)
        dialog.open()

    def _closing_answered(self) -> None:
        dialog, self.close_dialog = self.close_dialog, None
        assert dialog is not None
        dialog.deleteLater()
        if dialog.choice and dialog.remember.isChecked():
            self._settings["close_action"] = dialog.choice
            self.shell.to_save.emit()
        if dialog.choice == "tray":
            self.tray.enter()
        elif dialog.choice == "quit":
            self.stop_and_close()

    def stop_and_close(self) -> None:
        """Stop every job, which keeps what is finished, and close when the last has stopped."""
        self._closing = True
        if not self.busy:  # ended while the question was open
            self.close()
            return
        self.setWindowTitle(f"{tr('app-name')} - {tr('closing')}")
        self.shell.say(partial(tr, "closing"))
        for page in self.pages:
            page.shut_down()

    def _close_when_idle(self) -> None:
        if self._closing and not self.busy:
            self.tray.leave()
            self.close()

    def stop_and_wait(self) -> None:
        """Stop every job and block until all threads have ended; for the last moment of the program."""
        for page in self.pages:
            page.stop_and_wait()
        self.shell.history.close()

    def _finish(self) -> None:
        self.stop_and_wait()
        self.tray.leave()
        self._settings["window_geometry"] = bytes(self.saveGeometry().toBase64().data()).decode("ascii")
        self.shell.to_save.emit()
