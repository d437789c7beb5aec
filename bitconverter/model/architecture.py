"""Which models the engine runs, and of another one, why not: with a code, for every language."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitconverter.engine import EngineError, ModelInfo, check_config
from bitconverter.format.errors import UserError

TYPES = ("llama", "mistral", "qwen2", "qwen3")  # those of native/src/config.c
TASK = "ForCausalLM"  # how the names of text generators end


def model_info(config: Mapping[str, Any]) -> ModelInfo:
    """Its shape, from the content of config.json. Raises UserError: "model-type" (of another family), "model-task" (no
    text generator), "architecture" (anything else that the engine refuses)."""
    try:
        return check_config(json.dumps(config).encode("utf-8"))
    except EngineError as error:
        code, fields = _reason(config, str(error))
        raise UserError(code, f"{error}.", **fields) from error


def folder_info(folder: Path) -> ModelInfo | None:
    """The shape of the model in a folder; None where its config.json does not say."""
    try:
        return check_config((folder / "config.json").read_bytes())
    except (OSError, EngineError):
        return None


def _reason(config: Mapping[str, Any], why: str) -> tuple[str, dict[str, str]]:
    """In the order in which the engine looks."""
    model_type, names = config.get("model_type"), config.get("architectures")
    if isinstance(model_type, str) and model_type not in TYPES:
        return "model-type", {"model_type": model_type}
    name = names[0] if isinstance(names, list) and names else None
    if model_type in TYPES and isinstance(name, str) and not name.endswith(TASK):
        return "model-task", {"architecture": name}
    return "architecture", {"why": why}
