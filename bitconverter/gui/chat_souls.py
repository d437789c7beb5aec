"""Which soul each model was opened with last, and whether it was on: a setting, one line of JSON per model."""

import json

from bitconverter.settings import Settings

KEY, MOST = "chat_souls", 100


def remember(settings: Settings, model: str, soul: str, on: bool) -> None:
    """`model` was opened with `soul`, a file's path; "" forgets the one it had."""
    lines = [line for line in settings[KEY] if (_parsed(line) or ("",))[0] != model]
    if soul:
        lines.insert(0, json.dumps([model, soul, on]))  # ASCII: it holds any name of a file
    settings[KEY] = lines[:MOST]


def remembered(settings: Settings, model: str) -> tuple[str, bool]:
    """The soul of `model`, "" for none, and whether it was on."""
    for line in settings[KEY]:
        found = _parsed(line)
        if found is not None and found[0] == model:
            return found[1], found[2]
    return "", False


def _parsed(line: str) -> tuple[str, str, bool] | None:
    """None for what is not ours: the file may hold anything."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    match value:
        case [str() as model, str() as soul, bool() as on]:
            return model, soul, on
    return None
