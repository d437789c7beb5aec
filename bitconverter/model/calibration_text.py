"""The text that a conversion is calibrated on: windows of tokens, drawn the same way for the same seed.

The default mix lies in resources/calibration (its README says where it is from); the user's own files replace it.
"""

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bitconverter.format.errors import UserError
from bitconverter.format.text_file import read_text
from bitconverter.model.chat_template import ChatTemplate, load_chat_template
from bitconverter.model.tokenizer import Tokenizer

Conversation = list[dict[str, str]]  # messages: role, content

# shares of the windows
MIX = {"prose.txt": 10, "docs.txt": 9, "code.txt": 7, "chat.json": 5, "japanese.txt": 3}
TODAY = datetime(2026, 1, 1)  # for templates that tell the date: the same on every day


@dataclass(frozen=True)
class CalibrationText:
    """ids i32 [windows, window]; `sha256` of them; `sources` names the files."""

    ids: npt.NDArray[np.int32]
    sha256: str
    sources: tuple[str, ...]


def calibration_text(
    folder: Path, paths: Sequence[str], *, windows: int, window: int, seed: int, vocab: int,
    own_chat: Sequence[Conversation] = (),
) -> CalibrationText:  # fmt: skip
    """`windows` windows of `window` tokens by the tokenizer (and chat template) of `folder`.

    `paths`: UTF-8 text files, an equal share each; none: the default mix, of which `own_chat`, conversations of the
    model itself (jobs/own_chat.py), joins the dialogue. Raises UserError: "text-encoding",
    "text-unreadable", "calibration-short", and those of the tokenizer.
    """
    tokenizer = Tokenizer(folder)
    tokenizer.check_fits(vocab)
    start = tokenizer.encode("", add_special_tokens=True)[:1]
    bos = start if start == [tokenizer.bos_id] else []
    texts = [(Path(p).name, read_text(p), 1) for p in paths] or _default_texts(folder, own_chat)
    shares = _shares([weight for _, _, weight in texts], windows)
    draw = np.random.Generator(np.random.PCG64(seed))
    rows = []
    for (name, text, _), count in zip(texts, shares, strict=True):
        ids = tokenizer.encode(text, add_special_tokens=False)
        rows += _windows(name, ids, bos, count, window, draw)
    table = np.array(rows, np.int32)
    sha = hashlib.sha256(table.tobytes()).hexdigest()
    return CalibrationText(table, sha, tuple(name for name, _, _ in texts))


def _windows(
    name: str, ids: list[int], bos: list[int], count: int, window: int, draw: np.random.Generator
) -> list[list[int]]:
    """One window from each of `count` equal parts of the text; they overlap only where it is short."""
    take = window - len(bos)
    if len(ids) < take:
        raise UserError(
            "calibration-short",
            f"The calibration text {name} has {len(ids)} tokens; at least {take} are needed. Give a longer text.",
            file=name, tokens=len(ids), needed=take,
        )  # fmt: skip
    last = len(ids) - take
    edges = np.linspace(0, last + 1, count + 1)
    starts = [min(last, int(draw.uniform(a, b))) for a, b in itertools.pairwise(edges)]
    return [bos + ids[a : a + take] for a in starts]


def _shares(weights: list[int], windows: int) -> list[int]:
    """`windows` in proportion to the weights, largest remainders first."""
    exact = [windows * w / sum(weights) for w in weights]
    shares = [int(value) for value in exact]
    order = sorted(range(len(exact)), key=lambda k: shares[k] - exact[k])
    for k in order[: windows - sum(shares)]:
        shares[k] += 1
    return shares


def _default_texts(folder: Path, own_chat: Sequence[Conversation]) -> list[tuple[str, str, int]]:
    place = files("bitconverter") / "resources" / "calibration"
    texts = []
    for name, weight in MIX.items():
        text = (place / name).read_text(encoding="utf-8")
        if name == "chat.json":
            text = _written(folder, [*json.loads(text), *own_chat])
        texts.append((name, text, weight))
    return texts


def _written(folder: Path, conversations: list[Conversation]) -> str:
    """As the model's chat template writes them, or plainly for a model without one (that can be used, and writes)."""
    try:
        template = load_chat_template(folder)
        text = "\n".join(_rendered(template, conversation) for conversation in conversations)
    except UserError:
        text = ""
    if text.strip():
        return text
    lines = [f"{m['role'].title()}: {m['content']}" for c in conversations for m in c]
    return "\n\n".join(lines)


def _rendered(template: ChatTemplate, conversation: Conversation) -> str:
    """Without its system message where the template accepts none."""
    try:
        return template.render(conversation, add_generation_prompt=False, now=TODAY)
    except UserError as error:
        others = [message for message in conversation if message["role"] != "system"]
        if error.code != "chat-template-refused" or len(others) == len(conversation):
            raise
        return template.render(others, add_generation_prompt=False, now=TODAY)
