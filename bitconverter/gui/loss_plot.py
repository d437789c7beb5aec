"""The curves of a training: loss as it is, smoothed, on what is held back, and the best place so far."""

from typing import Any

import pyqtgraph
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QFont
from PySide6.QtWidgets import QVBoxLayout, QWidget

from bitconverter.gui import theme
from bitconverter.gui.artwork import qcolor
from bitconverter.gui.flow import WrappedRow
from bitconverter.gui.messages import tr
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import label

SMOOTHING = 0.85  # weight of the steps before in the smoothed line
HEIGHT = 240  # logical pixels, at a text size of 100 %


def smoothed(values: list[float]) -> list[float]:
    """Exponential moving average; the first values do not count as zeros before them (Adam's correction)."""
    out, mean = [], 0.0
    for n, value in enumerate(values, 1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * value
        out.append(mean / (1 - SMOOTHING**n))
    return out


class LossPlot(QWidget):
    """`losses` and `checks`: (step, nats per token)."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[tuple[int, float]] = []
        self.checks: list[tuple[int, float]] = []
        self.plot = pyqtgraph.PlotWidget()
        self.plot.setMenuEnabled(False)
        self.plot.hideButtons()
        self.plot.setMouseEnabled(x=False, y=False)
        self.plot.setFrameShape(self.plot.Shape.NoFrame)
        self.plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.raw, self.smooth, self.check = (self.plot.plot() for _ in range(3))
        self.best = self.plot.plot()
        self._words = {name: label("small") for name in ("raw", "smooth", "check", "best")}
        legend = WrappedRow(Space.LARGE)
        for word in self._words.values():
            word.setTextFormat(Qt.TextFormat.RichText)  # our own words and colours alone
            legend.add(word)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Space.TINY)
        layout.addWidget(legend)
        layout.addWidget(self.plot)
        self.retranslate()

    def clear(self) -> None:
        """No curve yet."""
        self.losses, self.checks = [], []
        self._draw()

    def add(self, name: str, step: int, value: float) -> None:
        """One more number: "loss" or "validation". A step that is told again (after a pause) takes its place."""
        points = self.losses if name == "loss" else self.checks
        while points and points[-1][0] >= step:
            points.pop()
        points.append((step, value))
        self._draw()

    def show_points(self, losses: list[tuple[int, float]], checks: list[tuple[int, float]]) -> None:
        """All of a training at once."""
        self.losses, self.checks = list(losses), list(checks)
        self._draw()

    def best_check(self) -> tuple[int, float] | None:
        """(step, value) of the lowest validation loss."""
        return min(self.checks, key=lambda point: (point[1], point[0])) if self.checks else None

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.FontChange):
            self.retranslate()

    def retranslate(self) -> None:
        """Say everything again in the language, and draw it in the colours, of now."""
        c = theme.current()
        marks = {
            "raw": (c.muted, "●"),
            "smooth": (c.accent, "━"),
            "check": (c.warning, "◆"),
            "best": (c.ok, "★"),
        }
        for name, (color, mark) in marks.items():
            self._words[name].setText(f'<span style="color:{color}">{mark}</span> {tr(f"curve-{name}")}')
        self.plot.setFixedHeight(round(HEIGHT * max(theme.scale(), 1.0)))  # its upright words grow as well
        font = QFont(self.font())
        font.setPointSizeF(max(6.0, font.pointSizeF() * 0.85))
        for name, key in (("bottom", "curve-step"), ("left", "curve-nats")):
            axis = self.plot.getAxis(name)
            axis.setPen(qcolor(c.strong_border))
            axis.setTextPen(qcolor(c.muted))
            axis.setTickFont(font)
            axis.setLabel(tr(key), **{"color": c.muted, "font-size": f"{font.pointSizeF():.4g}pt"})
            axis.enableAutoSIPrefix(False)
        self.plot.setBackground(qcolor(c.surface))
        self.plot.showGrid(x=False, y=True, alpha=0.18 if c.dark else 0.12)
        self.plot.setAccessibleName(tr("curves"))
        self._draw()

    def _draw(self) -> None:
        c = theme.current()
        steps, values = [s for s, _ in self.losses], [v for _, v in self.losses]
        checks = [s for s, _ in self.checks], [v for _, v in self.checks]
        dot: dict[str, Any] = {"symbol": "o", "symbolSize": 4, "symbolPen": None}
        self.raw.setData(steps, values, pen=None, symbolBrush=qcolor(c.muted, 0.45), **dot)
        self.smooth.setData(steps, smoothed(values), pen=_pen(c.accent, 2.2))
        self.check.setData(
            *checks,
            pen=_pen(c.warning, 1.8),
            symbol="d",
            symbolSize=8,
            symbolBrush=qcolor(c.warning),
            symbolPen=None,
        )
        best = self.best_check()
        place = ([best[0]], [best[1]]) if best else ([], [])
        self.best.setData(
            *place,
            pen=None,
            symbol="star",
            symbolSize=17,
            symbolBrush=qcolor(c.ok),
            symbolPen=_pen(c.surface, 1.2),
        )


def _pen(color: str, width: float) -> Any:
    return pyqtgraph.mkPen(qcolor(color), width=width)
