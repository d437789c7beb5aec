"""How the chat page looks: its parts and where they are. What they do is chat_page.py's."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent, QGuiApplication
from PySide6.QtWidgets import QHBoxLayout, QStackedWidget, QVBoxLayout, QWidget

from bitconverter import paths
from bitconverter.gui import theme
from bitconverter.gui.chat_history import WIDTH as HISTORY_WIDTH
from bitconverter.gui.chat_history import ChatHistory
from bitconverter.gui.chat_start import ChatStart
from bitconverter.gui.chat_view import WIDTH, ChatView
from bitconverter.gui.composer import Composer
from bitconverter.gui.device_text import badge
from bitconverter.gui.dropping import chat_takes, dropped_model, is_model, local_paths
from bitconverter.gui.flow import FollowsContents
from bitconverter.gui.messages import error_text, tr
from bitconverter.gui.model_bar import ModelBar
from bitconverter.gui.notice import Notice, NoticeArea
from bitconverter.gui.prompt_preview import PromptPreview
from bitconverter.gui.sampling_drawer import WIDTH as DRAWER_WIDTH
from bitconverter.gui.sampling_drawer import SamplingDrawer
from bitconverter.gui.store_queue import StoreQueue
from bitconverter.gui.tokens import Space
from bitconverter.gui.two_answers import TwoAnswers
from bitconverter.gui.widgets import Button, Toast, keep_in_line
from bitconverter.jobs.errors import UserError
from bitconverter.settings import Settings

if TYPE_CHECKING:
    from bitconverter.jobs.chat import ChatSession

# pixels of the page at a text size of 100 %; below, the chat would be a strip
ROOM_FOR_DRAWER = 780
ROOM_FOR_HISTORY = 720
ROOM_FOR_BOTH = 1000
LEAST_MIDDLE = 24  # of what is above the notice and the input
TEMPLATE_PROBLEMS = (
    "no-chat-template", "chat-template-broken", "template-unknown", "template-unreadable", "template-broken",
)  # fmt: skip


class ChatLayout(FollowsContents, QWidget):
    """The parts of the page. Emits `dropped` with the path of a model that was dropped on it, and
    `documents_dropped` with the paths of other files."""

    dropped = Signal(str)
    documents_dropped = Signal(list)

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.setObjectName("page")
        self.setAcceptDrops(True)
        self._settings = settings
        self._room: tuple[bool, ...] = ()
        self._asked = ""  # "history" or "drawer": what was opened by hand last
        self._problem: Exception | str | None = None
        self._can_drop = False
        self._undo: Callable[[], None] | None = None
        self.preview: PromptPreview | None = None
        self.two_answers: TwoAnswers | None = None
        self._build()

    def _build(self) -> None:
        self.store = StoreQueue(paths.chats_file(), self)
        self.history = ChatHistory(self.store)
        self.bar, self.start, self.view = ModelBar(self._settings), ChatStart(self._settings), ChatView()
        self.notice, self.composer, self.drawer = Notice(), Composer(), SamplingDrawer(self._settings)
        self.drop_button, self.new_chat_button = Button("primary"), Button("", "plus")
        self.summarise_button = Button()
        self.smaller_button = Button("primary")  # opens the model that was refused, with a context that fits
        self.processor_button = Button("primary")  # opens the model that the chosen card did not take
        self.template_button = Button(
            "primary", "chevron-down"
        )  # for the model whose template is missing or bad
        self._ways_out = (
            self.drop_button, self.summarise_button, self.new_chat_button,
            self.smaller_button, self.processor_button, self.template_button,
        )  # fmt: skip
        self._name_buttons()
        for place, button in enumerate(self._ways_out):
            self.notice.buttons.insertWidget(place, button)
            button.hide()
        self._middle = QStackedWidget()
        self._middle.setMinimumHeight(LEAST_MIDDLE)  # else the taller start squeezes the notice below it
        self._middle.addWidget(self.start)
        self._middle.addWidget(self.view)
        bottom = QWidget()
        bottom.setMaximumWidth(WIDTH)
        self._under = QVBoxLayout(bottom)
        self._under.setSpacing(10)
        self._notice_area = NoticeArea(self.notice)
        self._under.addWidget(self._notice_area)
        self._under.addWidget(self.composer)
        line = QHBoxLayout()
        line.addStretch(1)
        line.addWidget(bottom, 100)
        line.addStretch(1)
        keep_in_line(self.view, line)
        self._chat = QVBoxLayout()
        self._chat.setSpacing(0)
        self._chat.addWidget(self._middle, 1)
        self._chat.addLayout(line)
        body = QHBoxLayout()
        body.setSpacing(0)
        body.addWidget(self.history)
        body.addLayout(self._chat, 1)
        body.addWidget(self.drawer)
        page = QVBoxLayout(self)
        page.setContentsMargins(0, 0, 0, 0)
        page.setSpacing(0)
        page.addWidget(self.bar)
        page.addLayout(body, 1)
        self.toast, self.foot = Toast(self, bottom), bottom
        # no focus proxy: Qt would leave out of the Tab order what precedes it
        self.keyboard_home = self.composer.edit
        self._place_sides()
        self.bar.drawer_toggled.connect(lambda shown: self._toggle("drawer", shown))
        self.bar.history_toggled.connect(lambda shown: self._toggle("history", shown))
        self.view.copy.connect(self._copy)
        self.view.code_copied.connect(lambda: self.say(partial(tr, "copied")))
        self.toast.action.connect(self.undo)

    def show_model(self, session: "ChatSession | None", opening: str) -> None:
        """The open model and on what it runs; `opening` names the one that is being opened, if any."""
        if session is None or opening:
            name = tr("loading", name=opening) if opening else ""
            self.bar.show_model(name, "", "", "")
            self.composer.show_prompt(None)
            return
        kind = tr("kind-ternary" if session.ternary else "kind-original")
        self.bar.show_model(session.name, kind, *badge(session))

    # ---- what is said

    def say(self, text: Callable[[], str], undo: Callable[[], None] | None = None) -> None:
        """A line at the bottom, with a way back if there is one."""
        self._undo = undo
        self.toast.show_text(text, "undo" if undo is not None else "")

    @property
    def can_undo(self) -> bool:
        """Whether the line that is there offers to take back what it says."""
        return self._undo is not None and not self.toast.isHidden()

    def undo(self) -> None:
        """Take back what the last line was about."""
        back, self._undo = self._undo, None
        self.toast.dismiss()
        if back is not None:
            back()

    def complain(self, problem: Exception | str, can_drop: bool = False) -> None:
        """Show an error, or the message "end-context"; a full context comes with the ways out of it.
        `can_drop`: older messages can be left out."""
        self.hide_notice()
        self._problem = problem
        self._can_drop = can_drop
        fields = getattr(problem, "fields", {})
        if isinstance(problem, str):
            self.notice.show_warning(tr("context-full-title"), tr(problem))
        elif isinstance(problem, UserError) and problem.code == "context-full" and "needed" in fields:
            key = "context-full-text" if can_drop else "context-full-alone-text"
            needed = fields["needed"] if can_drop else fields.get("least", fields["needed"])
            text = tr(key, needed=needed, available=fields.get("available", "?"))
            self.notice.show_warning(tr("context-full-title"), text)
        else:
            self.notice.show_error(error_text(problem))
            if fields.get("fits"):
                self.smaller_button.setText(tr("open-smaller", context=f"{fields['fits']:,}"))
                self.smaller_button.show()
            code = str(getattr(problem, "code", ""))
            self.processor_button.setVisible(code.startswith("device-"))
            self.template_button.setVisible(code in TEMPLATE_PROBLEMS)
            if not code.startswith("summary-"):
                return
        self._offer_ways_out(problem, can_drop)

    def _offer_ways_out(self, problem: Exception | str, can_drop: bool) -> None:
        """Of a full context; where it is the message alone that is too long, none of them helps."""
        no_summary = isinstance(problem, UserError) and problem.code.startswith("summary-")
        helps = can_drop or isinstance(problem, str)
        self.drop_button.setVisible(can_drop)
        self.summarise_button.setVisible(helps and not no_summary)
        self.new_chat_button.setVisible(helps or no_summary)

    def _name_buttons(self) -> None:
        self.drop_button.setText(tr("context-drop-oldest"))
        self.summarise_button.setText(tr("context-summarise"))
        self.new_chat_button.setText(tr("new-chat"))
        self.processor_button.setText(tr("open-on-processor"))
        self.template_button.setText(tr("choose-template"))

    def hide_notice(self) -> None:
        """Nothing is wrong any more."""
        self._problem = None
        for button in self._ways_out:
            button.hide()
        self.notice.clear()

    def open_preview(self) -> None:
        """Show what would be sent."""
        if self.preview is None:
            self.preview = PromptPreview(self)
        self.preview.show_prompt(self.composer.prompt())
        self.preview.show()
        self.preview.activateWindow()

    def open_two_answers(self, soul: str, with_soul: str, without: str) -> None:
        """Show an answer with the soul of that name and one without it beside each other."""
        if self.two_answers is None:
            self.two_answers = TwoAnswers(self)
        self.two_answers.show_answers(soul, with_soul, without)
        self.two_answers.show()
        self.two_answers.activateWindow()

    def _copy(self, text: str) -> None:
        QGuiApplication.clipboard().setText(text)
        self.say(partial(tr, "copied"))

    # ---- history and drawer

    def _toggle(self, side: str, shown: bool) -> None:
        self._settings[f"{side}_open"] = shown
        self._asked = side if shown else ""
        self._place_sides()
        self.drawer.to_save.emit()

    def _place_sides(self) -> None:
        """Beside the chat where there is room. In a narrow window only what was asked for last."""
        asked = self._asked
        history, drawer = bool(self._settings["history_open"]), bool(self._settings["drawer_open"])
        for_history, for_drawer, for_both = self._rooms()
        if history and drawer and not for_both:
            history, drawer = asked == "history", asked != "history"
        history = history and (for_history or asked == "history")
        drawer = drawer and (for_drawer or asked == "drawer")
        margin = Space.MEDIUM if theme.letters_are_large() and not for_history else 28
        self._under.setContentsMargins(margin, Space.SMALL, margin, 18)
        self.history.setFixedWidth(self._side(HISTORY_WIDTH))
        self.drawer.fit_to(self._side(DRAWER_WIDTH))
        self.history.setVisible(history)
        self.drawer.setVisible(drawer)
        self.bar.show_buttons(history, drawer)

    def _rooms(self) -> tuple[bool, bool, bool]:
        """Whether there is room for the history, the drawer, both."""
        width = self.width() / theme.scale()
        return width >= ROOM_FOR_HISTORY, width >= ROOM_FOR_DRAWER, width >= ROOM_FOR_BOTH

    def _side(self, width: int) -> int:
        """Of something beside the chat: wider with larger letters, at most half of the page or what the chat leaves."""
        left = min(self.width() // 2, self.width() - self._chat.minimumSize().width())
        return min(round(width * max(theme.scale(), 1.0)), max(width, left))

    def _follow_room(self) -> None:
        rooms = self._rooms()
        if rooms != self._room:
            self._room, self._asked = rooms, ""
        self._place_sides()
        edges = self._under.contentsMargins()
        below = edges.top() + self._under.spacing() + self.composer.sizeHint().height() + edges.bottom()
        self._notice_area.give_room(self.height() - self.bar.sizeHint().height() - LEAST_MIDDLE - below)

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        for part in (self.bar, self.start, self.view, self.composer, self.drawer, self.history, self.toast):
            part.retranslate()
        self._name_buttons()
        if self.preview is not None:
            self.preview.retranslate()
        if self.two_answers is not None:
            self.two_answers.retranslate()
        if self._problem is not None:
            self.complain(self._problem, self._can_drop)

    # ---- dropping

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if chat_takes(event.mimeData()):
            self.start.set_hot(True)
            event.acceptProposedAction()

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        self.start.set_hot(False)

    def dropEvent(self, event: QDropEvent) -> None:
        self.start.set_hot(False)
        path = dropped_model(event.mimeData())
        if not path:
            return
        event.acceptProposedAction()
        if is_model(path):
            self.dropped.emit(path)
        else:
            self.documents_dropped.emit(local_paths(event.mimeData()))
