"""The pages of the window. Another screen is one more line here, with its message "page-NAME" and "go-NAME"."""

from bitconverter.gui.about_page import AboutPage
from bitconverter.gui.activity_page import ActivityPage
from bitconverter.gui.chat_page import ChatPage
from bitconverter.gui.convert_page import ConvertPage
from bitconverter.gui.diagnostics_page import DiagnosticsPage
from bitconverter.gui.page import PageSpec, Shell
from bitconverter.gui.settings_page import SettingsPage
from bitconverter.gui.shelf_page import ShelfPage
from bitconverter.gui.shortcuts_page import ShortcutsPage
from bitconverter.gui.train_page import TrainPage
from bitconverter.gui.welcome_page import WelcomePage


def _chat(shell: Shell) -> ChatPage:
    page = ChatPage(shell.settings)
    page.convert_requested.connect(lambda: shell.page_wanted.emit("convert"))
    page.idle.connect(shell.idle)
    page.drawer.to_save.connect(shell.to_save)
    return page


def _convert(shell: Shell) -> ConvertPage:
    page = ConvertPage(shell)
    page.chat_requested.connect(shell.model_wanted)
    page.idle.connect(shell.idle)
    page.to_save.connect(shell.to_save)
    return page


def _train(shell: Shell) -> TrainPage:
    page = TrainPage(shell)
    page.idle.connect(shell.idle)
    page.to_save.connect(shell.to_save)
    return page


PAGES: tuple[PageSpec, ...] = (
    PageSpec("welcome", "star", WelcomePage, place="none"),
    PageSpec("shelf", "shelf", ShelfPage),
    PageSpec("chat", "chat", _chat),
    PageSpec("convert", "convert", _convert),
    PageSpec("train", "train", _train),
    PageSpec("activity", "activity", ActivityPage, place="bottom"),
    PageSpec("settings", "settings", SettingsPage, place="bottom"),
    PageSpec("shortcuts", "keyboard", ShortcutsPage, place="none"),
    PageSpec("diagnostics", "stethoscope", DiagnosticsPage, place="none"),
    PageSpec("about", "info", AboutPage, place="none"),
)
