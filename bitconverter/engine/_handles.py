"""When handles of the C library are closed: when Python no longer has them, and those that live on another before it.

Python gives back the parts of an object, and the objects of a cycle, in no order that could be relied on: a model may
be let go of before its sessions are. So what has been let go of waits here until nothing lives on it any more.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bitconverter.engine._native import ffi


@dataclass(eq=False)
class _Open:
    handle: Any
    close: Callable[[Any], None]
    parent: "_Open | None"
    children: "set[_Open]" = field(default_factory=set)
    let_go: bool = False


# By address. Nothing of it is reached from the objects that hold the handles, or a cycle of those could take it apart
# before it is needed. Each step is one operation on a set or a dict, so threads do not disturb each other.
_open: dict[int, _Open] = {}


def owned(handle: Any, close: Callable[[Any], None], parent: Any = None) -> Any:
    """`handle`, to be closed by `close` after its last use and before `parent`, the handle that it lives on."""
    above = None if parent is None else _open[_address(parent)]
    entry = _Open(handle, close, above)
    _open[_address(handle)] = entry
    if above is not None:
        above.children.add(entry)
    return ffi.gc(handle, _let_go)


def _address(handle: Any) -> int:
    return int(ffi.cast("uintptr_t", handle))


def _let_go(handle: Any) -> None:
    if sys is None or sys.is_finalizing():  # the process ends, and with it everything
        return
    entry = _open[_address(handle)]
    entry.let_go = True
    _close_if_free(entry)


def _close_if_free(entry: _Open) -> None:
    if entry.children or not entry.let_go or _open.pop(_address(entry.handle), None) is not entry:
        return
    entry.close(entry.handle)
    if entry.parent is not None:
        entry.parent.children.discard(entry)
        _close_if_free(entry.parent)
