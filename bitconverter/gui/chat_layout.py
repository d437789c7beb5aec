"""How the chat page looks: its parts and where they are. What they do is chat_page.py's."""

from PySide6.QtCore import Signal
from PySide6.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent, QGuiApplication, QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QStackedWidget, QVBoxLayout, QWidget

from bitconverter.gui.chat_start import ChatStart
from bitconverter.gui.chat_view import WIDTH, ChatView
from bitconverter.gui.composer import Composer
from bitconverter.gui.dropping import dropped_model
from bitconverter.gui.messages import error_text, tr
from bitconverter.gui.model_bar import ModelBar
from bitconverter.gui.notice import Notice
from bitconverter.gui.sampling_drawer import SamplingDrawer
from bitconverter.gui.widgets import Button, Toast, keep_in_line
from bitconverter.jobs.chat import ChatSession
from bitconverter.jobs.errors import UserError
from bitconverter.settings import Settings

ROOM_FOR_DRAWER = 780  # pixels of the page; below, the chat would be a strip
ISA_NAMES = {"avx2": "AVX2", "avx512": "AVX-512", "avx512-vnni": "AVX-512 VNNI"}


class ChatLayout(QWidget):
    """The parts of the page. Emits `dropped` with the path of what was dropped on it."""

    dropped = Signal(str)

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.setObjectName("page")
        self.setAcceptDrops(True)
        self._settings = settings
        self._narrow = False
        self._problem: Exception | str | None = None
        self._build()

    def _build(self) -> None:
        self.bar, self.start, self.view = ModelBar(self._settings), ChatStart(self._settings), ChatView()
        self.notice, self.composer, self.drawer = Notice(), Composer(), SamplingDrawer(self._settings)
        self.new_chat_button = Button("primary", "plus")
        self.notice.buttons.insertWidget(0, self.new_chat_button)
        self.new_chat_button.hide()
        self._middle = QStackedWidget()
        self._middle.setMinimumHeight(120)  # else the taller start squeezes the notice below it
        self._middle.addWidget(self.start)
        self._middle.addWidget(self.view)
        bottom = QWidget()
        bottom.setMaximumWidth(WIDTH)
        under = QVBoxLayout(bottom)
        under.setContentsMargins(28, 8, 28, 18)
        under.setSpacing(10)
        under.addWidget(self.notice)
        under.addWidget(self.composer)
        line = QHBoxLayout()
        line.addStretch(1)
        line.addWidget(bottom, 100)
        line.addStretch(1)
        keep_in_line(self.view, line)
        left = QVBoxLayout()
        left.setSpacing(0)
        left.addWidget(self._middle, 1)
        left.addLayout(line)
        body = QHBoxLayout()
        body.setSpacing(0)
        body.addLayout(left, 1)
        body.addWidget(self.drawer)
        page = QVBoxLayout(self)
        page.setContentsMargins(0, 0, 0, 0)
        page.setSpacing(0)
        page.addWidget(self.bar)
        page.addLayout(body, 1)
        self.toast = Toast(self)
        self.drawer.setVisible(self._settings["drawer_open"])
        self.bar.drawer_toggled.connect(self._toggle_drawer)
        self.view.copy.connect(self._copy)
        self.view.code_copied.connect(self._say_copied)

    def show_model(self, session: ChatSession | None, opening: str) -> None:
        """The open model and on what it runs; `opening` names the one that is being opened, if any."""
        if session is None:
            name = tr("loading", name=opening) if opening else ""
            self.bar.show_model(name, "", "", "")
            self.composer.show_context(None)
            return
        isa, threads = ISA_NAMES.get(session.isa, session.isa), session.threads
        tip = tr("device-tip", isa=isa, threads=threads, context=f"{session.n_ctx:,}", family=session.family)
        kind = tr("kind-ternary" if session.ternary else "kind-original")
        self.bar.show_model(session.name, kind, tr("device", isa=isa, threads=threads), tip)

    def complain(self, problem: Exception | str) -> None:
        """Show an error, or the message "end-context"; a full context comes with the way out of it."""
        self.hide_notice()
        self._problem = problem
        fields = getattr(problem, "fields", {})
        if isinstance(problem, str):
            self.notice.show_warning(tr("context-full-title"), tr(problem))
        elif isinstance(problem, UserError) and problem.code == "context-full" and "needed" in fields:
            text = tr("context-full-text", needed=fields["needed"], available=fields.get("available", "?"))
            self.notice.show_warning(tr("context-full-title"), text)
        else:
            self.notice.show_error(error_text(problem))
            return
        self.new_chat_button.setText(tr("new-chat"))
        self.new_chat_button.show()

    def hide_notice(self) -> None:
        """Nothing is wrong any more."""
        self._problem = None
        self.new_chat_button.hide()
        self.notice.clear()

    def _copy(self, text: str) -> None:
        QGuiApplication.clipboard().setText(text)
        self._say_copied()

    def _say_copied(self) -> None:
        self.toast.show_text(tr("copied"))

    def _toggle_drawer(self, shown: bool) -> None:
        self._settings["drawer_open"] = shown
        self._place_drawer(asked=shown)

    def _place_drawer(self, asked: bool = False) -> None:
        """Beside the chat where there is room. In a narrow window it is there only when `asked` for."""
        wanted = bool(self._settings["drawer_open"])
        shown = wanted and (asked or self.width() >= ROOM_FOR_DRAWER)
        self.drawer.setVisible(shown)
        self.bar.show_drawer_button(shown)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        narrow = self.width() < ROOM_FOR_DRAWER
        if narrow is not self._narrow:
            self._narrow = narrow
            self._place_drawer()

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        for part in (self.bar, self.start, self.view, self.composer, self.drawer):
            part.retranslate()
        if self._problem is not None:
            self.complain(self._problem)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if dropped_model(event.mimeData()):
            self.start.set_hot(True)
            event.acceptProposedAction()

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        self.start.set_hot(False)

    def dropEvent(self, event: QDropEvent) -> None:
        self.start.set_hot(False)
        path = dropped_model(event.mimeData())
        if path:
            event.acceptProposedAction()
            self.dropped.emit(path)
