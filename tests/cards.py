"""A PC with graphics cards, as far as the jobs can see: what the driver tells, and what a placement comes to.

Nothing is put anywhere: the model goes on running on the processor.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bitconverter.engine import (
    DeviceInfo,
    DeviceMemory,
    Engine,
    EngineError,
    Model,
    Placement,
    PlacementParams,
)
from bitconverter.engine import device as engine_device
from bitconverter.jobs import placement

GB = 10**9


def card(name: str = "NVIDIA GeForce RTX 4070", total: int = 12 * GB, free: int = 11 * GB) -> DeviceInfo:
    """A card with so many bytes."""
    return DeviceInfo(name, "cuda", 8, 9, 46, 13000, total, free)


@pytest.fixture
def no_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without the library for graphics cards."""
    monkeypatch.setattr(engine_device, "FOLDER", Path(__file__).parent)


@dataclass
class Pretended:
    """What was asked of the cards."""

    params: list[PlacementParams] = field(default_factory=list)


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Pretended]:
    """A function: cards, then either how many layers fit (None: all), or the error that each placement ends in."""

    def set_up(*cards: DeviceInfo, layers: int | None = None, error: EngineError | None = None) -> Pretended:
        found = Pretended()

        def place(model: Model, params: PlacementParams) -> Placement:
            found.params.append(params)
            if error is not None:
                raise error
            most = model.info.n_layers if layers is None else layers
            if params.n_layers >= 0:
                most = min(most, params.n_layers)
            return Placement(most, layers is None, 3 * GB, GB // 2, 4 * GB, 11 * GB)

        def device_info(engine: Engine, number: int) -> DeviceInfo:
            return cards[number]

        monkeypatch.setattr(placement, "open_backend", lambda engine: len(cards))
        monkeypatch.setattr(placement, "device_info", device_info)
        monkeypatch.setattr(placement, "place", place)
        memory = DeviceMemory(3 * GB, 4 * GB, 12 * GB, 8 * GB)
        monkeypatch.setattr(placement, "device_memory", lambda engine, number: memory)
        return found

    return set_up
