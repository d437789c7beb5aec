"""How the shelf looks: its parts and where they are. What they do is shelf_page.py's."""

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QComboBox, QFrame, QLineEdit, QMenu, QTreeView, QWidget

from bitconverter.gui.flow import WrappedRow
from bitconverter.gui.leftovers import Leftovers
from bitconverter.gui.messages import tr
from bitconverter.gui.notice import Notice
from bitconverter.gui.page import Shell
from bitconverter.gui.sections import ScrolledPage
from bitconverter.gui.shelf_delegate import ShelfDelegate
from bitconverter.gui.shelf_model import ShelfModel
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import Button, ElidedLabel, column, frame, label, row

ACTIONS = (
    ("chat", "chat-with-it", "chat"), ("convert", "convert", "convert"), ("resume", "resume", "play"),
    ("show", "show", "go-on"),
    ("verify", "verify", "shield"), ("folder", "open-folder", "external"), ("delete", "delete-model", "trash"),
)  # fmt: skip


class ShelfLayout(ScrolledPage):
    """The parts of the page."""

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell, "shelf-title", "shelf-subtitle")
        self._build()

    def _build(self) -> None:
        self._build_head()
        self.notice, self.leftovers = Notice(), Leftovers()
        self.body.addWidget(self.notice)
        self.body.addWidget(self.leftovers)
        self.body.addWidget(self._build_empty(), 1)
        self.body.addWidget(self._build_tree(), 1)
        self.nothing = label("muted")
        self.texts.set(self.nothing.setText, "shelf-nothing")
        self.body.addWidget(self.nothing, 1, Qt.AlignmentFlag.AlignTop)
        self.foot = self._build_details()
        self.body.addWidget(self.foot)

    def _build_head(self) -> None:
        self.search, self.order = QLineEdit(), QComboBox()
        self.search.setClearButtonEnabled(True)
        self.search.setMinimumWidth(100)
        self.texts.set(self.search.setPlaceholderText, "shelf-search")
        self.texts.set(self.search.setAccessibleName, "shelf-search")
        for order in ("recent", "name", "size"):
            self.order.addItem("", order)
        self.order.setCurrentIndex(self.order.findData(self.settings["shelf_order"]))
        self.texts.set(self.order.setAccessibleName, "shelf-order")
        self.folders_button, self.add_button = Button("", "folder"), Button("primary", "folder-plus")
        self.texts.set(self.folders_button.setText, "shelf-folders")
        self.texts.set(self.add_button.setText, "add-folder")
        self.menu = QMenu(self)
        self.folders_button.clicked.connect(
            lambda: self.menu.popup(self.folders_button.mapToGlobal(self.folders_button.rect().bottomLeft()))
        )
        buttons = WrappedRow(Space.SMALL)
        buttons.add(self.folders_button)
        buttons.add(self.add_button)
        self.head.addWidget(buttons)
        line = row(Space.SMALL)
        line.addWidget(self.search, 1)
        line.addWidget(self.order)
        self.finder = QWidget()
        self.finder.setLayout(line)
        self.body.addWidget(self.finder)

    def _build_empty(self) -> QFrame:
        """What is there before the first model is."""
        self.empty = frame("drop")
        inner = column(self.empty, Space.PAGE, Space.MEDIUM)
        title, text = label("heading"), label("muted", wrap=True)
        self.texts.set(title.setText, "shelf-empty")
        self.texts.set(text.setText, "shelf-empty-text")
        text.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self.first_button = Button("primary", "folder-plus")
        self.texts.set(self.first_button.setText, "add-folder")
        inner.addStretch()
        inner.addWidget(title, 0, Qt.AlignmentFlag.AlignHCenter)
        inner.addWidget(text)
        inner.addWidget(self.first_button, 0, Qt.AlignmentFlag.AlignHCenter)
        inner.addStretch()
        return self.empty

    def _build_tree(self) -> QTreeView:
        self.model = ShelfModel(self)
        self.tree = QTreeView()
        self.tree.setModel(self.model)
        self.tree.setItemDelegate(ShelfDelegate(self.tree))
        self.tree.setHeaderHidden(True)
        self.tree.setMinimumHeight(220)
        self.tree.setIndentation(0)  # the delegate draws it
        self.tree.setRootIsDecorated(False)
        self.tree.setItemsExpandable(False)  # a family is always seen whole
        self.tree.setIconSize(QSize(24, 24))
        self.tree.setMouseTracking(True)
        self.tree.setUniformRowHeights(True)
        self.texts.set(self.tree.setAccessibleName, "shelf-title")
        return self.tree

    def _build_details(self) -> QFrame:
        """What is known of the marked model, and what can be done with it."""
        self.details = frame("card")
        inner = column(self.details, Space.LARGE, Space.SMALL)
        self.name, self.place = ElidedLabel("heading"), ElidedLabel("small")
        self.facts, self.verdict = label("muted", wrap=True), label("muted", wrap=True)
        self.buttons: dict[str, Button] = {}
        line = WrappedRow(Space.SMALL)
        for action, text, icon in ACTIONS:
            button = Button("primary" if action in ("chat", "resume") else "", icon)
            self.texts.set(button.setText, text)
            self.buttons[action] = button
            line.add(button)
        for part in (self.name, self.place, self.facts, self.verdict):
            inner.addWidget(part)
        inner.addWidget(line)
        return self.details

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        super().retranslate()
        self.leftovers.retranslate()
        for index in range(self.order.count()):
            self.order.setItemText(index, tr(f"order-{self.order.itemData(index)}"))
