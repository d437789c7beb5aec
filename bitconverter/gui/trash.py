"""Deleting that can be undone: into the system's recycle bin, and out of it again.

Qt says where in the bin a thing went; that is all that undo needs, so no library is.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QDir, QFile, QStandardPaths

# what lies in a model's folder; a folder with anything else in it holds more than a model
OF_A_MODEL = (
    ".safetensors", ".bin", ".pt", ".pth", ".gguf", ".onnx", ".h5", ".npz", ".npy", ".msgpack", ".soul",
    ".json", ".jsonl", ".jinja", ".model", ".txt", ".md", ".py", ".yaml", ".yml", ".png", ".svg", ".webp",
    ".state", ".bad", ".tmp", ".lock", ".metadata", ".incomplete", ".gitattributes", ".gitignore",
)  # fmt: skip
NAMES_OF_A_MODEL = ("license", "licence", "notice", "use_policy", "readme", "lock", "checksum")
MOST_LOOKED_AT = 5000


@dataclass(frozen=True)
class Trashed:
    """A thing in the bin: where it was, and where in the bin it is ("" when the system does not say)."""

    path: str
    place: str

    @property
    def can_return(self) -> bool:
        """Whether it can be taken back now."""
        return bool(self.place) and os.path.exists(self.place) and not os.path.exists(self.path)


def foreign_in(path: str) -> str | None:
    """Why the model folder `path` is not to be deleted: the first file in it that belongs to no model, or "" where it
    is a drive, the user's own folder or something above that; None where it holds a model and nothing else."""
    folder = Path(os.path.realpath(path))
    home = Path(os.path.realpath(Path.home()))
    if folder == Path(folder.anchor) or os.path.ismount(folder) or folder == home or folder in home.parents:
        return ""
    if not folder.is_dir():
        return None
    looked = 0
    for where, _folders, files in os.walk(folder):
        for name in files:
            looked += 1
            known = Path(name).suffix.lower() in OF_A_MODEL or name.lower() in OF_A_MODEL
            if looked > MOST_LOOKED_AT or not (known or name.lower().startswith(NAMES_OF_A_MODEL)):
                return os.path.join(where, name)
    return None


def move_to_trash(path: str) -> Trashed | None:
    """Move a file or folder to the bin. None when the system refused; never deletes for good."""
    # Qt keeps the bin in the user's data folder and does not make that folder
    QDir().mkpath(QStandardPaths.writableLocation(QStandardPaths.StandardLocation.GenericDataLocation))
    file = QFile(path)
    if not file.moveToTrash():
        return None
    place = file.fileName()
    return Trashed(path, place if os.path.abspath(place) != os.path.abspath(path) else "")


def take_back(thing: Trashed) -> bool:
    """Put it back where it was. False when it is gone from the bin, or something else is there now."""
    if not thing.can_return:
        return False
    try:
        os.makedirs(os.path.dirname(thing.path), exist_ok=True)
        os.rename(thing.place, thing.path)
    except OSError:
        return False
    for note in _notes(Path(thing.place)):
        with contextlib.suppress(OSError):  # the bin then lists something that is not there; harmless
            note.unlink()
    return True


def _notes(place: Path) -> list[Path]:
    """What the bin wrote down about the thing: NAME.trashinfo on Linux, $Ixxx beside $Rxxx on Windows."""
    if place.name.startswith("$R"):
        return [place.with_name("$I" + place.name[2:])]
    return [place.parent.parent / "info" / f"{place.name}.trashinfo"]
