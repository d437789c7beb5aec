"""Where a calibrated conversion stands, kept whole in the work folder: numbers, and how far they have come.

calibration.state holds the hidden states before the next layer, polish.state the training's parameters: a line of JSON
{"identity", "layer" (or step), "shape", "sha256"}, then the f32 values. It is replaced by a rename, so it is the old
one or the new one; one that does not hold its hash counts as none.
"""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bitconverter.format.atomic import sync_folder
from bitconverter.format.safetensors_file import as_bytes

NAME = "calibration.state"
LINE_LIMIT = 4096
F32 = npt.NDArray[np.float32]


def save(folder: Path, identity: str, layer: int, x: F32, name: str = NAME) -> None:
    """x f32 of any shape, e.g. [windows, window, hidden]: the input of layer `layer`. Durable when this returns."""
    data = as_bytes(np.ascontiguousarray(x, dtype="<f4"))
    head = {
        "identity": identity,
        "layer": layer,
        "shape": x.shape,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    temporary = folder / (name + ".tmp")
    with open(temporary, "wb") as file:
        file.write(json.dumps(head).encode("ascii") + b"\n")
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / name)
    sync_folder(folder)


def load(folder: Path, identity: str, shape: tuple[int, ...], name: str = NAME) -> tuple[int, F32] | None:
    """(layer, its input) if there is a whole state of the same conversion, else None."""
    try:
        with open(folder / name, "rb") as file:
            head = json.loads(file.readline(LINE_LIMIT))
            if head["identity"] != identity or tuple(head["shape"]) != shape:
                return None
            x = np.empty(shape, "<f4")
            data = as_bytes(x)
            if file.readinto(data) != len(data) or hashlib.sha256(data).hexdigest() != head["sha256"]:
                return None
            return int(head["layer"]), x
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove(folder: Path) -> None:
    """What save() left, also when it was killed."""
    for name in (NAME, NAME + ".tmp"):
        (folder / name).unlink(missing_ok=True)
