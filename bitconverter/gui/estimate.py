"""What was expected of a conversion, beside what happened."""

from dataclasses import dataclass

from PySide6.QtWidgets import QGridLayout, QVBoxLayout, QWidget

from bitconverter.gui.messages import format_duration, format_size
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import Texts, label
from bitconverter.jobs.plan import PlanChoice


@dataclass(frozen=True)
class Figures:
    """Seconds; bytes of memory beside the program; bytes of disk, at most; bytes of the weights; KL divergence, None
    where not measured."""

    seconds: float
    memory: int
    disk: int
    file_bytes: int
    kl: float | None


def expected(choice: PlanChoice, method: str, disk: int) -> Figures:
    """What the plan says of a size and a method, and the checks of the disk."""
    cost = choice.cost(method)
    return Figures(cost.seconds, cost.peak_bytes, disk, choice.file_bytes, cost.kl)


class EstimateView(QWidget):
    """A line per figure: expected, measured, the difference. Hidden where nothing was expected."""

    def __init__(self) -> None:
        super().__init__()
        self._texts = Texts()
        self.before: Figures | None = None
        self.after: Figures | None = None
        title = label("heading")
        self._texts.set(title.setText, "compare-title")
        grid = QGridLayout()
        grid.setHorizontalSpacing(Space.WIDE)
        grid.setVerticalSpacing(Space.TINY)
        for position, key in enumerate(("compare-expected", "compare-measured"), 1):
            head = label("small")
            self._texts.set(head.setText, key)
            grid.addWidget(head, 0, position)
        self.rows = []
        for position, key in enumerate(("time", "memory", "disk", "file", "kl"), 1):
            name, cells = label("muted"), [label(selectable=True) for _ in range(3)]
            self._texts.set(name.setText, f"compare-{key}")
            grid.addWidget(name, position, 0)
            for column, cell in enumerate(cells, 1):
                grid.addWidget(cell, position, column)
            self.rows.append((name, cells))
        grid.setColumnStretch(4, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Space.SMALL)
        layout.addWidget(title)
        layout.addLayout(grid)
        self.hide()

    def show_figures(self, before: Figures | None, after: Figures | None) -> None:
        """Show both, or nothing where one is not known."""
        self.before, self.after = before, after
        self.setVisible(before is not None and after is not None)
        if before is None or after is None:
            return
        pairs = (
            (before.seconds, after.seconds, format_duration),
            (before.memory, after.memory, lambda size: format_size(round(size))),
            (before.disk, after.disk, lambda size: format_size(round(size))),
            (before.file_bytes, after.file_bytes, lambda size: format_size(round(size))),
            (before.kl, after.kl, lambda kl: f"{kl:.3f}"),
        )
        for (name, cells), (first, second, say) in zip(self.rows, pairs, strict=True):
            known = first is not None and second is not None
            for part in (name, *cells):
                part.setVisible(known)
            if first is not None and second is not None:
                texts = (say(first), say(second), difference(first, second))
                for cell, text in zip(cells, texts, strict=True):
                    cell.setText(text)

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        self.show_figures(self.before, self.after)


def difference(before: float, after: float) -> str:
    """By how much of the estimate it came out otherwise."""
    if before <= 0:
        return ""
    return f"{after / before - 1:+.0%}".replace("-0%", "+0%").replace("%", " %")
