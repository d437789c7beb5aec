"""Engine: one device with its threads and its kernels."""

import numpy as np
import numpy.typing as npt

from bitconverter.engine._handles import owned
from bitconverter.engine._native import call, ffi, lib, pointer
from bitconverter.engine.errors import InvalidError, UnsupportedError

CPU_MASKS = {
    "auto": 0xFFFFFFFF,
    "scalar": 0,
    "avx2": 1,
    "avx-vnni": 9,
    "avx512": 3,
    "avx512-vnni": 7,
    "avx512-vbmi": 23,
}


class Engine:
    """`threads` 0 means one per physical core. `cpu` lowers the instruction set that may be used
    (one of CPU_MASKS); asking for one that this CPU lacks raises UnsupportedError.

    Calls on one engine, its models and sessions included, must not overlap in time.
    """

    def __init__(self, threads: int = 0, cpu: str = "auto") -> None:
        if cpu not in CPU_MASKS:
            raise InvalidError(f"cpu is {cpu!r}, must be one of {', '.join(CPU_MASKS)}")
        params = ffi.new("bc_engine_params *")
        lib.bc_engine_params_init(params)
        params.n_threads = threads
        params.cpu_flags_mask = CPU_MASKS[cpu]
        out = ffi.new("bc_engine **")
        call(lib.bc_engine_open, out, params)
        self.handle = owned(out[0], lib.bc_engine_close)
        info = ffi.new("bc_engine_info *")
        lib.bc_engine_get_info(self.handle, info)
        self.threads: int = info.n_threads
        self.isa: str = ffi.string(info.isa).decode("ascii")
        self.n_devices: int | None = None  # of its backend, when that is open (device.py)
        if cpu != "auto" and info.cpu_flags != CPU_MASKS[cpu]:
            raise UnsupportedError(f"this CPU does not have {cpu}; the best it has is {self.isa}")

    def let_go(self) -> None:
        """Free the work space of layers that is kept from call to call (the next one takes it again), and give the
        system back what the process keeps of freed memory."""
        lib.bc_engine_let_go(self.handle)

    def read(self, data: npt.NDArray[np.uint8]) -> int:
        """Read bytes on all threads and add them up as 64-bit words: its time is the memory's speed."""
        total = ffi.new("uint64_t *")
        call(lib.bc_memory_read, self.handle, pointer("uint8_t", data), data.nbytes, total)
        return int(total[0])
