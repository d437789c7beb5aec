"""The native engine as Python objects. Nothing outside this package knows of cffi.

A name is imported from its module when somebody first asks for it: the program's window is there before numpy is.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bitconverter.engine.blas import single_threaded_blas
    from bitconverter.engine.block import CAPTURES, MATRICES, Block
    from bitconverter.engine.cancel import Cancel
    from bitconverter.engine.device import (
        DeviceInfo,
        DeviceMemory,
        Placement,
        PlacementParams,
        backend_path,
        device_info,
        device_memory,
        devices,
        open_backend,
        place,
    )
    from bitconverter.engine.engine import CPU_MASKS, Engine
    from bitconverter.engine.errors import (
        Cancelled,
        ContextFullError,
        EngineError,
        FileError,
        FormatError,
        InvalidError,
        NoBackendError,
        NoRoomError,
        OutOfMemoryError,
        UnsupportedError,
        WrongDeviceError,
    )
    from bitconverter.engine.gptq import descent, gptq_block, planes_pack
    from bitconverter.engine.gradients import (
        BlockGradients,
        Head,
        HeadLoss,
        head_cross_entropy,
        head_divergence,
        head_drawn_entropy,
    )
    from bitconverter.engine.logits import logits_divergence, logits_score
    from bitconverter.engine.memory import give_back
    from bitconverter.engine.model import Model, ModelInfo, check_config, matrix_shapes
    from bitconverter.engine.quantize import (
        planes_matmul,
        planes_unpack,
        quantize_int8,
        quantize_planes,
        rotate,
    )
    from bitconverter.engine.session import KV_TYPES, Sampler, Session, forward_together, sample
    from bitconverter.engine.tower import Tower, TowerParams
    from bitconverter.engine.user import user_idle_seconds

_NAMES = {
    "blas": "single_threaded_blas",
    "block": "CAPTURES MATRICES Block",
    "cancel": "Cancel",
    "device": "DeviceInfo DeviceMemory Placement PlacementParams backend_path device_info device_memory devices"
    " open_backend place",
    "engine": "CPU_MASKS Engine",
    "errors": "Cancelled ContextFullError EngineError FileError FormatError InvalidError NoBackendError NoRoomError"
    " OutOfMemoryError UnsupportedError WrongDeviceError",
    "gptq": "descent gptq_block planes_pack",
    "gradients": "BlockGradients Head HeadLoss head_cross_entropy head_divergence head_drawn_entropy",
    "logits": "logits_divergence logits_score",
    "memory": "give_back",
    "model": "Model ModelInfo check_config matrix_shapes",
    "quantize": "planes_matmul planes_unpack quantize_int8 quantize_planes rotate",
    "session": "KV_TYPES Sampler Session forward_together sample",
    "tower": "Tower TowerParams",
    "user": "user_idle_seconds",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
