"""One thread for numpy's BLAS: its sums depend on how many it uses, and ours must not.

Work is split over threads by the caller, in pieces whose size does not depend on their number.
numpy's wheels bring OpenBLAS beside the package; another numpy may use another library, which is left alone.
"""

from functools import cache
from pathlib import Path

import numpy as np
from cffi import FFI

_SETTERS = (
    "scipy_openblas_set_num_threads64_", "scipy_openblas_set_num_threads",
    "openblas_set_num_threads64_", "openblas_set_num_threads",
)  # fmt: skip


@cache
def single_threaded_blas() -> bool:
    """Make numpy's OpenBLAS use one thread for the rest of the process; whether that could be done."""
    ffi = FFI()
    ffi.cdef("".join(f"void {name}(int);" for name in _SETTERS))
    package = Path(np.__file__).resolve().parent
    for path in sorted([*package.parent.glob("numpy.libs/*openblas*"), *package.glob(".libs/*openblas*")]):
        library = ffi.dlopen(str(path))  # numpy has loaded it: this is the same one
        for name in _SETTERS:
            try:
                getattr(library, name)(1)
                return True
            except AttributeError:
                continue
    return False
