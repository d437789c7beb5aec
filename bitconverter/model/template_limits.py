"""How large may be what a chat template makes: the account of a rendering, and what asks it.

A template is a foreign program. Every operation that makes text or a list (operators, `~`, slices, literals,
calls, filters, blocks, output) is asked beforehand how large its result can become, and what was made is
charged to the account. template_sandbox.py sends every operation here.

Comparing and hashing a list make nothing, but go through all that it holds, as often as it holds it, where no
clock is looked at: what a template makes or passes on may hold only so much, and only so deep.
"""

import re
import sys
import threading
from collections.abc import Callable, ItemsView, KeysView, Mapping, Sized, ValuesView
from functools import wraps
from typing import Any

import jinja2
import jinja2.nodes
import jinja2.runtime
import jinja2.sandbox
import jinja2.utils
from jinja2.sandbox import SecurityError
from markupsafe import Markup

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


# ---- methods of texts ----

_PLAIN = frozenset(
    (
        *(
            "strip",
            "lstrip",
            "rstrip",
            "partition",
            "rpartition",
            "removeprefix",
            "removesuffix",
            "startswith",
        ),
        *(
            "endswith",
            "find",
            "rfind",
            "index",
            "rindex",
            "count",
            "isalnum",
            "isalpha",
            "isascii",
            "isdecimal",
        ),
        *("isdigit", "isidentifier", "islower", "isnumeric", "isprintable", "isspace", "istitle", "isupper"),
    )
)
_CASES = frozenset(
    ("upper", "lower", "capitalize", "title", "swapcase", "casefold")
)  # one letter: up to three
_PADDING = frozenset(("center", "ljust", "rjust", "zfill"))


def _spaces(text: str) -> int:
    return sum(map(str.isspace, text))


def check_method(name: str, text: str, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Before text.name(*args). An iterator to be joined is replaced in `args` by a list."""
    first = args[0] if args else None
    if name in _CASES:
        ACCOUNT.check(3 * sys.getsizeof(text))
    elif name in _PADDING:
        ACCOUNT.check(4 * (len(text) + first) if isinstance(first, int) else 0)
    elif name == "expandtabs":
        width = first if first is not None else kwargs.get("tabsize", 8)
        ACCOUNT.check(4 * (len(text) + text.count("\t") * width) if isinstance(width, int) else 0)
    elif name in ("split", "rsplit", "splitlines"):
        by = first if name != "splitlines" else None
        by = kwargs.get("sep", by)
        pieces = text.count(by) if isinstance(by, str) and by else _spaces(text)
        ACCOUNT.spend(sys.getsizeof(text) + ELEMENT * pieces, TOTAL_LIMIT)
    elif name == "replace" and len(args) > 1 and all(isinstance(a, str) for a in args[:2]):
        ACCOUNT.check(4 * (len(text) + text.count(args[0]) * len(args[1])))
    elif name == "join" and args:
        args[0] = _as_list(first)
        sizes = sum(len(piece) for piece in args[0] if isinstance(piece, str))
        ACCOUNT.check(4 * (sizes + len(args[0]) * len(text)))
    elif name not in _PLAIN and name != "replace":
        raise SecurityError(f"the method {name} of a text is not available")


def _as_list(value: Any) -> Any:
    """An iterator's values as a list; what has a length stays as it is."""
    return value if isinstance(value, Sized) or not hasattr(value, "__iter__") else list(value)


def _check_percent(text: str, right: Any) -> None:
    """Before text % right."""
    if re.search(r"%[^a-zA-Z%]*\*", text):
        raise SecurityError("a field cannot take its width from a value")
    widths = sum(int(digits[:9]) for digits in re.findall(r"\d+", text))
    values = right if isinstance(right, tuple) else (right,)
    quoted = re.search(r"%[^a-zA-Z%]*[ra]", text) is not None
    sizes = sum(text_size((value,) if quoted else value) for value in values)
    if isinstance(right, Mapping):  # each may be written again and again
        sizes *= text.count("%")
    ACCOUNT.check(sys.getsizeof(text) + 4 * widths + 64 * text.count("%") + 4 * sizes)


# ---- filters ----

_GROWTH = {"escape": 6, "e": 6, "forceescape": 6, "urlencode": 12, "tojson": 1} | dict.fromkeys(
    ("upper", "lower", "title", "capitalize"), 3
) | dict.fromkeys(
    ("string", "striptags", "trim", "truncate", "center", "indent", "replace", "format", "wordcount", "safe"), 1
)  # fmt: skip
_WHOLE = frozenset({"join", "sort", "unique", "groupby", "min", "max", "sum", "dictsort"})


def _check_filter(name: str, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Before a filter; args[0] is what it is given."""
    value, options = args[0], [*args[1:], *kwargs.values()]
    if name in _GROWTH and name != "tojson":
        size = text_size(value) * _GROWTH[name]
        ACCOUNT.check(size)
        text = value if isinstance(value, str) else str(value)
        if name == "center":
            ACCOUNT.check(size + 4 * max([80, *(n for n in options if isinstance(n, int))]))
        elif name == "indent":
            width = max(
                [4, *(len(o) if isinstance(o, str) else o for o in options if isinstance(o, int | str))]
            )
            ACCOUNT.check(4 * (len(text) + (_spaces(text) + 1) * width))
        elif name == "replace":
            old, new = [*map(str, options), "", ""][:2]
            ACCOUNT.check(4 * 6 * (len(text) + text.count(old) * len(new)))
        elif name == "format":
            _check_percent(text, kwargs or tuple(args[1:]))
    elif name == "tojson":
        _check_json(value, args[1:], kwargs)
    elif name in _WHOLE:
        args[0] = _as_list(value)
        ACCOUNT.check(text_size(args[0], nested=4))
        if name == "join" and isinstance(args[0], Sized):
            ACCOUNT.check(4 * len(args[0]) * max([0, *(len(o) for o in options if isinstance(o, str))]))
        if name == "sum" and not all(isinstance(o, int | float | str) for o in options):
            raise SecurityError("sum adds numbers only")
    elif name in ("list", "batch", "slice", "reverse") and isinstance(value, Sized):
        numbers = max([0, *(n for n in options if isinstance(n, int))])
        ACCOUNT.check(ELEMENT * (len(value) + numbers), TOTAL_LIMIT)
    if name in ("batch", "slice"):  # which fill up
        numbers = max([0, *(n for n in options if isinstance(n, int))])
        if numbers * weigh(*options)[0] > 4 * WEIGHT_LIMIT:
            raise SecurityError("it makes lists that are too large to be compared")


def _check_json(value: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
    indent = args[1] if len(args) > 1 else kwargs.get("indent")
    separators = args[2] if len(args) > 2 else kwargs.get("separators")
    width = indent if isinstance(indent, int) else len(indent or "")
    if width > 64 or any(len(text) > 64 for text in separators or ()):
        raise SecurityError("the indentation is too large")
    # at most \ud83d\ude00 for a character when ASCII is asked for; else six letters for a control character
    ACCOUNT.check(text_size((value,), nested=12 if value is None or True in (*args, *kwargs.values()) else 8,
                            indent=max(width, 0)) + 128 * len(separators or ()))  # fmt: skip


def checked_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter with the checks before and the charge after."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        skip = int(
            isinstance(args[0], jinja2.runtime.Context | jinja2.nodes.EvalContext | jinja2.Environment)
        )
        values = list(args[skip:])
        if not values:
            return function(*args, **kwargs)
        check_numbers((*values[1:], *kwargs.values()))
        weigh(*values, *kwargs.values())
        _check_filter(name, values, kwargs)
        return made(function(*args[:skip], *values, **kwargs), (*values, *kwargs.values()))

    return call


def check_binop(operator: str, left: Any, right: Any) -> None:
    """Before left + right, left * right, left ** right or left % right."""
    if operator == "%" and isinstance(left, str):
        _check_percent(left, right)
    elif operator == "+":
        for one in (left, right):
            if isinstance(one, str):
                growth = 6 if isinstance(one, Markup) else 1  # the other one is escaped
                ACCOUNT.check(growth * (sys.getsizeof(left) + sys.getsizeof(right)))
            elif isinstance(one, list | tuple):
                ACCOUNT.check(ELEMENT * len(one), TOTAL_LIMIT)
    elif operator in ("*", "**"):
        check_numbers((left, right))
        for one, times in ((left, right), (right, left)):
            if isinstance(one, str | list | tuple) and isinstance(times, int):
                ACCOUNT.check((4 if isinstance(one, str) else ELEMENT) * len(one) * times)
        if operator == "**" and isinstance(right, int) and right > 64:
            raise SecurityError("the exponent is too large")
