"""What was dropped on a page."""

import os
from pathlib import Path

from PySide6.QtCore import QMimeData


def dropped_model(data: QMimeData) -> str:
    """The first local folder or file among what is dragged; "" when there is none. A model's own file
    (config.json, a shard) stands for its folder; whether it is a model is for the checks to say."""
    for url in data.urls():
        # not Path.exists(): that raises below a folder that may not be entered
        path = Path(url.toLocalFile()) if url.isLocalFile() else None
        if path is None or not os.path.exists(path):
            continue
        if os.path.isdir(path) or path.suffix.lower() == ".gguf":
            return str(path)
        return str(path.parent) if path.suffix.lower() in (".safetensors", ".json") else str(path)
    return ""


def is_model(path: str) -> bool:
    """Whether a dropped file or folder is for opening as a model, not for reading as a document."""
    return os.path.isdir(path) or Path(path).suffix.lower() == ".gguf"
