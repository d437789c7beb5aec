"""On what a model runs, and why, in words; what the graphics cards of this PC are good for."""

from typing import TYPE_CHECKING, Any

from bitconverter.gui.messages import device_reason, format_size, steps_text, tr
from bitconverter.jobs.device_word import CPU
from bitconverter.jobs.hardware import Hardware, bits_on_card

if TYPE_CHECKING:
    from bitconverter.jobs.chat import ChatSession

ISA_NAMES = {
    "avx2": "AVX2",
    "avx-vnni": "AVX-VNNI",
    "avx512": "AVX-512",
    "avx512-vnni": "AVX-512 VNNI",
    "avx512-vbmi": "AVX-512 VBMI",
}
SIZES = (("8B", 8.0e9), ("3B", 3.2e9), ("1B", 1.2e9))  # largest first
GOOD_BITS = 3.25  # of a model that is worth talking to
MAKERS = ("NVIDIA ", "GeForce ")  # left out of a card's name where there is little room


def short_name(card: str) -> str:
    """A card's name without its maker's."""
    for word in MAKERS:
        card = card.replace(word, "")
    return card.strip()


def badge(session: "ChatSession") -> tuple[str, str]:
    """On what an open model runs: in a few words, and in sentences with the reason."""
    placed = session.placed
    fields = {
        "isa": ISA_NAMES.get(session.isa, session.isa), "threads": session.threads, "layers": placed.layers,
        "all_layers": placed.all_layers, "context": f"{session.n_ctx:,}", "family": session.family,
    }  # fmt: skip
    key = "device"
    if placed.on_device:
        key = "device-card" if placed.layers == placed.all_layers else "device-partly"
    words = tr(key, name=short_name(placed.device), **fields)
    tip = tr(f"{key}-tip", name=placed.device, **fields)
    return words, f"{tip}\n{device_reason(placed.code, placed.told())}"


def steps_badge(fields: dict[str, Any]) -> tuple[str, str]:
    """On what the steps of a training run, by the fields of the note "train-device": in a few words, and in sentences
    with the reason."""
    if fields["where"] == CPU:
        return tr("set-device-cpu"), steps_text(fields)
    key = "device-card" if fields["layers"] == fields["all_layers"] else "device-partly"
    return tr(key, name=short_name(fields["device"]), **fields), steps_text(fields)


def answer_device(session: "ChatSession") -> str:
    """What is kept with an answer: names only, the same in every language."""
    placed, processor = session.placed, f"CPU {ISA_NAMES.get(session.isa, session.isa)}"
    if not placed.on_device:
        return processor
    card = f"GPU {short_name(placed.device)}"
    if placed.layers == placed.all_layers:
        return card
    return f"{card} {placed.layers}/{placed.all_layers} + {processor}"


def cards_text(pc: Hardware, device: str) -> str:
    """Of each card of this PC whether it is used, with the setting `device`, and what fits on it."""
    if not pc.cards:
        why = device_reason(pc.no_cards, {"why": pc.why.rstrip(".")})
        return tr("pc-gpu-value", names=", ".join(pc.gpus), why=why) if pc.gpus else tr("pc-gpu-none")
    lines = []
    for number, card in enumerate(pc.cards):
        sizes = {
            "name": card.name,
            "total": format_size(card.total_bytes),
            "free": format_size(card.free_bytes),
        }
        used = device == "auto" or device in (f"cuda:{number}", "cuda" if number == 0 else "")
        lines.append(
            tr("pc-gpu-used", fits=_fits(card.free_bytes), **sizes) if used else tr("pc-gpu-off", **sizes)
        )
    return "\n".join(lines)


def _fits(free: int) -> str:
    size = next((name for name, count in SIZES if bits_on_card(int(count), free) >= GOOD_BITS), "")
    return tr("gpu-fits", size=size) if size else tr("gpu-fits-none")
