"""Small states in JSON that carry their own SHA-256: a changed digit is as good as no file."""

import hashlib
import json
from pathlib import Path
from typing import Any

from bitconverter.format.atomic import write_json


def save_sealed(path: Path, value: dict[str, Any]) -> None:
    """`value` with its SHA-256, under a temporary name first. Raises OSError."""
    write_json(path, {**value, "sha256": _digest(value)})


def load_sealed(path: Path) -> dict[str, Any]:
    """What save_sealed() wrote. Raises OSError; ValueError for anything else than that."""
    try:
        value = dict(json.loads(path.read_text(encoding="utf-8")))
        whole = value.pop("sha256") == _digest(value)
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not what was written") from error
    if not whole:
        raise ValueError(f"{path} is not what was written")
    return value


def _digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode("utf-8")).hexdigest()
