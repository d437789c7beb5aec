"""What the window shows while something is dragged over it: what would happen with it."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

from bitconverter.gui.dropping import Drop
from bitconverter.gui.messages import tr
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import IconLabel, label


def drop_text(drop: Drop) -> str:
    """One sentence: what happens with it, or why nothing does."""
    return tr(f"drop-{drop.action}") if drop.action else tr(f"drop-no-{drop.kind}")


class DropOverlay(QFrame):
    """Covers its parent; takes no part in the dragging itself."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("drop-overlay")
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._icon, self.text, self._name = IconLabel("drop", "accent", 44), label("heading"), label("muted")
        layout = QVBoxLayout(self)
        layout.setSpacing(Space.MEDIUM)
        layout.addStretch()
        for part in (self._icon, self.text, self._name):
            layout.addWidget(part, 0, Qt.AlignmentFlag.AlignHCenter)
        layout.addStretch()
        self.hide()

    def show_drop(self, drop: Drop, name: str) -> None:
        """Say what would happen with `drop`."""
        self._icon.show_icon("drop" if drop.action else "error", "accent" if drop.action else "error")
        self.text.setText(drop_text(drop))
        self._name.setText(name)
        parent = self.parentWidget()
        assert parent is not None
        self.setGeometry(parent.rect().adjusted(Space.LARGE, Space.LARGE, -Space.LARGE, -Space.LARGE))
        self.show()
        self.raise_()
