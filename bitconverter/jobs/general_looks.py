"""The losses on the general text (jobs/taught_model.py), window for window, as far as they are known: a look takes
minutes with a large model, and one that was broken off goes on behind its last window.

`general.json` in the work folder holds them with the key of what they were measured on and a SHA-256 (save_sealed());
one that is damaged, or of something else, counts as none.
"""

from pathlib import Path
from typing import Any

from bitconverter.format.sealed import load_sealed, save_sealed

NAME = "general.json"
LOOKS = ("before", "after")


class GeneralLooks:
    """`before` and `after` training: the sum of -log p over each window, in nats."""

    def __init__(self, folder: Path, key: str) -> None:
        self._path, self._key = folder / NAME, key
        self.before: list[float] = []
        self.after: list[float] = []
        try:
            told: Any = load_sealed(self._path)
            found = [[float(value) for value in told[look]] for look in LOOKS]
            if told["key"] == key:
                self.before, self.after = found
        except (OSError, ValueError, KeyError, TypeError):
            pass

    def save(self) -> None:
        """What is known survives a kill from now on."""
        save_sealed(self._path, {"key": self._key, "before": self.before, "after": self.after})


def remove(folder: Path) -> None:
    """All of it."""
    (folder / NAME).unlink(missing_ok=True)
