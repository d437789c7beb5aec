"""A row as the model will see it: its text, token by token read back, and which parts are learned."""

from dataclasses import dataclass
from itertools import groupby

from bitconverter.model.lesson_encoder import Encoded
from bitconverter.model.tokenizer import Tokenizer

MOST_TOKENS = 2000  # of a text that has no end


@dataclass(frozen=True)
class Preview:
    """pieces: (text, whether it is learned), in order; `tokens` and `learned` count the whole row; `cut`: only its
    beginning is in `pieces`."""

    file: str
    line: int
    tokens: int
    learned: int
    pieces: tuple[tuple[str, bool], ...]
    cut: bool = False
    place: int = 0  # in a list, from 1


def preview(tokenizer: Tokenizer, encoded: Encoded, file: str, line: int, place: int = 0) -> Preview:
    """Read back from the ids, with all special tokens: what is shown is what is learned from. A character that a border
    goes through is shown behind it."""
    ids, learned = encoded.ids[:MOST_TOKENS], encoded.learned[:MOST_TOKENS]
    whole = tokenizer.decode(ids, skip_special_tokens=False)
    pieces: list[tuple[str, bool]] = []
    stop, before = 0, ""
    for is_learned, run in groupby(learned):
        stop += len(list(run))
        # of the whole beginning, because some decoders drop the space before the first word
        text = tokenizer.decode(ids[:stop], skip_special_tokens=False)
        while text.endswith("�") and not whole.startswith(text):
            text = text[:-1]
        pieces.append((text.removeprefix(before), is_learned))
        before = text
    return Preview(
        file, line, len(encoded.ids), sum(encoded.learned), tuple(pieces), len(ids) < len(encoded.ids), place
    )
