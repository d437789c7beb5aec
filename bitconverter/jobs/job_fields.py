"""A job from its fields as a JSON file has them, which may have been damaged or written by somebody else."""

import dataclasses
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin

Job = TypeVar("Job")


def job_of(kind: type[Job], values: Any) -> Job | None:
    """The job of the dataclass `kind`; None where `values` are not its fields, each of the type that it has there, or
    where one without a default is missing."""
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    needed = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
    if not isinstance(values, dict) or not needed <= set(values) <= set(fields):
        return None
    kept: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
    if not all(_fits(value, fields[key].type) for key, value in kept.items()):
        return None
    return kind(**kept)


def _fits(value: object, kind: Any) -> bool:
    """`kind`: such as int, tuple[str, ...], float | None."""
    if not isinstance(kind, UnionType):
        return type(value) is (get_origin(kind) or kind)
    kinds = get_args(kind)
    return type(value) in kinds or (type(value) is int and float in kinds)  # JSON's 3 for a wish of 3.0
