"""How the application looks and speaks before there is a window."""

from PySide6.QtWidgets import QApplication

from bitconverter.gui import artwork, messages, theme
from bitconverter.gui.qt_words import translate_qt
from bitconverter.settings import Settings


def prepare(app: QApplication, settings: Settings) -> None:
    """Language, fonts, theme and icon: everything that is the application's and not the window's."""
    messages.set_language(settings["language"])
    translate_qt()
    artwork.register_search_path()
    app.setStyle("Fusion")
    theme.set_scale(settings["text_scale"])
    theme.use_fonts(app)
    theme.apply(app, settings["theme"])
    app.setWindowIcon(artwork.app_icon())
