"""On what a training ran: what decides about the last digits of its result."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from bitconverter.store.columns import loaded


@dataclass(frozen=True)
class RanOn:
    """`where`: "cpu" or "cuda:N", `device`: that card's name. The last `layers` of the `all_layers` that learn were
    there, and the head if `head`; so were the last `before` of those before them, -1: what comes out of these had been
    computed already."""

    where: str
    device: str = ""
    layers: int = 0
    all_layers: int = 0
    head: bool = False
    before: int = -1

    def differs(self, other: "RanOn") -> bool:
        """Whether sums come in another order there. Two cards of one name are one device."""
        if (self.device, self.layers, self.head) != (other.device, other.layers, other.head):
            return True
        return self.before != other.before and -1 not in (self.before, other.before)


def ran_on_list(text: Any) -> list[RanOn]:
    """The devices that JSON tells of; what is none is left out."""
    found = [_ran_on(value) for value in loaded(text, list)]
    return [device for device in found if device is not None]


def _ran_on(value: Any) -> RanOn | None:
    if not isinstance(value, Mapping) or "where" not in value:
        return None
    told = {field.name: value[field.name] for field in fields(RanOn) if field.name in value}
    wanted = {field.name: type(field.default) for field in fields(RanOn)} | {"where": str}
    return RanOn(**told) if all(type(told[name]) is wanted[name] for name in told) else None
