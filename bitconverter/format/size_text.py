"""Sizes in sentences that compare two of them: rounded so that what is too little never reads as enough."""

import math
from collections.abc import Callable


def at_least(count: int) -> str:
    """So many bytes are needed: rounded up."""
    return _told(count, math.ceil)


def at_most(count: int) -> str:
    """So many bytes are there: rounded down."""
    return _told(count, math.floor)


def _told(count: int, rounded: Callable[[float], int]) -> str:
    unit, name = (10**9, "GB") if count >= 10**9 else (10**6, "MB")
    return f"{rounded(100 * count / unit) / 100:.2f} {name}"
