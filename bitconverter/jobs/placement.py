"""On what a model runs: the processor, or its last layers (or all) on a graphics card, and why.

What is asked for is a word (device_word.py). With `auto` a card is taken when one
works and at least one layer fits; else the model runs on the processor, and the reason is kept. A card that was asked
for by name and cannot be had is an error with numbers, never silently the processor.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from bitconverter.engine import (
    DeviceInfo,
    DeviceMemory,
    Engine,
    EngineError,
    Model,
    NoBackendError,
    NoRoomError,
    Placement,
    PlacementParams,
    UnsupportedError,
    WrongDeviceError,
    device_info,
    device_memory,
    open_backend,
    place,
)
from bitconverter.format.errors import UserError
from bitconverter.jobs.device_word import CPU, Device, card_number
from bitconverter.jobs.opening import open_engine

PROCESSOR_KV = ("int4",)  # kinds of KV cache that only the processor has
# codes of Placed.code under which a card was there and the model is not, or not all, on it: worth telling
SURPRISES = (
    "some-layers", "too-small", "kv-needs-cpu", "lora-needs-cpu", "unsupported", "device-failed", "device-wrong",
)  # fmt: skip


@dataclass(frozen=True)
class Sessions:
    """What will be opened on the model: `count` sessions of these parameters at a time."""

    n_ctx: int
    kv: str = "f16"
    n_batch: int = 0
    count: int = 1


@dataclass(frozen=True)
class Placed:
    """Where a model runs. `where`: "cpu" or "cuda:N"; `device`: that card's name, or that of the card that was tried.
    The last `layers` of `all_layers` are there, and the head if `head`. Bytes as in engine.Placement: `needs` is what
    everything would take there, `room` what there was for it.

    `code` says why: "asked-cpu", "no-backend", "no-driver", "device-failed", "kv-needs-cpu", "lora-needs-cpu",
    "unsupported", "device-wrong", "too-small" (the processor); "all-layers", "asked-layers", "some-layers" (a card);
    those of jobs/training_device.py. `why`: the engine's own sentence where it gave one, else "". `kv`: the session's
    kind of KV cache.
    """

    where: str = CPU
    device: str = ""
    layers: int = 0
    all_layers: int = 0
    head: bool = False
    weight_bytes: int = 0
    session_bytes: int = 0
    needs: int = 0
    room: int = 0
    kv: str = ""
    code: str = "asked-cpu"
    why: str = ""

    @property
    def on_device(self) -> bool:
        """Whether any layer is on a card."""
        return self.where != CPU

    @property
    def surprising(self) -> bool:
        """Whether there is a card that works, and the model is not, or not all, on it without anybody's wish."""
        return self.code in SURPRISES

    def told(self) -> dict[str, Any]:
        """The fields that a sentence about `code` may name."""
        return {
            "device": self.device, "layers": self.layers, "all_layers": self.all_layers, "kv": self.kv,
            "needs": in_bytes(self.needs), "room": in_bytes(self.room), "why": self.why.rstrip("."),
        }  # fmt: skip


def choose_device(model: Model, asked: Device, sessions: Sessions, *, lora: bool = False) -> Placed:
    """Put as much of `model` on a card as was asked for and fits, before its first session; `lora`: a soul with
    low-rank additions will be put on it.

    Raises UserError when a card was asked for by its number and cannot be had: "device-none", "device-number",
    "device-kv", "device-lora", "device-unsupported", "device-wrong", "device-small", "device-failed".
    """
    no = Placed(all_layers=model.info.n_layers, kv=sessions.kv)
    obstacles = {"kv-needs-cpu": sessions.kv in PROCESSOR_KV, "lora-needs-cpu": lora}

    def put(device: int, no: Placed) -> Placed:
        found = place(model, PlacementParams(
            device, -1 if asked.layers is None else asked.layers, sessions.n_ctx, sessions.n_batch, sessions.kv,
            sessions.count, asked.memory or 0,
        ))  # fmt: skip
        return replace(
            no, layers=found.n_layers, head=found.head, weight_bytes=found.weight_bytes,
            session_bytes=found.session_bytes, needs=found.all_bytes, room=found.room_bytes,
            code=_how_much(found, asked, no.all_layers),
        )  # fmt: skip

    return choose_card(model.engine, asked, no, obstacles, put, context=sessions.n_ctx)


def choose_card(
    engine: Engine,
    asked: Device,
    no: Placed,
    obstacles: dict[str, bool],
    put: Callable[[int, Placed], Placed],
    small: str = "too-small",
    **more: Any,
) -> Placed:
    """What put(device, no) says after it has put something on the card that was asked for, or on the best one. Else
    `no` with the reason as a code: one of `obstacles` that is so, or `small` where put() raises NoRoomError. Raises
    UserError when a card was asked for by its number and cannot be had; `more` is for its sentence."""
    asked.check()
    if asked.word == CPU:
        return replace(no, kv="")
    wanted = card_number(asked.word)
    try:
        return _on_a_card(engine, wanted, no, obstacles, put, small, more)
    except _Refused as refused:
        if wanted is not None:
            raise refused.error(asked.word) from refused.__cause__
        return refused.placed


def check_machine(threads: int, cpu: str, asked: Device) -> None:
    """Raises what opening an engine with these raises, and UserError for a card that is asked for by its number and
    is not there: before a model is made."""
    choose_card(open_engine(threads, cpu), asked, Placed(), {}, lambda device, no: no)


def memory_of(model: Model, placed: Placed) -> DeviceMemory | None:
    """What is taken of the card that the model is on; None on the processor."""
    return device_memory(model.engine, card_number(placed.where) or 0) if placed.on_device else None


def look(engine: Engine) -> tuple[tuple[DeviceInfo, ...], str, str]:
    """The cards that can be used, or () with the code ("no-backend", "no-driver", "device-failed") and the sentence
    of why there are none."""
    try:
        return tuple(device_info(engine, n) for n in range(open_backend(engine))), "", ""
    except EngineError as error:
        return (), _code(error), str(error)


# what a card that is there says of a model that is put on it
REFUSALS = {UnsupportedError: "unsupported", WrongDeviceError: "device-wrong"}


class _Refused(Exception):
    """Not on a card: `placed` says why; `cards` and `context` are for the error."""

    def __init__(self, placed: Placed, **more: Any) -> None:
        super().__init__(placed.code)
        self.placed, self.more = placed, more

    def error(self, word: str) -> UserError:
        """For one who asked for a card by its number."""
        code, sentence = ERRORS[self.placed.code]
        fields = {"word": word, **self.placed.told(), **self.more}
        return UserError(code, sentence.format(**fields), **fields)


# what Placed.code is as an error: its code, and the sentence
ERRORS = {
    "no-backend": ("device-none", "{word} cannot be used: {why}. Use --device cpu, or auto."),
    "no-driver": ("device-none", "{word} cannot be used: {why}. Use --device cpu, or auto."),
    "no-device": (
        "device-number",
        "There is no {word}: the graphics cards that can be used are {cards}. Give one of them, cpu or auto.",
    ),
    "kv-needs-cpu": (
        "device-kv",
        "{word} keeps no KV cache of {kv}, only the processor does. Use int8, or --device cpu.",
    ),
    "lora-needs-cpu": (
        "device-lora",
        "The soul holds low-rank additions (LoRA) or whole matrices that are added, which run on the processor only, "
        "not on {word}. "
        "Use --device cpu, or auto.",
    ),
    "unsupported": (
        "device-unsupported",
        "This model does not run on {word}: {why}. Use --device cpu, or auto.",
    ),
    "too-small": (
        "device-small",
        "Not one layer of this model fits on {word} ({device}): with a context of {context} tokens the model takes "
        "{needs}, and only {room} is free for it. Close other programs, use a shorter context or a KV cache of int8, "
        "or use --device cpu.",
    ),
    "delta-needs-cpu": (
        "device-delta",
        "Whole matrices that are added (--adapter delta) are trained on the processor only, not on {word}. "
        "Use --device cpu, or auto, or another adapter.",
    ),
    "train-too-small": (
        "device-train-small",
        "Not one layer that learns fits on {word} ({device}): they take {needs} with what the steps need, and "
        "only {room} is free for it. Close other programs, use a smaller --batch or --window, or --device cpu.",
    ),
    "device-wrong": ("device-wrong", "{word} ({device}) is not used: {why}. Use --device cpu, or auto."),
    "device-failed": ("device-failed", "{word} failed: {why}. Try again, or use --device cpu."),
}


def _on_a_card(
    engine: Engine,
    wanted: int | None,
    no: Placed,
    obstacles: dict[str, bool],
    put: Callable[[int, Placed], Placed],
    small: str,
    more: dict[str, Any],
) -> Placed:
    try:
        device = _card(engine, wanted, open_backend(engine), no)
    except EngineError as error:
        raise _Refused(replace(no, code=_code(error), why=str(error))) from error
    for code, there in obstacles.items():
        if there:
            raise _Refused(replace(no, code=code, device=_name(engine, device)))
    try:
        return replace(put(device, no), where=f"cuda:{device}", device=_name(engine, device))
    except NoRoomError as error:
        no = replace(no, device=_name(engine, device), needs=error.all_bytes, room=error.room_bytes)
        raise _Refused(replace(no, code=small, why=str(error)), **more) from error
    except EngineError as error:
        code = REFUSALS.get(type(error), "device-failed")
        raise _Refused(replace(no, code=code, why=str(error), device=_name(engine, device))) from error


def _card(engine: Engine, wanted: int | None, count: int, no: Placed) -> int:
    """The number of the card to try: the one that is `wanted`, else the one with most room. Cards are only described
    where that decides: it takes a while, unless something is on them."""
    if wanted is not None and wanted >= count:
        names = ", ".join(f"cuda:{n} ({_name(engine, n)})" for n in range(count))
        raise _Refused(replace(no, code="no-device"), cards=names)
    if wanted is None and count > 1:
        return max(range(count), key=lambda n: (device_info(engine, n).free_bytes, -n))
    return wanted or 0


def _name(engine: Engine, device: int) -> str:
    """For people; a card that cannot be described has its number."""
    try:
        return device_info(engine, device).name
    except EngineError:
        return f"cuda:{device}"


def _how_much(found: Placement, asked: Device, layers: int) -> str:
    if found.n_layers >= layers and found.head:
        return "all-layers"
    return "asked-layers" if found.n_layers == asked.layers else "some-layers"


def _code(error: EngineError) -> str:
    if isinstance(error, NoBackendError):
        return "no-backend"
    return "no-driver" if isinstance(error, UnsupportedError) else "device-failed"


def in_bytes(count: int) -> str:
    """Bytes for people."""
    return f"{count / 1e9:.2f} GB" if count >= 10**8 else f"{count / 1e6:.1f} MB"
