"""How large may be what an operation of a chat template makes.

Every operation that makes text or a list (operators, `~`, slices, literals, calls, filters, blocks, output) is asked
beforehand how large its result can become; what was made is charged to the account (template_account.py).
template_sandbox.py sends every operation here.
"""

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sized
from functools import wraps
from typing import Any

import jinja2
import jinja2.nodes
import jinja2.runtime
from jinja2.sandbox import SecurityError
from markupsafe import Markup

from bitconverter.model.template_account import (
    ACCOUNT,
    ELEMENT,
    TOTAL_LIMIT,
    WEIGHT_LIMIT,
    check_numbers,
    made,
    text_size,
    weigh,
)

# ---- methods of texts ----

_PLAIN = frozenset((
    "strip", "lstrip", "rstrip", "partition", "rpartition", "removeprefix", "removesuffix", "startswith", "endswith",
    "find", "rfind", "index", "rindex", "count", "isalnum", "isalpha", "isascii", "isdecimal", "isdigit",
    "isidentifier", "islower", "isnumeric", "isprintable", "isspace", "istitle", "isupper",
))  # fmt: skip
# one letter becomes up to three
_CASES = frozenset(("upper", "lower", "capitalize", "title", "swapcase", "casefold"))
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

_GROWTH = {"escape": 6, "e": 6, "forceescape": 6, "urlencode": 12} | dict.fromkeys(
    ("upper", "lower", "title", "capitalize"), 3
) | dict.fromkeys(
    ("string", "striptags", "trim", "truncate", "center", "indent", "replace", "format", "wordcount", "safe"), 1
)  # fmt: skip
_WHOLE = frozenset({"join", "sort", "unique", "groupby", "min", "max", "sum", "dictsort"})


def _check_filter(name: str, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Before a filter; args[0] is what it is given. An iterator that it goes through is replaced there by a list."""
    value, options = args[0], [*args[1:], *kwargs.values()]
    if name in _GROWTH:
        _check_growth(name, args, kwargs)
    elif name == "tojson":
        _check_json(value, args[1:], kwargs)
    elif name in _WHOLE:
        args[0] = _as_list(value)
        ACCOUNT.check(text_size(args[0], nested=4))
        if name == "join" and isinstance(args[0], Sized):
            ACCOUNT.check(4 * len(args[0]) * _largest(0, (len(o) for o in options if isinstance(o, str))))
        if name == "sum" and not all(isinstance(o, int | float | str) for o in options):
            raise SecurityError("sum adds numbers only")
    elif name in ("list", "batch", "slice", "reverse") and isinstance(value, Sized):
        ACCOUNT.check(ELEMENT * (len(value) + _largest(0, options)), TOTAL_LIMIT)
    fills_up = name in ("batch", "slice")
    if fills_up and _largest(0, options) * weigh(*options)[0] > 4 * WEIGHT_LIMIT:
        raise SecurityError("it makes lists that are too large to be compared")


def _check_growth(name: str, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Before a filter that makes a text of a text."""
    value, options = args[0], [*args[1:], *kwargs.values()]
    size = text_size(value) * _GROWTH[name]
    ACCOUNT.check(size)
    text = value if isinstance(value, str) else str(value)
    if name == "center":
        ACCOUNT.check(size + 4 * _largest(80, options))
    elif name == "indent":
        width = _largest(4, (len(o) if isinstance(o, str) else o for o in options))
        ACCOUNT.check(4 * (len(text) + (_spaces(text) + 1) * width))
    elif name == "replace":
        old, new = [*map(str, options), "", ""][:2]
        ACCOUNT.check(4 * 6 * (len(text) + text.count(old) * len(new)))
    elif name == "format":
        _check_percent(text, kwargs or tuple(args[1:]))


def _largest(least: int, options: Iterable[Any]) -> int:
    """Of those that are numbers; `least`, where a filter takes that by itself or it is more."""
    return max([least, *(n for n in options if isinstance(n, int))])


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
