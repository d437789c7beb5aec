"""Loads the shared library that lies beside this file; `native/build.py` puts it there."""

import sys
from pathlib import Path
from typing import Any

from bitconverter.engine import errors

NAMES = {"win32": ("libbitconverter.dll", "bitconverter.dll"), "linux": ("libbitconverter.so",)}

try:
    from bitconverter.engine._abi import ffi
except ModuleNotFoundError as missing:
    raise ImportError("the engine is not built: run `python native/build.py`") from missing


def _load() -> Any:
    here = Path(__file__).resolve().parent  # an absolute path: Windows needs it
    for name in NAMES.get(sys.platform, NAMES["linux"]):
        path = here / name
        if path.exists():
            library = ffi.dlopen(str(path))
            if library.bc_abi_version() != library.BC_ABI_VERSION:
                raise ImportError(f"{path} is of another version: run `python native/build.py` again")
            return library
    raise ImportError(f"the engine's library is missing in {here}: run `python native/build.py`")


lib = _load()


def call(function: Any, *args: Any) -> None:
    """Call a function whose last parameter is a bc_error; raise what it reports."""
    error = ffi.new("bc_error *")
    status = function(*args, error)
    if status != lib.BC_OK:
        message = ffi.string(error.message).decode("utf-8", errors="replace")
        raise errors.BY_STATUS.get(status, errors.EngineError)(message, status)


def pointer(ctype: str, array: Any) -> Any:
    """The data of a C-contiguous numpy array as `ctype`, borrowed while the call runs."""
    return ffi.from_buffer(f"{ctype}[]", array)
