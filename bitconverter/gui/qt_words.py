"""Qt's own words (Yes, No, Cancel, the menus of text fields) in the language of the window."""

from PySide6.QtCore import QCoreApplication, QLibraryInfo, QTranslator

from bitconverter.gui import messages


def translate_qt() -> None:
    """Make Qt speak the language in use; English is what it speaks by itself."""
    app = QCoreApplication.instance()
    assert app is not None
    for old in app.findChildren(QTranslator):
        app.removeTranslator(old)
        old.deleteLater()
    if messages.language() == "en":
        return
    translator = QTranslator(app)
    folder = QLibraryInfo.path(QLibraryInfo.LibraryPath.TranslationsPath)
    if translator.load(f"qtbase_{messages.language()}", folder):
        app.installTranslator(translator)
