"""Freed memory, given back to the system."""

import contextlib
import ctypes
import sys


def give_back() -> None:
    """The C library of Linux keeps freed blocks of up to 32 MiB for later: after a stage of large arrays they are a
    hundred megabytes that no other program has. Windows' and other systems' give such blocks back by themselves."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # not the GNU C library
            ctypes.CDLL(None).malloc_trim(0)
