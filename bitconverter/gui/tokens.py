"""The design system: colours, type and space. Everything that is drawn takes its measures from here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Colors:
    """Every colour of the window. Text on its background keeps a contrast of 4.5 or more. `track`: what bars and
    sliders are filled up on, and what is under the mouse or pressed."""

    dark: bool
    window: str
    surface: str
    raised: str
    rail: str
    border: str
    strong_border: str
    track: str
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
    ok_soft: str
    error_soft: str
    warning_soft: str
    code: str


LIGHT = Colors(
    dark=False, window="#f6f6f3", surface="#ffffff", raised="#f0f0ec", rail="#eeeeea", border="#e2e2dd",
    strong_border="#c9cac4", track="#e2e2dd", text="#1e2326", muted="#5a636b", accent="#0f766e",
    accent_hover="#0c5f59", accent_text="#ffffff", accent_soft="#e0f0ee", user="#e3efed", ok="#18772f",
    warning="#8a5a00", error="#b3261e", ok_soft="#e4f3e6", error_soft="#fbeae8", warning_soft="#fbf2dd", code="#ecece6",
)  # fmt: skip
DARK = Colors(
    dark=True, window="#17191c", surface="#1e2124", raised="#272b2f", rail="#131517", border="#2e3338",
    strong_border="#454c54", track="#2e3338", text="#e6e8ea", muted="#a0a8b1", accent="#4dbdb0",
    accent_hover="#6bcfc3", accent_text="#06231f", accent_soft="#1d3835", user="#20403c", ok="#5cc46f",
    warning="#e0b03f", error="#f28b82", ok_soft="#1c3322", error_soft="#3a2322", warning_soft="#38301c", code="#101214",
)  # fmt: skip
# Black, white and yellow; every border is as strong as the text.
CONTRAST = Colors(
    dark=True, window="#000000", surface="#000000", raised="#1a1a1a", rail="#000000", border="#ffffff",
    strong_border="#ffffff", track="#555555", text="#ffffff", muted="#f0f0f0", accent="#ffe14d",
    accent_hover="#fff0a0", accent_text="#000000", accent_soft="#332d00", user="#1a1a1a", ok="#6dff8a",
    warning="#ffe14d", error="#ff9c94", ok_soft="#002b0a", error_soft="#330500", warning_soft="#332d00", code="#000000",
)  # fmt: skip


class Type:
    """Sizes of letters in points, at a text size of 100 %."""

    TITLE = 19.0
    NUMBER = 15.0
    HEADING = 12.0
    BODY = 10.5
    SMALL = 9.0
    CODE = 9.5


class Space:
    """Distances in logical pixels. What is fitted to one icon or one line of letters is a number in its own layout."""

    TINY = 4
    SMALL = 8
    MEDIUM = 12
    LARGE = 16
    CARD = 20  # from the edge of a card to what is in it
    WIDE = 24
    PAGE = 32


class Radius:
    """Corners in logical pixels."""

    FIELD = 7
    BUTTON = 8
    CARD = 12
    DROP = 14


PAGE_WIDTH = 900  # logical pixels: lines stay readable on a wide screen
LARGE_TEXT = 130  # percent; above it room is scarce
TEXT_SCALES = (80, 90, 100, 110, 125, 150, 175, 200)  # percent
