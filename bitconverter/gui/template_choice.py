"""The chat template of a model: the choice of it, and which one each model was given last."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QMenu, QVBoxLayout, QWidget

from bitconverter.gui.choose import choose_file
from bitconverter.gui.messages import tr
from bitconverter.gui.model_memory import ModelMemory
from bitconverter.gui.source_card import start_folder
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import ElidedButton, Texts, label
from bitconverter.jobs.template_words import OWN_TEMPLATE, TEMPLATES
from bitconverter.settings import Settings

if TYPE_CHECKING:
    from bitconverter.jobs.chat import ChatSession

CHOSEN = ModelMemory("chat_templates", (str,))


def template_name(word: str) -> str:
    """What a choice is called: OWN_TEMPLATE, a name of TEMPLATES, or the path of a file."""
    if word == OWN_TEMPLATE:
        return tr("template-own")
    return tr(f"template-{word}") if word in TEMPLATES else os.path.basename(word)


def fill_menu(
    menu: QMenu, settings: Settings, now: str | None, own: bool, suggested: str, chosen: Callable[[str], None]
) -> None:
    """Every template there is. `now` is the one in use, None if none is; `own`: the model has one; `suggested`: the
    one whose marks it knows, "" if none."""
    words = [OWN_TEMPLATE, *TEMPLATES]
    if now is not None and now not in words:
        words.append(now)
    for word in words:
        name = template_name(word)
        action = menu.addAction(tr("template-fits", name=name) if word == suggested != "" else name)
        action.setCheckable(True)
        action.setChecked(word == now)
        action.setEnabled(own or word != OWN_TEMPLATE)
        action.triggered.connect(lambda _=False, word=word: chosen(word))
        if word == OWN_TEMPLATE:
            menu.addSeparator()
    menu.addSeparator()
    menu.addAction(tr("template-file")).triggered.connect(lambda: _ask_file(menu, settings, chosen))


def _ask_file(menu: QMenu, settings: Settings, chosen: Callable[[str], None]) -> None:
    window = menu.parentWidget()
    path = choose_file(window, tr("template-file-title"), start_folder(settings), tr("template-filter"))
    if path:
        chosen(path)


class TemplateChoice(QWidget):
    """A name and a button with the template of now, for the drawer. Emits `chosen` with a word of LoadChatJob."""

    chosen = Signal(str)

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self._texts = Texts()
        self._session: ChatSession | None = None
        name = label()
        self._texts.set(name.setText, "chat-template")
        self.button = ElidedButton("", "chevron-down")
        self.button.setLayoutDirection(Qt.LayoutDirection.RightToLeft)  # the arrow behind the name
        self._texts.set(self.button.setToolTip, "chat-template-tip")
        self.button.clicked.connect(self._open)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Space.TINY)
        layout.addWidget(name)
        layout.addWidget(self.button)
        self.show_session(None, False)

    def show_session(self, session: "ChatSession | None", ready: bool) -> None:
        """The template of the open model; another can be chosen while it is `ready`."""
        self._session = session
        self.button.setEnabled(session is not None and ready)
        self.button.set_text(tr("template-none") if session is None else template_name(session.template))
        self.button.setAccessibleName(f"{tr('chat-template')}: {self.button.accessibleName()}")

    def menu_now(self) -> QMenu:
        """Every template there is, for the open model."""
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        session = self._session
        if session is not None:
            fill_menu(menu, self._settings, session.template, session.has_own_template, "", self.chosen.emit)
        return menu

    def _open(self) -> None:
        self.menu_now().popup(self.button.mapToGlobal(self.button.rect().bottomLeft()))

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        self.show_session(self._session, self.button.isEnabled())


# ---- which one each model was given


def remember_template(settings: Settings, model: str, word: str) -> bool:
    """`model` is to be opened with `word`; OWN_TEMPLATE forgets the one it had. Returns whether that is new."""
    if remembered_template(settings, model) == word:
        return False
    CHOSEN.remember(settings, model, *((word,) if word != OWN_TEMPLATE else ()))
    return True


def remembered_template(settings: Settings, model: str) -> str:
    """What was chosen for `model`."""
    (word,) = CHOSEN.remembered(settings, model) or (OWN_TEMPLATE,)
    return str(word)
