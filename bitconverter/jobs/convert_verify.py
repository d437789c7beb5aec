"""The last look at a converted model before it gets its name: can the engine open it?"""

import sys
from pathlib import Path

import psutil

from bitconverter.engine import Engine, Model
from bitconverter.format.safetensors_file import SafetensorsFile
from bitconverter.jobs.convert_work import WEIGHTS
from bitconverter.jobs.job import Context, Note

MAPPING_SPARE = 128 * 1024 * 1024  # bytes of address space the engine needs beside the mapped file


def verify(ctx: Context, folder: Path, engine: Engine) -> None:
    """The finished weights must be readable: by the engine, which maps them and checks every tensor.

    Emits Note("verified"), or Note("verified-tables-only") where they do not fit into this process's address space.
    """
    path = folder / WEIGHTS
    size = path.stat().st_size
    SafetensorsFile(path)
    limit = _free_address_space()
    if limit is not None and size + MAPPING_SPARE > limit:
        ctx.emit(Note("verified-tables-only", {"file_bytes": size, "limit": limit}))
        return
    Model(engine, folder)  # its mapping ends with this line: Windows renames no folder with an open file
    ctx.emit(Note("verified", {"file_bytes": size}))


def _free_address_space() -> int | None:
    """Bytes of address space this process may still take, or None where there is no limit."""
    if sys.platform == "win32":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    return max(0, limit - psutil.Process().memory_info().vms)
