"""On what a model runs, and why, in words."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bitconverter.cli import texts
from bitconverter.cli.terminal import as_table, size
from bitconverter.jobs.device_word import CPU

if TYPE_CHECKING:
    from bitconverter.jobs.hardware import Cards
    from bitconverter.jobs.placement import DeviceMemory, Placed
    from bitconverter.store.ran_on import RanOn


def reason(code: str, fields: Mapping[str, Any]) -> str:
    """Why it runs there: `code` and Placed.told(); "" where nothing needs to be said."""
    return texts.DEVICE_WHY.get(code, code).format(**fields)


def where(placed: "Placed", processor: str = "") -> str:
    """`cuda:0 NVIDIA ..., 20 of 32 layers (why)`; `processor`: what to call that."""
    processor = texts.PROCESSOR.format(details=f", {processor}" if processor else "")
    said = processor
    if placed.on_device:
        all_there = placed.layers == placed.all_layers and placed.head
        form = texts.ON_CARD if all_there else texts.ON_CARD_PARTLY
        head = texts.HEAD_TOO if placed.head else ""
        fields = {"layers": placed.layers, "all_layers": placed.all_layers}
        said = form.format(where=placed.where, device=placed.device, head=head, processor=processor, **fields)
    why = reason(placed.code, placed.told())
    return f"{said} ({why})" if why else said


def steps_on(fields: Mapping[str, Any]) -> str:
    """Where the steps of a training run: `where`, `code`, `bytes` and Placed.told()."""
    form = texts.STEPS_ON_PROCESSOR
    if fields["where"] != CPU:
        whole = fields["layers"] == fields["all_layers"]
        form = texts.STEPS_ON_CARD if whole else texts.STEPS_ON_CARD_PARTLY
    more = {"bytes": size(fields["bytes"]), "head": texts.HEAD_TOO if fields["head"] else ""}
    said, why = form.format(**{**fields, **more}), reason(fields["code"], fields)
    return f"{said} ({why})" if why else said


def ran_on(device: "RanOn") -> str:
    """On what a training ran, with all that decides about its last digits."""
    if device.where == CPU:
        return texts.PROCESSOR.format(details="")
    head = texts.HEAD_TOO if device.head else ""
    more = texts.RAN_ON_BEFORE.format(before=device.before) if device.before > 0 else ""
    return texts.RAN_ON_CARD.format(**{**asdict(device), "head": head, "more": more})


def ran_on_briefly(device: "RanOn") -> str:
    """`cpu`, `NVIDIA A2`, `NVIDIA A2 4/6`."""
    if device.where == CPU:
        return CPU
    partly = f" {device.layers}/{device.all_layers}" if device.layers < device.all_layers else ""
    return device.device + partly


def memory_line(memory: "DeviceMemory") -> str:
    """What is taken of a card."""
    return texts.CARD_MEMORY.format(
        used=size(memory.used_bytes), peak=size(memory.peak_bytes), total=size(memory.total_bytes)
    )


def list_of(found: "Cards") -> str:
    """Every device that can be asked for, and why no card can."""
    rows: list[tuple[Any, ...]] = [texts.DEVICES_HEADER]
    processor = texts.PROCESSOR.format(details=f", {found.isa}, {found.threads} threads")
    rows.append(("cpu", processor, "", "", "", ""))
    for number, card in enumerate(found.cards):
        driver = f"{card.driver_version // 1000}.{card.driver_version % 1000 // 10}"
        compute = f"{card.compute_major}.{card.compute_minor}"
        memory = size(card.total_bytes), size(card.free_bytes)
        rows.append((f"cuda:{number}", card.name, *memory, compute, driver))
    lines = [as_table(rows, right={2, 3, 4, 5})]
    if found.code:
        why = reason(found.code, {"why": found.why.rstrip(".")})
        names = ", ".join(found.names)
        lines.append(
            texts.NO_CARD_NAMED.format(names=names, why=why) if names else texts.NO_CARD.format(why=why)
        )
    return "\n".join(lines)
