"""The pages of the window, each built when it is first asked for: a start waits only for the one that is seen."""

from collections.abc import Iterator, Sequence
from typing import cast

from PySide6.QtWidgets import QStackedWidget, QWidget

from bitconverter.gui.page import PageLike, PageSpec, Shell


class PageStack(QStackedWidget):
    """`stack["chat"]` is that page, built now if it was not yet; iterating gives those that are built."""

    def __init__(self, specs: Sequence[PageSpec], shell: Shell) -> None:
        super().__init__()
        self._shell = shell
        self._specs = {spec.name: spec for spec in specs}
        self._built: dict[str, QWidget] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._specs

    def __getitem__(self, name: str) -> QWidget:
        if name not in self._built:
            self.build(name)
        return self._built[name]

    def __iter__(self) -> Iterator[PageLike]:
        return (cast(PageLike, page) for page in self._built.values())

    def build(self, name: str) -> None:
        """Build one of those that are missing."""
        page = self._built[name] = self._specs[name].build(self._shell)
        self.addWidget(page)

    @property
    def missing(self) -> list[str]:
        """The names of those that nobody has asked for yet."""
        return [name for name in self._specs if name not in self._built]

    @property
    def name(self) -> str:
        """The name of the page that is shown."""
        return next(name for name, page in self._built.items() if page is self.currentWidget())

    @property
    def current(self) -> PageLike:
        """The page that is shown."""
        return cast(PageLike, self.currentWidget())
