"""What was dropped on a page."""

from pathlib import Path

from PySide6.QtCore import QMimeData


def dropped_model(data: QMimeData) -> str:
    """The first local folder or file among what is dragged; "" when there is none. A model's own file
    (config.json, a shard) stands for its folder; whether it is a model is for the checks to say."""
    for url in data.urls():
        path = Path(url.toLocalFile()) if url.isLocalFile() else None
        if path is None or not path.exists():
            continue
        if path.is_dir() or path.suffix.lower() == ".gguf":
            return str(path)
        return str(path.parent) if path.suffix.lower() in (".safetensors", ".json") else str(path)
    return ""
