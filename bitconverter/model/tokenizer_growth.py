"""How much longer a tokenizer can make a text: forty steps of "a" to "aa" would ask for 2^40 letters, and the
library ends the process where memory is at its end. So the bound is worked out before any text is touched."""

import base64
import json
import math
import struct
from typing import Any

import tokenizers

# Letters out for a letter in. Real files: 2 (Llama 2's first space), 18 (NFKC); a product of them is far below.
_LIMIT = 100
# The longest that these make of one letter, by Unicode's tables (its FAQ "Normalization" has the factors).
_BY_TABLE = {
    "NFC": 3,
    "NFD": 4,
    "NFKC": 18,
    "NFKD": 18,
    "Lowercase": 3,
    "BertNormalizer": 12,
    "ByteLevel": 4,
    "Metaspace": 2,
}


def check_growth(tokenizer: tokenizers.Tokenizer) -> None:
    """Raises ValueError where a text could come to more than a hundred times its letters, or its tokens."""
    for part, growth in (
        ("normalizer", _of_steps(_state(tokenizer.normalizer), "normalizers")),
        ("pre_tokenizer", _of_steps(_state(tokenizer.pre_tokenizer), "pretokenizers")),
        ("decoder", _of_steps(_state(tokenizer.decoder), "decoders")),
        ("post_processor", _of_template(_state(tokenizer.post_processor))),
    ):
        if growth > _LIMIT:
            raise ValueError(f"its {part} makes a text more than {_LIMIT} times longer")


def _state(part: Any) -> dict[str, Any]:
    return {} if part is None else dict(json.loads(part.__getstate__()))


def _of_steps(step: dict[str, Any], steps: str) -> float:
    """Letters out for a letter in, at most; one step's, or the product of a sequence's."""
    kind = step.get("type")
    if kind == "Sequence":
        return math.prod(_of_steps(inner, steps) for inner in step[steps])
    if kind == "Replace":
        return _of_replace(step)
    if kind == "Prepend":  # before each piece between special tokens, which may be a letter
        return 1 + len(step["prepend"])
    if kind == "Precompiled":
        return _of_precompiled(step["precompiled_charsmap"])
    return _BY_TABLE.get(str(kind), 1)


def _of_replace(step: dict[str, Any]) -> float:
    found: str | None = step["pattern"].get("String")
    if found:
        return max(1.0, len(step["content"]) / len(found))
    return 1 + len(step["content"])  # an expression, or nothing at all, is found between two letters as well


def _of_precompiled(charsmap: str) -> float:
    """SentencePiece's table: a trie with its size before it, then what letters become, each ended by a zero byte."""
    table = base64.b64decode(charsmap)
    (trie,) = struct.unpack_from("<I", table)
    return max(len(text.decode(errors="replace")) for text in table[4 + trie :].split(b"\0")) or 1


def _of_template(step: dict[str, Any]) -> float:
    """How often a text stands in what its template makes of it, and how many tokens are written beside it."""
    if step.get("type") == "Sequence":
        return math.prod(_of_template(inner) for inner in step["processors"])
    if step.get("type") != "TemplateProcessing":
        return 1
    own = {name: len(token["ids"]) for name, token in step["special_tokens"].items()}
    return 1.0 * sum(
        1 if "Sequence" in piece else own.get(piece["SpecialToken"]["id"], 0) for piece in step["single"]
    )
