r"""The system's dialogs in which the user chooses files and folders.

Qt's dialog notes what was chosen where all programs made with Qt do (Windows: HKCU\Software\QtProject, Linux:
~/.config/QtProject.conf). Ours writes in its own places alone, so these notes are put back as they were.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QFileDialog, QWidget

from bitconverter.jobs.long_path import reachable

_GROUP = "FileDialog"


def choose_folder(parent: QWidget | None, title: str, start: str) -> str:
    """A folder; "": none."""
    with notes_put_back():
        return reachable(QFileDialog.getExistingDirectory(parent, title, start))


def choose_file(parent: QWidget | None, title: str, start: str, kinds: str) -> str:
    """A file that is there, of `kinds` as Qt writes them ("Text (*.txt *.md)"); "": none."""
    with notes_put_back():
        path, _ = QFileDialog.getOpenFileName(parent, title, start, kinds)
    return reachable(path)


def choose_files(parent: QWidget | None, title: str, start: str, kinds: str) -> list[str]:
    """Some of them."""
    with notes_put_back():
        paths, _ = QFileDialog.getOpenFileNames(parent, title, start, kinds)
    return [reachable(path) for path in paths]


def choose_target(parent: QWidget | None, title: str, start: str, kinds: str) -> str:
    """A file to be written; "": none."""
    with notes_put_back():
        path, _ = QFileDialog.getSaveFileName(parent, title, start, kinds)
    return reachable(path)


@contextmanager
def notes_put_back() -> Iterator[None]:
    """What a file dialog that is made and deleted in the block notes is undone; what stood there stays."""
    notes = _notes()
    was_there = Path(notes.fileName()).exists()
    before = {key: notes.value(key) for key in notes.allKeys()}
    try:
        yield
    finally:
        notes = _notes()
        for key in set(notes.allKeys()) - set(before):
            notes.remove(key)
        for key, value in before.items():
            if notes.value(key) != value:
                notes.setValue(key, value)
        notes.endGroup()
        empty = not notes.allKeys()
        notes.sync()
        del notes
        if empty:
            _remove_place(was_there)


def _notes() -> QSettings:
    notes = QSettings(QSettings.Scope.UserScope, "QtProject")
    notes.beginGroup(_GROUP)
    return notes


def _remove_place(was_there: bool) -> None:
    """Empty keys, or the empty file if it was made by the dialog."""
    if sys.platform == "win32":
        import winreg

        place = r"Software\QtProject"
        for key in (rf"{place}\OrganizationDefaults\{_GROUP}", rf"{place}\OrganizationDefaults", place):
            try:
                with winreg.OpenKey(winreg.HKEY_CURRENT_USER, key) as opened:
                    below, values, _ = winreg.QueryInfoKey(opened)
                if not below and not values:
                    winreg.DeleteKey(winreg.HKEY_CURRENT_USER, key)
            except FileNotFoundError:
                continue
    elif not was_there:
        Path(_notes().fileName()).unlink(missing_ok=True)
