"""The native engine as Python objects. Nothing outside this package knows of cffi."""

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
)
from bitconverter.engine.gptq import MAX_BLOCK_COLS, descent_block, gptq_block, planes_pack
from bitconverter.engine.gradients import (
    BlockGradients,
    Head,
    HeadLoss,
    head_cross_entropy,
    head_divergence,
    head_drawn_entropy,
)
from bitconverter.engine.logits import logits_divergence, logits_score
from bitconverter.engine.model import Model, ModelInfo, check_config, matrix_shapes
from bitconverter.engine.quantize import (
    planes_matmul,
    planes_unpack,
    quantize_int8,
    quantize_planes,
    rotate,
)
from bitconverter.engine.session import KV_TYPES, Sampler, Session, forward_together, sample
from bitconverter.engine.user import user_idle_seconds

__all__ = [
    "CAPTURES",
    "CPU_MASKS",
    "KV_TYPES",
    "MATRICES",
    "MAX_BLOCK_COLS",
    "Block",
    "BlockGradients",
    "Cancel",
    "Cancelled",
    "ContextFullError",
    "DeviceInfo",
    "DeviceMemory",
    "Engine",
    "EngineError",
    "FileError",
    "FormatError",
    "Head",
    "HeadLoss",
    "InvalidError",
    "Model",
    "ModelInfo",
    "NoBackendError",
    "NoRoomError",
    "OutOfMemoryError",
    "Placement",
    "PlacementParams",
    "Sampler",
    "Session",
    "UnsupportedError",
    "backend_path",
    "check_config",
    "descent_block",
    "device_info",
    "device_memory",
    "devices",
    "forward_together",
    "gptq_block",
    "head_cross_entropy",
    "head_divergence",
    "head_drawn_entropy",
    "logits_divergence",
    "logits_score",
    "matrix_shapes",
    "open_backend",
    "place",
    "planes_matmul",
    "planes_pack",
    "planes_unpack",
    "quantize_int8",
    "quantize_planes",
    "rotate",
    "sample",
    "single_threaded_blas",
    "user_idle_seconds",
]
