"""The layers of a model as a strip of cells: empty, at work, and done in the colour of their error."""

import math

from PySide6.QtCore import QEvent, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QHelpEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from bitconverter.gui import artwork, theme
from bitconverter.gui.messages import tr

HEIGHT, GAP = 26, 3
GOOD, BAD = 0.003, 0.1  # relative squared error of a layer's outputs: green, red; between them on a log scale


class LayerStrip(QWidget):
    """`errors` by layer; a layer without one that is done anyway is drawn in the accent colour."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.done, self.errors = 0, 0, dict[int, float]()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_layers(self, layers: int, done: int, errors: dict[int, float]) -> None:
        """`done`: how many layers are finished; the next one is at work."""
        self.layers = max(layers, done, max(errors, default=-1) + 1)
        self.done, self.errors = done, dict(errors)
        self.setAccessibleName(tr("layers-done", done=done, layers=self.layers))
        self.setVisible(self.layers > 0)
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(300, HEIGHT)

    def _cell(self, layer: int) -> QRectF:
        width = self.width() / max(self.layers, 1)
        gap = GAP if width > 3 * GAP else 1
        return QRectF(layer * width, 1, max(width - gap, 1.0), HEIGHT - 2)

    def paintEvent(self, event: QPaintEvent) -> None:
        colors = theme.current()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        for layer in range(self.layers):
            painter.setPen(Qt.PenStyle.NoPen)
            if layer in self.errors:
                painter.setBrush(error_color(self.errors[layer]))
            elif layer < self.done:
                painter.setBrush(artwork.qcolor(colors.accent))
            else:
                painter.setBrush(artwork.qcolor(colors.raised))
                at_work = layer == self.done
                painter.setPen(
                    QPen(artwork.qcolor(colors.accent if at_work else colors.border), 2 if at_work else 1)
                )
            painter.drawRoundedRect(self._cell(layer).adjusted(0.5, 0.5, -0.5, -0.5), 4, 4)
        painter.end()

    def event(self, event: QEvent) -> bool:
        """The tool tip of a cell: its layer and its error, so that colour is not the only sign."""
        if isinstance(event, QHelpEvent):
            layer = int(event.pos().x() / max(self.width(), 1) * self.layers)
            error = self.errors.get(layer)
            text = tr("layer-waiting", layer=layer) if error is None else tr(
                "layer-error", layer=layer, error=f"{error:.4f}"
            )  # fmt: skip
            QToolTip.showText(event.globalPos(), text, self)
            return True
        return super().event(event)


def error_color(error: float) -> QColor:
    """From the theme's green over its amber to its red."""
    colors = theme.current()
    at = (math.log(max(error, 1e-9)) - math.log(GOOD)) / (math.log(BAD) - math.log(GOOD))
    at = min(max(at, 0.0), 1.0)
    first, second = (colors.ok, colors.warning) if at < 0.5 else (colors.warning, colors.error)
    return _mixed(QColor(first), QColor(second), 2 * at if at < 0.5 else 2 * at - 1)


def _mixed(first: QColor, second: QColor, share: float) -> QColor:
    a, b = ((color.red(), color.green(), color.blue()) for color in (first, second))
    return QColor(*(round(x + (y - x) * share) for x, y in zip(a, b, strict=True)))
