"""Dialogs for files and folders leave no notes of Qt's behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import bitconverter.gui

# Qt looks for the user's folder once in a process, so each has its own; the dialog is Qt's, as offscreen
CHOOSES = """
import sys
from pathlib import Path
from PySide6.QtCore import QSettings, QTimer
from PySide6.QtWidgets import QApplication, QFileDialog
from bitconverter.gui import choose

app = QApplication([])
place = Path(QSettings(QSettings.Scope.UserScope, "QtProject").fileName())
assert str(place).startswith(sys.argv[1]), place
if sys.argv[2] == "notes":
    place.parent.mkdir(exist_ok=True)
    place.write_text("[Other]\\nkey=1\\n\\n[FileDialog]\\nlastVisited=file:///from/another/program\\nviewMode=List\\n")
if sys.argv[3] == "qt":
    choose.notes_put_back = choose.contextmanager(lambda: (yield))

def accept():
    if dialog := app.activeModalWidget():
        dialog.accept()
    else:
        QTimer.singleShot(20, accept)

QTimer.singleShot(20, accept)
print(choose.choose_folder(None, "which", sys.argv[1]) == sys.argv[1])
if sys.argv[2] == "notes":
    notes = QSettings(QSettings.Scope.UserScope, "QtProject")
    print(sorted((key, notes.value(key)) for key in notes.allKeys()))
else:
    print(place.exists())
"""


def chosen(home: Path, *words: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CHOOSES, str(home), *words], capture_output=True, text=True, encoding="utf-8",
        env={**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "QT_QPA_PLATFORM": "offscreen"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(
    sys.platform == "win32", reason="there the notes are in the registry: installer/windows_check.py"
)
def test_nothing_is_noted_where_nothing_was(tmp_path: Path) -> None:
    assert chosen(tmp_path, "none", "qt") == ["True", "True"]  # what Qt does by itself
    (tmp_path / ".config" / "QtProject.conf").unlink()
    assert chosen(tmp_path, "none", "ours") == ["True", "False"]


@pytest.mark.skipif(
    sys.platform == "win32", reason="there the notes are in the registry: installer/windows_check.py"
)
def test_notes_of_other_programs_stay(tmp_path: Path) -> None:
    notes = [
        ("FileDialog/lastVisited", "file:///from/another/program"),
        ("FileDialog/viewMode", "List"),
        ("Other/key", "1"),
    ]
    assert chosen(tmp_path, "notes", "ours") == ["True", str(notes)]


def test_no_other_module_opens_one() -> None:
    """self_test.py looks at the dialog itself, and puts the notes back too."""
    modules = Path(bitconverter.gui.__file__).parent.glob("*.py")
    users = {path.name for path in modules if "QFileDialog" in path.read_text(encoding="utf-8")}
    assert users == {"choose.py", "self_test.py"}
