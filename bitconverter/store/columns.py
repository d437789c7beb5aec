"""What goes into a column of text, and what comes out of one."""

import json
from typing import Any


def storable(text: str) -> str:
    """`text` without halves of characters, which UTF-8 and so SQLite cannot hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")


def loaded(text: Any, kind: type) -> Any:
    """The `kind` (list or dict) that a column holds as JSON; an empty one for anything else."""
    try:
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return kind()
    return value if isinstance(value, kind) else kind()
