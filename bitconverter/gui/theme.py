"""Light and dark: the colours, the palette and the fonts. One accent colour, all else calm."""

from dataclasses import dataclass

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QFont, QFontDatabase, QGuiApplication, QPalette
from PySide6.QtWidgets import QApplication

from bitconverter.gui.style_sheet import style_sheet


@dataclass(frozen=True)
class Colors:
    """Every colour of the window. Text on its background keeps a contrast of 4.5 or more."""

    dark: bool
    window: str
    surface: str
    raised: str
    rail: str
    border: str
    strong_border: str
    text: str
    muted: str
    accent: str
    accent_hover: str
    accent_text: str
    accent_soft: str
    user: str
    ok: str
    warning: str
    error: str
    error_soft: str
    warning_soft: str
    code: str


LIGHT = Colors(
    dark=False, window="#f6f6f3", surface="#ffffff", raised="#f0f0ec", rail="#eeeeea", border="#e2e2dd",
    strong_border="#c9cac4", text="#1e2326", muted="#5a636b", accent="#0f766e", accent_hover="#0c5f59",
    accent_text="#ffffff", accent_soft="#e0f0ee", user="#e3efed", ok="#1a7f37", warning="#8a5a00",
    error="#b3261e", error_soft="#fbeae8", warning_soft="#fbf2dd", code="#ecece6",
)  # fmt: skip
DARK = Colors(
    dark=True, window="#17191c", surface="#1e2124", raised="#272b2f", rail="#131517", border="#2e3338",
    strong_border="#454c54", text="#e6e8ea", muted="#a0a8b1", accent="#4dbdb0", accent_hover="#6bcfc3",
    accent_text="#06231f", accent_soft="#1d3835", user="#20403c", ok="#5cc46f", warning="#e0b03f",
    error="#f28b82", error_soft="#3a2322", warning_soft="#38301c", code="#101214",
)  # fmt: skip

_FONTS = ["Segoe UI", "Yu Gothic UI", "Meiryo", "Noto Sans CJK JP", "Noto Sans", "DejaVu Sans"]
_MONO_FONTS = ["Cascadia Mono", "Consolas", "Noto Sans Mono", "DejaVu Sans Mono", "Noto Sans Mono CJK JP"]


class _State:
    colors = LIGHT


def current() -> Colors:
    """The colours in use."""
    return _State.colors


def system_is_dark() -> bool:
    """What the desktop asks for."""
    return QGuiApplication.styleHints().colorScheme() == Qt.ColorScheme.Dark


def apply(app: QApplication, choice: str) -> None:
    """Use `choice` ("auto", "light" or "dark") for the whole application."""
    dark = system_is_dark() if choice == "auto" else choice == "dark"
    _State.colors = DARK if dark else LIGHT
    app.setPalette(_palette(_State.colors))
    sheet = style_sheet(_State.colors)
    if app.styleSheet() != sheet:  # restyling every widget takes a moment
        app.setStyleSheet(sheet)


def use_fonts(app: QApplication) -> None:
    """A font with Latin and Japanese letters at a readable size."""
    font = QFont(app.font())
    font.setFamilies(_installed(_FONTS) or [font.family()])
    font.setPointSizeF(10.5)
    font.setStyleHint(QFont.StyleHint.SansSerif)
    app.setFont(font)


def mono_font(points: float = 9.5) -> QFont:
    """The font of code and of the console."""
    font = QFont()
    families = _installed(_MONO_FONTS) or [
        QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont).family()
    ]
    font.setFamilies([*families, *_installed(_FONTS)])
    font.setStyleHint(QFont.StyleHint.Monospace)
    font.setPointSizeF(points)
    return font


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
