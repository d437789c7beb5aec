"""Graphics cards: the backend library beside the engine's own, its devices, and a model's layers on one of them."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bitconverter.engine._native import call, ffi, lib
from bitconverter.engine.engine import Engine
from bitconverter.engine.errors import InvalidError, NoBackendError, NoRoomError, OutOfMemoryError
from bitconverter.engine.model import Model
from bitconverter.engine.session import KV_TYPES

LIBRARIES = {
    "win32": ("libbitconverter_cuda.dll", "bitconverter_cuda.dll"),
    "linux": ("libbitconverter_cuda.so",),
}
FOLDER = Path(__file__).resolve().parent  # where the engine's library lies


@dataclass(frozen=True)
class DeviceInfo:
    """A graphics card; the fields of bc_device_info in bitconverter.h. `driver_version` 13000 is 13.0."""

    name: str
    backend: str
    compute_major: int
    compute_minor: int
    n_processors: int
    driver_version: int
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class PlacementParams:
    """What is to lie on a device: at most `n_layers` layers (-1: all that fit), and beside them `n_sessions` sessions
    of `n_ctx`, `n_batch` and `kv` (as in Session); of smaller batches, down to 64, where all of the model fits with
    those. `memory_limit`: as if the device had only so many bytes; 0: all."""

    device: int = 0
    n_layers: int = -1
    n_ctx: int = 0
    n_batch: int = 0
    kv: str = "f16"
    n_sessions: int = 1
    memory_limit: int = 0


@dataclass(frozen=True)
class Placement:
    """What lies there: the last `n_layers` layers, the head if `head`; the fields of bc_placement. `all_bytes`: what
    the whole model and its sessions would take, `room_bytes`: what there was for them."""

    n_layers: int
    head: bool
    weight_bytes: int
    session_bytes: int
    all_bytes: int
    room_bytes: int


@dataclass(frozen=True)
class DeviceMemory:
    """`used_bytes`, `peak_bytes`: of this engine's models and sessions; total and free: of the device, as its driver
    counts."""

    used_bytes: int
    peak_bytes: int
    total_bytes: int
    free_bytes: int


def backend_path() -> Path:
    """The backend library of this installation. Raises NoBackendError when it has none."""
    for name in LIBRARIES.get(sys.platform, LIBRARIES["linux"]):
        if (FOLDER / name).exists():
            return FOLDER / name
    raise NoBackendError("this installation has no CUDA backend")


def open_backend(engine: Engine) -> int:
    """Load the backend for this engine, at its first call, and say how many devices it can use: 1 or more.

    Raises NoBackendError, and UnsupportedError with the reason when the backend finds no device that it can use.
    """
    if engine.n_devices is None:
        path, count = str(backend_path()).encode("utf-8", "surrogateescape"), ffi.new("int32_t *")
        call(lib.bc_engine_open_backend, engine.handle, path, count)
        engine.n_devices = int(count[0])
    return engine.n_devices


def device_info(engine: Engine, device: int) -> DeviceInfo:
    """One device of an open backend. Slow (tenths of a second) for a card that nothing has been put on."""
    native = ffi.new("bc_device_info *")
    call(lib.bc_engine_get_device, engine.handle, device, native)
    return _read(DeviceInfo, native)


def devices(engine: Engine) -> list[DeviceInfo]:
    """All devices, by their number. Raises what open_backend() raises."""
    return [device_info(engine, device) for device in range(open_backend(engine))]


def place(model: Model, params: PlacementParams) -> Placement:
    """Copy as many of the model's last layers to a device as fit, then its head; once, before its first session.

    Raises NoRoomError when not one layer fits: the model is as it was; UnsupportedError for what the device cannot run.
    """
    if params.kv not in KV_TYPES:
        raise InvalidError(f"kv is {params.kv!r}, must be one of {', '.join(KV_TYPES)}")
    native = ffi.new("bc_placement_params *")
    lib.bc_placement_params_init(native)
    native.kv_type = KV_TYPES[params.kv]
    for field in fields(PlacementParams):
        if field.name != "kv":
            setattr(native, field.name, getattr(params, field.name))
    out = ffi.new("bc_placement *")
    try:
        call(lib.bc_model_place, model.handle, native, out)
    except OutOfMemoryError as error:
        if out.n_layers or not out.all_bytes:  # the plan fitted, or there was none
            raise
        raise NoRoomError(str(error), error.status, out.all_bytes, out.room_bytes) from error
    return _read(Placement, out)


def device_memory(engine: Engine, device: int) -> DeviceMemory:
    """How much of a device's memory is taken now, and the most that was."""
    native = ffi.new("bc_device_memory *")
    call(lib.bc_engine_get_memory, engine.handle, device, native)
    return _read(DeviceMemory, native)


def copy_speed(engine: Engine, device: int, size: int) -> float:
    """Bytes per second, read and written counted, of copies of `size` bytes inside a device's memory."""
    speed = ffi.new("double *")
    call(lib.bc_engine_copy_speed, engine.handle, device, size, speed)
    return float(speed[0])


@dataclass(frozen=True)
class KernelTime:
    """Of all launches of a kernel together; the fields of bc_kernel_time."""

    name: str
    launches: int
    seconds: float


def kernel_times(engine: Engine, device: int, work: Callable[[], Any]) -> list[KernelTime]:
    """What each kernel takes in `work` (at most 2,047 launches: a step of a model, not an answer), those that take most
    first. They run one behind the other, which they else need not, so `work` takes longer than usual."""
    call(lib.bc_engine_trace_begin, engine.handle, device)
    times, count = ffi.new("bc_kernel_time[]", lib.BC_MOST_KERNEL_TIMES), ffi.new("int32_t *")
    try:
        work()
    finally:
        call(lib.bc_engine_trace_end, engine.handle, device, times, count)
    return [_read(KernelTime, times[i]) for i in range(count[0])]


def _read(kind: Any, native: Any) -> Any:
    """The dataclass `kind` with the values of a struct that has its fields."""
    values: dict[str, Any] = {}
    for field in fields(kind):
        value = getattr(native, field.name)
        if field.type is str:
            value = ffi.string(value).decode("utf-8", errors="replace")
        values[field.name] = bool(value) if field.type is bool else value
    return kind(**values)
