"""What was dropped on the window, or named at its start: what kind of thing it is and what to do with it."""

import os
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QMimeData

from bitconverter.jobs.converted_folder import is_converted
from bitconverter.jobs.long_path import reachable

ATTACHMENTS = (".txt", ".md", ".markdown", ".pdf", ".docx", ".log")
LESSONS = (".jsonl", ".json", ".csv", ".tsv")
LETTERS = (".mbox", ".eml", ".msg")
OF_A_MODEL = (".safetensors", ".json", ".jinja", ".model")
MOST_LOOKED_AT = 500  # entries of a folder of which nobody knows what it is

# kind -> what to do, the usual first. What is not here cannot be used yet (message "drop-no-KIND").
ACTIONS: dict[str, tuple[str, ...]] = {
    "original": ("convert", "chat", "shelf"),
    "gguf": ("convert", "chat", "shelf"),
    "converted": ("chat", "shelf", "train"),
    "partial": ("convert",),
    "models": ("shelf",),
    "text": ("attach", "train"),
    "lesson": ("train",),
    "soul": ("chat", "shelf"),
}
# what only this page does something with
ONLY_THERE = {"folder": "train"}


@dataclass(frozen=True)
class Drop:
    """One thing: its path, its kind, and the action for the page it was dropped on ("" when there is none)."""

    path: str
    kind: str
    action: str


def kind_of(path: str) -> str:
    """ "original", "converted", "gguf", "partial", "models" (a folder of them), "text", "lesson", "letters",
    "soul", "knowledge", "archive", "folder" (nothing in it that we know) or "other"."""
    if os.path.isdir(path):
        return _kind_of_folder(Path(path))
    suffix = Path(path).suffix.lower()
    for kind, suffixes in (
        ("gguf", (".gguf",)), ("text", ATTACHMENTS), ("lesson", LESSONS), ("letters", LETTERS),
        ("soul", (".soul",)), ("knowledge", (".u32",)), ("archive", (".zip", ".7z", ".rar", ".gz", ".tar")),
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


def offer(path: str, page: str = "") -> Drop:
    """What to do with `path` when it is dropped on `page`: that page's own action if it has one for it."""
    path = standing_for(path)
    kind = kind_of(path)
    actions = ACTIONS.get(kind, ())
    if ONLY_THERE.get(kind) == page:
        return Drop(path, kind, page)
    return Drop(path, kind, page if page in actions else (actions[0] if actions else ""))


def local_paths(data: QMimeData) -> list[str]:
    """What is dragged and said to be on this PC, whether it is there or not."""
    return [reachable(url.toLocalFile()) for url in data.urls() if url.isLocalFile()]


def dropped_paths(data: QMimeData) -> list[str]:
    """The local files and folders among what is dragged."""
    # not Path.exists(): that raises below a folder that may not be entered
    return [str(Path(path)) for path in local_paths(data) if os.path.exists(path)]


def dropped_model(data: QMimeData) -> str:
    """The first local folder or file among what is dragged; "" when there is none. A model's own file
    (config.json, a shard) stands for its folder; whether it is a model is for the checks to say."""
    for path in dropped_paths(data):
        return standing_for(path)
    return ""


def chat_takes(data: QMimeData) -> bool:
    """Whether the chat itself does something with what is dragged; the rest is the window's."""
    paths = dropped_paths(data)
    return bool(paths) and all(offer(path, "chat").action in ("chat", "attach") for path in paths)


def is_model(path: str) -> bool:
    """Whether a dropped file or folder is for opening as a model, or as a soul with its model, not for reading as a
    document."""
    return os.path.isdir(path) or is_soul(path) or Path(path).suffix.lower() == ".gguf"


def is_soul(path: str) -> bool:
    """Whether it is a soul by its name."""
    return Path(path).suffix.lower() == ".soul"
