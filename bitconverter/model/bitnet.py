"""Sources whose config.json says "bitnet": linear weights that are ternary when the model runs.

Stored as plain floating numbers -a, 0 and a, they are read like any model's and kept exactly (model/ternary.py). In
another form they are refused: packed four to a byte (uint8), or with norms inside the linear maps, which none of the
families has.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from bitconverter.format.safetensors_file import WEIGHT_DTYPES
from bitconverter.model.source import SourceTensor

KEY = "quantization_config"


def declared(config: Mapping[str, Any]) -> bool:
    """Whether config.json says so."""
    quantization = config.get(KEY)
    return isinstance(quantization, dict) and quantization.get("quant_method") == "bitnet"


def has_inner_norms(config: Mapping[str, Any]) -> bool:
    """Whether the linear maps of such a model normalise their inputs (transformers' "use_rms_norm")."""
    return declared(config) and bool(config[KEY].get("use_rms_norm"))


def packed(tensors: Iterable[SourceTensor]) -> SourceTensor | None:
    """The first weight that is not stored as floating numbers."""
    return next((t for t in tensors if t.name.endswith(".weight") and t.dtype not in WEIGHT_DTYPES), None)


def is_dense(config: Mapping[str, Any], tensors: Iterable[SourceTensor]) -> bool:
    """Whether it is such a model in a form that is read."""
    return declared(config) and not has_inner_norms(config) and packed(tensors) is None


def as_dense(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of the same model without the word: its weights are floating numbers like any other's."""
    return {key: value for key, value in config.items() if key != KEY}
