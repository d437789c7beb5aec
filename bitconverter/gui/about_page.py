"""About: what this program is, and the licences of everything in it, read from what is installed."""

import platform
from importlib import metadata, resources

import PySide6
from PySide6.QtWidgets import QComboBox, QPlainTextEdit

from bitconverter import __version__
from bitconverter.gui import theme
from bitconverter.gui.page import Shell
from bitconverter.gui.sections import ScrolledPage, card
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import label

MINE = "BitConverter"
# what pyproject.toml asks for; what these ask for themselves is found from their own metadata
ROOTS = (
    "numpy", "cffi", "tokenizers", "gguf", "jinja2", "markdown-it-py", "Pygments", "psutil", "platformdirs",
    "PySide6-Essentials", "wakepy", "charset-normalizer", "pypdfium2", "python-docx", "pyqtgraph",
)  # fmt: skip
LICENCE_FILES = ("licen", "copying", "notice", "authors")


class AboutPage(ScrolledPage):
    """Licence texts are read when one is chosen."""

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell, "page-about")
        box, inner = card("app-name", self.texts)
        self.version, words = label("muted", wrap=True, selectable=True), label(wrap=True)
        self.version.setText(
            f"BitConverter {__version__}  ·  Python {platform.python_version()}  ·  Qt {PySide6.__version__}"
        )
        self.texts.set(words.setText, "about-text")
        inner.addWidget(self.version)
        inner.addWidget(words)
        self.body.addWidget(box)
        licences, inner = card("licences", self.texts)
        text = label("muted", wrap=True)
        self.texts.set(text.setText, "licences-text")
        self.parts = QComboBox()
        self.texts.set(self.parts.setAccessibleName, "licences")
        self.view = QPlainTextEdit()
        self.view.setReadOnly(True)
        self.view.setTabChangesFocus(True)
        theme.use_mono(self.view, Space.SMALL + 1)
        self.view.setMinimumHeight(300)
        self.texts.set(self.view.setAccessibleName, "licences")
        self.parts.currentTextChanged.connect(lambda name: self.view.setPlainText(licence_of(name)))
        for part in (text, self.parts, self.view):
            inner.addWidget(part)
        self.body.addWidget(licences, 1)

    def entered(self) -> None:
        """The list, once."""
        if self.parts.count() == 0:
            self.parts.addItems([MINE, *parts()])


def parts() -> list[str]:
    """The installed packages that this program is made with, each with those it needs."""
    found: list[str] = []
    asked = list(ROOTS)
    while asked:
        name = asked.pop()
        known = {other.casefold() for other in found}
        if name.casefold() not in known and _there(name):
            found.append(name)
            asked += [_name(needed) for needed in metadata.requires(name) or [] if "extra ==" not in needed]
    return sorted(found, key=str.casefold)


def licence_of(name: str) -> str:
    """The licence of the package `name`: what its metadata says, then its licence files whole."""
    if name == MINE:
        return (resources.files("bitconverter.resources") / "LICENSE.txt").read_text(encoding="utf-8")
    if not _there(name):
        return ""
    about = metadata.distribution(name)
    fields = about.metadata
    says = "".join((fields.get_all("License-Expression") or fields.get_all("License") or [""])[:1])
    lines = [f"{fields['Name']} {fields['Version']}", says if len(says) < 200 else ""]
    lines += [value for value in fields.get_all("Classifier") or [] if value.startswith("License")]
    for file in about.files or []:
        named = file.name.lower().startswith(LICENCE_FILES) or "licenses" in file.parts
        if named and file.suffix in ("", ".txt", ".md", ".rst", ".ijg"):
            try:
                lines += ["", f"--- {file.name} ---", file.read_text(encoding="utf-8")]
            except (OSError, UnicodeDecodeError):
                continue  # a file of the list that was not installed
    return "\n".join(lines)


def _name(requirement: str) -> str:
    letters = []
    for letter in requirement:
        if not (letter.isalnum() or letter in "-_."):
            break
        letters.append(letter)
    return "".join(letters)


def _there(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
