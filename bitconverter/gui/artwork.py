"""Icons: small SVG files of the package, tinted with a colour of the current theme."""

from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from PySide6.QtCore import QByteArray, QDir, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QIcon, QPainter, QPixmap
from PySide6.QtSvg import QSvgRenderer

_FOLDER = files("bitconverter.gui") / "icons"


@lru_cache(maxsize=64)
def _source(name: str) -> str:
    return (_FOLDER / f"{name}.svg").read_text(encoding="utf-8")


@lru_cache(maxsize=512)
def pixmap(name: str, color: str, size: int, ratio: float = 2.0, gap: int = 0) -> QPixmap:
    """The icon `size` logical pixels wide, with `gap` empty ones at its right. `color` is "#rrggbb"; ""
    keeps the file's own colours."""
    text = _source(name).replace("currentColor", color) if color else _source(name)
    edge = round(size * ratio)
    picture = QPixmap(QSize(edge + round(gap * ratio), edge))
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    QSvgRenderer(QByteArray(text.encode("utf-8"))).render(painter, QRectF(0, 0, edge, edge))
    painter.end()
    picture.setDevicePixelRatio(ratio)
    return picture


def icon(name: str, color: str, disabled: str | None = None, size: int = 20, gap: int = 0) -> QIcon:
    """An icon for buttons and menus, with its own colour while disabled; `gap` keeps a text away."""
    result = QIcon()
    for ratio in (1.0, 2.0, 3.0):
        result.addPixmap(pixmap(name, color, size, ratio, gap))
        if disabled is not None:
            result.addPixmap(pixmap(name, disabled, size, ratio, gap), QIcon.Mode.Disabled)
    return result


def app_icon() -> QIcon:
    """The icon of the window and the task bar."""
    result = QIcon()
    for size in (16, 24, 32, 48, 64, 128, 256):
        result.addPixmap(pixmap("app", "", size, 1.0))
    return result


def register_search_path() -> None:
    """Lets style sheets say url(icons:name.svg), whatever letters the install folder has."""
    QDir.setSearchPaths("icons", [str(Path(str(_FOLDER)))])


def qcolor(text: str, alpha: float = 1.0) -> QColor:
    """A QColor from "#rrggbb" with an opacity of 0..1."""
    color = QColor(text)
    color.setAlphaF(alpha)
    return color
