"""Closing while a job runs: the question, and going on in the tray."""

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QGuiApplication, QShowEvent
from PySide6.QtWidgets import QCheckBox, QDialog, QMenu, QSystemTrayIcon, QVBoxLayout, QWidget

from bitconverter.gui import artwork
from bitconverter.gui.activity import Activity, Work
from bitconverter.gui.messages import tr
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import Button, label, row


def tray_there() -> bool:
    """Whether this desktop has a tray."""
    return QSystemTrayIcon.isSystemTrayAvailable()


class CloseDialog(QDialog):
    """`choice` is "tray", "quit" or "" (go on as before)."""

    def __init__(self, with_tray: bool, parent: QWidget) -> None:
        super().__init__(parent)
        self.choice = ""
        self.setWindowTitle(tr("close-title"))
        text = label(wrap=True)
        text.setText(tr("close-text"))
        self.remember = QCheckBox(tr("close-remember"))
        self.tray_button, self.quit_button = Button("primary"), Button()
        self.stay_button = Button("quiet")
        self.tray_button.setVisible(with_tray)
        foot = row(Space.SMALL)
        foot.addWidget(self.stay_button)
        foot.addStretch()
        for button, key, choice in (
            (self.quit_button, "close-quit", "quit"),
            (self.tray_button, "close-tray", "tray"),
            (self.stay_button, "close-stay", ""),
        ):
            button.setText(tr(key))
            button.clicked.connect(lambda _=False, choice=choice: self._choose(choice))
        foot.addWidget(self.quit_button)
        foot.addWidget(self.tray_button)
        # Enter, pressed for something else, must not stop hours of work
        (self.tray_button if with_tray else self.stay_button).setDefault(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(Space.WIDE, Space.WIDE, Space.WIDE, Space.LARGE)
        layout.setSpacing(Space.LARGE)
        layout.addWidget(text)
        layout.addWidget(self.remember)
        layout.addLayout(foot)
        self.setMinimumWidth(520)

    def showEvent(self, event: QShowEvent) -> None:
        """As high as its text is in the letters of now, which are known only here."""
        super().showEvent(event)
        layout = self.layout()
        assert layout is not None
        width = max(self.minimumWidth(), layout.sizeHint().width())
        self.resize(width, layout.totalHeightForWidth(width))

    def _choose(self, choice: str) -> None:
        self.choice = choice
        self.accept()


class Tray(QObject):
    """The icon in the tray: there only while the window is hidden with a job at work. Emits `opened` for the window to
    come back, `quit_chosen` for every job to stop and the program to end."""

    opened = Signal()
    quit_chosen = Signal()

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self._window = window
        self._stopping = False
        self.icon = QSystemTrayIcon(artwork.app_icon(), self)
        self._menu = QMenu(window)
        self._open = self._menu.addAction("")
        self._quit = self._menu.addAction("")
        self._open.triggered.connect(self.opened)
        self._quit.triggered.connect(self._stop)
        self.icon.setContextMenu(self._menu)
        self.icon.activated.connect(self._activated)
        self.icon.messageClicked.connect(self.opened)
        self.retranslate()

    def enter(self) -> None:
        """Hide the window; the icon stays."""
        QGuiApplication.setQuitOnLastWindowClosed(False)
        self.icon.show()
        self._window.hide()

    def leave(self) -> None:
        """The window is there again, or the program ends."""
        QGuiApplication.setQuitOnLastWindowClosed(True)
        self.icon.hide()

    def show_progress(self, entry: Activity) -> None:
        """The tool tip says what is done and how far it is."""
        self.icon.setToolTip("\n".join((tr("app-name"), entry.title(), entry.detail())))

    def show_state(self, entry: Activity) -> None:
        """A job has begun, paused or ended: the tool tip says so, and a message tells of an end, or that it waits for
        the user: a disk is full."""
        self.show_progress(entry)
        if (
            self.icon.isVisible()
            and not self._stopping
            and entry.state in (Work.DONE, Work.FAILED, Work.PAUSED)
        ):
            self.icon.showMessage(entry.title(), entry.detail())

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._open.setText(tr("tray-open"))
        self._quit.setText(tr("tray-quit"))

    def _activated(self, reason: QSystemTrayIcon.ActivationReason) -> None:
        if reason == QSystemTrayIcon.ActivationReason.Trigger:
            self.opened.emit()

    def _stop(self) -> None:
        self._stopping = True
        self.quit_chosen.emit()
