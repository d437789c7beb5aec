"""What was chosen for each model, the newest first: a setting with one line of JSON per model."""

import json
from dataclasses import dataclass
from typing import Any

from bitconverter.settings import Settings

MOST = 100  # models


@dataclass(frozen=True)
class ModelMemory:
    """`key`: of the setting; `kinds` of the values that belong to a model. What is not ours is passed over: the file
    may hold anything."""

    key: str
    kinds: tuple[type, ...]

    def remember(self, settings: Settings, model: str, *values: Any) -> None:
        """Keep `values` for `model`; none: forget what it had."""
        lines = [line for line in settings[self.key] if (self._parsed(line) or [""])[0] != model]
        if values:
            lines.insert(0, json.dumps([model, *values]))  # ASCII: it holds any name of a file
        settings[self.key] = lines[:MOST]

    def remembered(self, settings: Settings, model: str) -> list[Any] | None:
        """What was kept for `model`."""
        for line in settings[self.key]:
            found = self._parsed(line)
            if found is not None and found[0] == model:
                return found[1:]
        return None

    def _parsed(self, line: str) -> list[Any] | None:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            return None
        kinds = [str, *self.kinds]
        return value if isinstance(value, list) and [type(part) for part in value] == kinds else None
