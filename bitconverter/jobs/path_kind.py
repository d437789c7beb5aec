"""What kind of thing lies at a path, by its name and, of a folder, by what is in it."""

import os
from pathlib import Path

from bitconverter.format.file_kinds import ATTACHED, ROWS
from bitconverter.jobs.converted_folder import is_converted

LETTERS = (".mbox", ".eml", ".msg")
ARCHIVES = (".zip", ".7z", ".rar", ".gz", ".tar")
OF_A_MODEL = (".safetensors", ".json", ".jinja", ".model")
MOST_LOOKED_AT = 500  # entries of a folder of which nobody knows what it is


def kind_of(path: str) -> str:
    """ "original", "converted", "gguf", "partial", "models" (a folder of them), "text", "lesson", "letters",
    "soul", "knowledge", "archive", "folder" (nothing in it that we know) or "other"."""
    if os.path.isdir(path):
        return _kind_of_folder(Path(path))
    suffix = Path(path).suffix.lower()
    for kind, suffixes in (
        ("gguf", (".gguf",)), ("text", ATTACHED), ("lesson", ROWS), ("letters", LETTERS),
        ("soul", (".soul",)), ("knowledge", (".u32",)), ("archive", ARCHIVES),
    ):  # fmt: skip
        if suffix in suffixes:
            return kind
    return "other"


def _kind_of_folder(folder: Path) -> str:
    if folder.name.endswith(".partial") and os.path.isfile(folder / "job.json"):
        return "partial"
    if os.path.isfile(folder / "config.json"):
        return "converted" if is_converted(folder) else "original"
    try:
        with os.scandir(folder) as entries:
            for _, entry in zip(range(MOST_LOOKED_AT), entries, strict=False):
                if entry.name.lower().endswith((".gguf", ".safetensors")):
                    return "models" if entry.name.lower().endswith(".gguf") else "original"
                if entry.is_dir() and os.path.isfile(os.path.join(entry.path, "config.json")):
                    return "models"
    except OSError:
        return "folder"
    return "folder"


def standing_for(path: str) -> str:
    """A model's own file (config.json, a shard) stands for its folder."""
    given = Path(path)
    if given.suffix.lower() in OF_A_MODEL and not os.path.isdir(path):
        folder = str(given.parent)
        return folder if kind_of(folder) in ("original", "converted") else path
    return path
