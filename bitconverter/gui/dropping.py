"""What was dropped on the window, or named at its start, and what to do with it, by its kind (jobs/path_kind.py)."""

import os
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QMimeData

from bitconverter.jobs.long_path import reachable
from bitconverter.jobs.path_kind import kind_of, standing_for

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
