"""Tokens in, text out, one token at a time: whole characters only, and none lost.

Byte-level BPE tokens (Llama 3, Qwen, SmolLM) and SentencePiece's byte-fallback tokens (Llama 2, Mistral) are
pieces of UTF-8, not of text: a character may be spread over several tokens. A token's bytes go through an
incremental UTF-8 decoder, which holds an unfinished character back; so a token costs a constant, whatever the
length of the text before it.

The pieces joined are what Tokenizer.decode gives for all ids at once, with one exception: where a model makes
broken UTF-8 out of byte-fallback tokens, `decode` replaces every byte of that run of tokens by U+FFFD, sound
characters included, and the stream replaces only what is broken (it has shown the sound ones already).
"""

import codecs
import re
from collections.abc import Callable, Sequence
from typing import Any

from bitconverter.format.errors import UserError
from bitconverter.model.tokenizer import Tokenizer

Step = Callable[[bytes, bool], bytes]  # (piece, is it the first one) -> piece


class TextStream:
    """One text. `push` every token, then `finish`."""

    def __init__(
        self, tokenizer: Tokenizer, *, skip_special_tokens: bool = True, continues: bool = False
    ) -> None:
        """`continues`: the tokens follow a text that is there already, so a leading space is one.
        Raises UserError("unsupported-tokenizer") for a decoder that no model of the supported families has."""
        self._tokenizer = tokenizer
        self._continues = continues
        self._skipped = tokenizer.special_ids if skip_special_tokens else frozenset()
        self._steps, self._strip, self._strip_total = _steps(tokenizer.decoder())
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._begin()

    def _begin(self) -> None:
        self._utf8.reset()
        self._strip_count = 0 if self._continues else self._strip_total
        self._first = not self._continues

    def push(self, token_id: int) -> str:
        """The text that this token completes; empty while a character is unfinished. Unknown ids have none."""
        token = self._tokenizer.token(token_id)
        if token is None or token_id in self._skipped:
            return ""
        piece = token.encode("utf-8")
        for step in self._steps:
            piece = step(piece, self._first)
        self._first = False
        return self._without_prefix(self._utf8.decode(piece))

    def finish(self) -> str:
        """What is left: an unfinished character becomes U+FFFD. The stream starts anew."""
        text = self._without_prefix(self._utf8.decode(b"", final=True))
        self._begin()
        return text

    def _without_prefix(self, text: str) -> str:
        """Takes the leading space off that SentencePiece puts before every text."""
        while self._strip_count and text:
            if text[0] != self._strip:
                self._strip_count = 0
                break
            text = text[1:]
            self._strip_count -= 1
        return text


def whole_text(
    tokenizer: Tokenizer, ids: Sequence[int], before: Sequence[int] = (), *, skip_special_tokens: bool = True
) -> str:
    """What `ids` add to the text of `before`, without a character that they do not complete."""
    stream = TextStream(tokenizer, skip_special_tokens=skip_special_tokens)
    for token in before:
        stream.push(token)
    return "".join(stream.push(token) for token in ids)


# ---- the decoders of tokenizer.json ----


def _steps(decoder: dict[str, Any] | None) -> tuple[list[Step], str, int]:
    """Per-token steps, and the character to strip from the whole text's beginning with how many of it."""
    steps: list[Step] = []
    strip, strip_count = "", 0
    if decoder is None:
        return [lambda piece, first: piece if first else b" " + piece], strip, strip_count
    for part in decoder["decoders"] if decoder["type"] == "Sequence" else [decoder]:
        kind = part["type"]
        if kind == "ByteLevel":
            steps.append(_byte_level)
        elif kind == "ByteFallback":
            steps.append(_byte_fallback)
        elif kind == "Metaspace":
            steps.append(_metaspace(part["replacement"], part.get("prepend_scheme", "always")))
        elif kind == "Replace" and "String" in part["pattern"]:
            steps.append(_replace(part["pattern"]["String"], part["content"]))
        elif kind == "Strip" and part["stop"] == 0 and not strip:
            strip, strip_count = part["content"], part["start"]
        elif kind != "Fuse":
            raise UserError(
                "unsupported-tokenizer",
                f"The tokenizer turns tokens into text by a {kind} step, which is not known here. "
                "Models of the Llama, Mistral and Qwen families use ByteLevel, or Replace with ByteFallback: "
                "check that tokenizer.json belongs to this model.",
                kind=kind,
            )
    return steps, strip, strip_count


def _visible_bytes() -> dict[str, int]:
    """GPT-2's table: the printable character that stands for each byte in a byte-level vocabulary."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    table = {chr(byte): byte for byte in plain}
    others = (byte for byte in range(256) if byte not in set(plain))
    table.update({chr(256 + i): byte for i, byte in enumerate(others)})
    return table


_BYTE_OF = _visible_bytes()
_FALLBACK = re.compile(rb"<0x([0-9A-Fa-f]{2})>")


def _byte_level(piece: bytes, first: bool) -> bytes:
    try:
        return bytes([_BYTE_OF[character] for character in piece.decode("utf-8")])
    except KeyError:  # an added token, written as it is
        return piece


def _byte_fallback(piece: bytes, first: bool) -> bytes:
    match = _FALLBACK.fullmatch(piece)
    return piece if match is None else bytes([int(match[1], 16)])


def _replace(pattern: str, content: str) -> Step:
    old, new = pattern.encode("utf-8"), content.encode("utf-8")
    return lambda piece, first: piece.replace(old, new)


def _metaspace(replacement: str, scheme: str) -> Step:
    mark = replacement.encode("utf-8")

    def step(piece: bytes, first: bool) -> bytes:
        return piece.replace(mark, b"" if first and scheme != "never" else b" ")

    return step
