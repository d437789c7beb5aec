"""Which colours and letters are in use: light, dark or high contrast, and the text size."""

import sys

from PySide6.QtCore import QEvent, QObject, QSettings, Qt
from PySide6.QtGui import QColor, QFont, QFontDatabase, QGuiApplication, QPalette
from PySide6.QtWidgets import QApplication, QWidget

from bitconverter.gui.style_sheet import style_sheet
from bitconverter.gui.tokens import CONTRAST, DARK, LARGE_TEXT, LIGHT, TEXT_SCALES, Colors, Type

__all__ = [
    "CONTRAST",
    "DARK",
    "LIGHT",
    "Colors",
    "apply",
    "current",
    "mono_font",
    "scale",
    "use_fonts",
    "use_mono",
]


_FONTS = ["Segoe UI", "Yu Gothic UI", "Meiryo", "Noto Sans CJK JP", "Noto Sans", "DejaVu Sans"]
_MONO_FONTS = ["Cascadia Mono", "Consolas", "Noto Sans Mono", "DejaVu Sans Mono", "Noto Sans Mono CJK JP"]


class _State:
    colors = LIGHT
    scale = 100


def current() -> Colors:
    """The colours in use."""
    return _State.colors


def system_is_dark() -> bool:
    """What the desktop asks for."""
    return QGuiApplication.styleHints().colorScheme() == Qt.ColorScheme.Dark


def system_has_high_contrast() -> bool:
    """Whether Windows is set to a contrast theme. Qt 6.9 does not say; the registry does."""
    if sys.platform != "win32":
        return False
    place = r"HKEY_CURRENT_USER\Control Panel\Accessibility\HighContrast"
    flags = QSettings(place, QSettings.Format.NativeFormat).value("Flags", "0")
    return str(flags).isdigit() and bool(int(str(flags)) & 1)


def colors_for(choice: str) -> Colors:
    """The colours of `choice`: "auto" (as the system), "light", "dark" or "contrast"."""
    if choice == "contrast" or (choice == "auto" and system_has_high_contrast()):
        return CONTRAST
    dark = system_is_dark() if choice == "auto" else choice == "dark"
    return DARK if dark else LIGHT


def apply(app: QApplication, choice: str) -> None:
    """Use the colours of `choice` for the whole application."""
    _State.colors = colors_for(choice)
    app.setPalette(_palette(_State.colors))
    sheet = style_sheet(_State.colors, _State.scale / 100)
    if app.styleSheet() != sheet:  # restyling every widget takes a moment
        app.setStyleSheet(sheet)


def scale() -> float:
    """The text size in use, 1.0 for the usual one."""
    return _State.scale / 100


def letters_are_large() -> bool:
    """Whether room is scarce: no button beside a heading, narrow margins."""
    return _State.scale > LARGE_TEXT


def icon_size(usual: int) -> int:
    """Pixels of an icon beside letters of now: it grows half as much as they do."""
    return round(usual * (1 + scale()) / 2)


def set_scale(percent: int) -> None:
    """Use another text size; use_fonts() and apply() make it seen."""
    _State.scale = min(max(percent, TEXT_SCALES[0]), TEXT_SCALES[-1])


def use_fonts(app: QApplication) -> None:
    """A font with Latin and Japanese letters at a readable size."""
    font = QFont(app.font())
    font.setFamilies(_installed(_FONTS) or [font.family()])
    font.setPointSizeF(Type.BODY * scale())
    font.setStyleHint(QFont.StyleHint.SansSerif)
    app.setFont(font)


def mono_font(points: float = Type.CODE) -> QFont:
    """The font of code and of the console."""
    font = QFont()
    families = _installed(_MONO_FONTS) or [
        QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont).family()
    ]
    font.setFamilies([*families, *_installed(_FONTS)])
    font.setStyleHint(QFont.StyleHint.Monospace)
    font.setPointSizeF(points * scale())
    return font


def use_mono(view: QWidget, points: float = Type.CODE) -> None:
    """Show `view` in the font of code, also when the text size changes."""
    _Mono(view, points)


class _Mono(QObject):
    def __init__(self, view: QWidget, points: float) -> None:
        super().__init__(view)
        self._view, self._points = view, points
        view.setFont(mono_font(points))
        view.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """A font of its own does not follow the application's; the style sheet changes with the size as well."""
        if event.type() == QEvent.Type.StyleChange:
            font = mono_font(self._points)
            if font.pointSizeF() != self._view.font().pointSizeF():
                self._view.setFont(font)
        return False


def _installed(families: list[str]) -> list[str]:
    known = set(QFontDatabase.families())
    return [family for family in families if family in known]


def _palette(colors: Colors) -> QPalette:
    palette = QPalette()
    role = QPalette.ColorRole
    for target, value in (
        (role.Window, colors.window), (role.WindowText, colors.text), (role.Base, colors.surface),
        (role.AlternateBase, colors.raised), (role.Text, colors.text), (role.Button, colors.surface),
        (role.ButtonText, colors.text), (role.BrightText, colors.error), (role.Highlight, colors.accent),
        (role.HighlightedText, colors.accent_text), (role.Link, colors.accent),
        (role.LinkVisited, colors.accent), (role.ToolTipBase, colors.raised),
        (role.ToolTipText, colors.text), (role.PlaceholderText, colors.muted), (role.Mid, colors.border),
        (role.Dark, colors.strong_border), (role.Light, colors.raised), (role.Accent, colors.accent),
    ):  # fmt: skip
        palette.setColor(target, QColor(value))
    for target in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, target, QColor(colors.strong_border))
    return palette
