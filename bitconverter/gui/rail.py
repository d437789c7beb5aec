"""The rail at the left: an icon and a word for every page."""

from PySide6.QtCore import QEvent, QSize, Qt, Signal
from PySide6.QtGui import QFont, QFontMetrics
from PySide6.QtWidgets import QButtonGroup, QFrame, QSizePolicy, QToolButton, QVBoxLayout

from bitconverter.gui import artwork, theme
from bitconverter.gui.flow import LETTERS_CHANGED
from bitconverter.gui.messages import tr
from bitconverter.gui.page import PageSpec
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import Texts

ICON, WIDTH = 22, 88
SIDES = 10  # pixels beside a word, padding and border of the style sheet among them


class RailButton(QToolButton):
    """An icon over a word, with a number in its corner while something goes on behind it."""

    def __init__(self, icon: str) -> None:
        super().__init__()
        self._icon = icon
        self.setProperty("kind", "rail")
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
        self.setIconSize(QSize(ICON, ICON))
        self.setCheckable(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.toggled.connect(self._tint)
        self._tint()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._tint()
        elif event.type() in LETTERS_CHANGED:
            self.updateGeometry()  # the letters of the style sheet come after those of the application

    def sizeHint(self) -> QSize:
        self.ensurePolished()  # the style sheet's letters, also before they are drawn for the first time
        chosen = QFont(self.font())
        chosen.setWeight(QFont.Weight.DemiBold)  # as in the style sheet: wider letters
        letters = QFontMetrics(chosen)
        return QSize(letters.horizontalAdvance(self.text()) + SIDES, letters.height() + ICON + 20)

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def _tint(self) -> None:
        colors = theme.current()
        self.setIcon(artwork.icon(self._icon, colors.accent if self.isChecked() else colors.muted, size=ICON))


class Rail(QFrame):
    """Emits `chosen` with the name of a page."""

    chosen = Signal(str)

    def __init__(self, pages: tuple[PageSpec, ...]) -> None:
        super().__init__()
        self.setObjectName("rail")
        self._texts = Texts()
        self._group = QButtonGroup(self)
        self._group.setExclusive(False)  # a page beside the rail (About) checks none
        self.buttons: dict[str, RailButton] = {}
        self.home = QToolButton()
        self.home.setIconSize(QSize(34, 34))
        self.home.setIcon(artwork.icon("app", "", size=34))
        self.home.setCursor(Qt.CursorShape.PointingHandCursor)
        self.home.clicked.connect(lambda: self.chosen.emit("welcome"))
        self._texts.set(self.home.setAccessibleName, "page-welcome")
        self._texts.set(self.home.setToolTip, "page-welcome")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(Space.SMALL, Space.MEDIUM, Space.SMALL, Space.MEDIUM)
        layout.setSpacing(Space.TINY)
        layout.addWidget(self.home, 0, Qt.AlignmentFlag.AlignHCenter)
        layout.addSpacing(Space.SMALL)
        for place in ("top", "bottom"):
            for page in pages:
                if page.place == place:
                    layout.addWidget(self._build(page))
            if place == "top":
                layout.addStretch()
        self._texts.set(self.setAccessibleName, "pages")

    def minimumSizeHint(self) -> QSize:
        # not setMinimumWidth, which would count in place of the words' width
        return super().minimumSizeHint().expandedTo(QSize(WIDTH, 0))

    def _build(self, page: PageSpec) -> RailButton:
        button = RailButton(page.icon)
        self._texts.set(button.setText, f"page-{page.name}")
        self._texts.set(button.setAccessibleName, f"page-{page.name}")
        button.clicked.connect(lambda: self.chosen.emit(page.name))
        self._group.addButton(button)
        self.buttons[page.name] = button
        number = len(self.buttons)
        button.setToolTip("Ctrl+," if page.name == "settings" else f"Ctrl+{number}")
        return button

    def show_chosen(self, name: str) -> None:
        """Mark the button of the page `name`, if it has one."""
        for other, button in self.buttons.items():
            button.setChecked(other == name)

    def show_running(self, count: int) -> None:
        """How many jobs run."""
        button = self.buttons["activity"]
        button.setText(tr("page-activity") + (f" {count}" if count else ""))
        button.setAccessibleName(button.text())

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
