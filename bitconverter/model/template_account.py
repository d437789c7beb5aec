"""The account of a chat template's rendering: how much it may still make, and how large and deep its lists may be.

A template is a foreign program. What it makes is charged here, whether it keeps it or not; template_limits.py asks
beforehand whether there is room for what an operation can make.

Comparing and hashing a list make nothing, but go through all that it holds, as often as it holds it, where no
clock is looked at: what a template makes or passes on may hold only so much, and only so deep.
"""

import sys
import threading
from collections.abc import ItemsView, KeysView, Mapping, ValuesView
from typing import Any

import jinja2.utils
from jinja2.sandbox import SecurityError

VALUE_LIMIT = 16_000_000  # bytes of one text
TOTAL_LIMIT = 64_000_000  # bytes that one rendering may make in all, whether it keeps them or not
NUMBER_LIMIT = 1_000_000  # the largest number that may be multiplied with, or given to a function
ELEMENT = 100  # bytes charged for an element of a list
WEIGHT_LIMIT = 4_000_000  # steps of comparing one list with another
DEPTH_LIMIT = 200  # of lists in lists
_CONTAINERS = (list, tuple, Mapping, set, frozenset, KeysView, ValuesView, ItemsView)
NESTED = 40  # bytes that one character inside a list can become: \U0001f600 at four bytes a letter


class _Account(threading.local):
    """What the rendering in this thread may still make, in bytes, and what the lists in it weigh."""

    left = 0

    def __init__(self) -> None:
        self.weights: dict[
            int, tuple[Any, int, int]
        ] = {}  # by id; holds the list, so that the id stays its own

    def open(self) -> None:
        self.left = TOTAL_LIMIT
        self.weights.clear()

    def close(self) -> None:
        self.left = 0
        self.weights.clear()

    def check(self, size: int, limit: int = VALUE_LIMIT) -> None:
        if size > limit or size > self.left:
            raise SecurityError("it makes texts or lists that are too long")

    def spend(self, size: int, limit: int = VALUE_LIMIT) -> None:
        self.check(size, limit)
        self.left -= size


ACCOUNT = _Account()


def text_size(value: Any, nested: int = NESTED, indent: int = 0) -> int:
    """At most how many bytes str(value) has; the walk through a list of lists ends at the limit."""
    if isinstance(value, str):
        return sys.getsizeof(value)
    size, stack = 0, [(value, 1)]
    while stack:
        item, depth = stack.pop()
        size += ELEMENT + depth * indent
        if isinstance(item, str):
            size += nested * len(item)
        elif isinstance(item, int):
            size += item.bit_length()
        elif isinstance(item, jinja2.utils.Namespace):
            stack.extend((v, depth + 1) for v in getattr(item, "_Namespace__attrs").values())  # noqa: B009
        elif isinstance(item, Mapping):
            ACCOUNT.check(size + ELEMENT * len(item))
            stack.extend((v, depth + 1) for pair in item.items() for v in pair)
        elif isinstance(item, list | tuple | set | frozenset | KeysView | ValuesView | ItemsView):
            ACCOUNT.check(size + ELEMENT * len(item))
            stack.extend((v, depth + 1) for v in item)
        ACCOUNT.check(size)
    return size


def weigh(*values: Any, level: int = 0) -> tuple[int, int]:
    """At most how many steps it takes to compare a list of these with another, and how deep it is. A list is looked
    through once: a template can change none."""
    weight, depth = 1, 0
    for value in values:
        if isinstance(value, str):
            weight += 1 + len(value) // 64
        elif isinstance(value, int):
            weight += 1 + value.bit_length() // 512
        elif isinstance(value, _CONTAINERS):
            inside = _weigh_inside(value, level + 1)
            weight, depth = weight + inside[0], max(depth, 1 + inside[1])
        else:
            weight += 1
        if weight > WEIGHT_LIMIT or level + depth > DEPTH_LIMIT:
            raise SecurityError("its lists are too large or too deep to be compared")
    return weight, depth


def _weigh_inside(value: Any, level: int) -> tuple[int, int]:
    known = ACCOUNT.weights.get(id(value))
    if known is None:
        if level > DEPTH_LIMIT:
            raise SecurityError("its lists are too deep")
        items = (part for pair in value.items() for part in pair) if isinstance(value, Mapping) else value
        known = (value, *weigh(*items, level=level))
        ACCOUNT.weights[id(value)] = known
    return known[1:]


def made(value: Any, given: tuple[Any, ...] = ()) -> Any:
    """Charge a result, unless it is one of the values `given`; returns it."""
    if any(value is one for one in given):
        return value
    if isinstance(value, str):
        ACCOUNT.spend(sys.getsizeof(value))
    elif isinstance(value, bytes | bytearray):
        raise SecurityError("a template cannot make bytes")
    elif isinstance(value, list | tuple | dict | set | frozenset):
        ACCOUNT.spend(ELEMENT * (len(value) + 1), TOTAL_LIMIT)
        weigh(value)
    elif value is not None and not isinstance(value, int | float):
        ACCOUNT.spend(ELEMENT)
    return value


def check_numbers(values: tuple[Any, ...]) -> None:
    for value in values:
        if isinstance(value, int) and abs(value) > NUMBER_LIMIT:
            raise SecurityError("a number is too large here")
