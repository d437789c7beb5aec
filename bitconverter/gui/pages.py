"""The pages of the window. Another screen is one more line here, with its message "page-NAME" and "go-NAME".

A page is imported when it is built: all of them together take longer than the rest of a start.
"""

from PySide6.QtWidgets import QWidget

from bitconverter.gui.page import PageSpec, Shell


def _welcome(shell: Shell) -> QWidget:
    from bitconverter.gui.welcome_page import WelcomePage

    return WelcomePage(shell)


def _shelf(shell: Shell) -> QWidget:
    from bitconverter.gui.shelf_page import ShelfPage

    return ShelfPage(shell)


def _chat(shell: Shell) -> QWidget:
    from bitconverter.gui.chat_page import ChatPage

    page = ChatPage(shell.settings)
    page.convert_requested.connect(lambda: shell.page_wanted.emit("convert"))
    page.idle.connect(shell.idle)
    page.drawer.to_save.connect(shell.to_save)
    return page


def _convert(shell: Shell) -> QWidget:
    from bitconverter.gui.convert_page import ConvertPage

    page = ConvertPage(shell)
    page.chat_requested.connect(shell.model_wanted)
    page.converted.connect(shell.model_made)
    page.idle.connect(shell.idle)
    page.to_save.connect(shell.to_save)
    return page


def _train(shell: Shell) -> QWidget:
    from bitconverter.gui.train_page import TrainPage

    page = TrainPage(shell)
    page.idle.connect(shell.idle)
    page.to_save.connect(shell.to_save)
    return page


def _activity(shell: Shell) -> QWidget:
    from bitconverter.gui.activity_page import ActivityPage

    return ActivityPage(shell)


def _settings(shell: Shell) -> QWidget:
    from bitconverter.gui.settings_page import SettingsPage

    return SettingsPage(shell)


def _shortcuts(shell: Shell) -> QWidget:
    from bitconverter.gui.shortcuts_page import ShortcutsPage

    return ShortcutsPage(shell)


def _diagnostics(shell: Shell) -> QWidget:
    from bitconverter.gui.diagnostics_page import DiagnosticsPage

    return DiagnosticsPage(shell)


def _about(shell: Shell) -> QWidget:
    from bitconverter.gui.about_page import AboutPage

    return AboutPage(shell)


PAGES: tuple[PageSpec, ...] = (
    PageSpec("welcome", "star", _welcome, place="none"),
    PageSpec("shelf", "shelf", _shelf),
    PageSpec("chat", "chat", _chat),
    PageSpec("convert", "convert", _convert),
    PageSpec("train", "train", _train),
    PageSpec("activity", "activity", _activity, place="bottom"),
    PageSpec("settings", "settings", _settings, place="bottom"),
    PageSpec("shortcuts", "keyboard", _shortcuts, place="none"),
    PageSpec("diagnostics", "stethoscope", _diagnostics, place="none"),
    PageSpec("about", "info", _about, place="none"),
)
