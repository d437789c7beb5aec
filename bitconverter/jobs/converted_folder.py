"""Whether a folder holds a converted model, as its config.json says. Loads nothing of the engine or of models."""

import json
from pathlib import Path


def is_converted(folder: Path) -> bool:
    """Whether config.json says that the weights are ternary planes."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8-sig"))
        return bool(config["quantization_config"]["quant_method"] == "ternary_planes")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
