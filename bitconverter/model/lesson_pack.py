"""From encoded rows to a pack, and from a pack to windows.

What never happens: a token is learned from a window in which it follows another entry's token.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bitconverter.format.pack_file import EXAMPLE, TEXT, Pack
from bitconverter.model.lesson_encoder import Encoded

I32 = npt.NDArray[np.int32]

PIECE_WINDOWS = 4  # a text is divided into pieces of so many windows, of which some are held back
FEW_PIECES = 10  # where that gives fewer pieces, one window is a piece
ROUND = 16  # windows of examples have a multiple of this many tokens
OPEN_WINDOWS = 64  # windows that packing may still put an example into


@dataclass
class PackBuilder:
    """Collects rows; `pack` makes the whole of them."""

    window: int
    together: bool = False
    rows: list[tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8], int, int, int]] = field(
        default_factory=list
    )

    def add(self, encoded: Encoded, file: int, line: int) -> None:
        """One row: ids, mask, kind, and where it came from."""
        ids, mask = np.array(encoded.ids, np.uint32), np.array(encoded.learned, np.uint8)
        self.rows.append((ids, mask, encoded.kind, file, line))

    def pack(
        self,
        files: Sequence[str],
        name: str,
        tokenizer_sha256: str,
        share: float,
        seed: int,
        notes: dict[str, str],
    ) -> Pack:
        """`share` of the entries, drawn by `seed`, is held back: at least one of two or more, none of one."""
        texts = sum(len(ids) for ids, _, kind, _, _ in self.rows if kind == TEXT)
        size = PIECE_WINDOWS * self.window
        if texts < FEW_PIECES * size:
            size = self.window
        parts = [part for row in self.rows for part in _pieces(row, size)]
        lengths = [len(ids) for ids, _, _, _, _ in parts]
        held = np.zeros(len(parts), np.uint8)
        count = min(len(parts) - 1, max(1, round(share * len(parts)))) if share else 0
        held[np.random.default_rng(seed).permutation(len(parts))[:count]] = 1
        return Pack(
            tokens=np.concatenate([ids for ids, _, _, _, _ in parts]),
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint64),
            mask=np.concatenate([mask for _, mask, _, _, _ in parts]),
            kinds=np.array([kind for _, _, kind, _, _ in parts], np.uint8),
            held=held,
            places=np.array([(file, line) for _, _, _, file, line in parts], np.uint32),
            files=tuple(files), name=name, tokenizer_sha256=tokenizer_sha256, window=self.window,
            together=self.together, notes=notes,
        )  # fmt: skip


def _pieces(
    row: tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8], int, int, int], size: int
) -> list[tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8], int, int, int]]:
    """An example whole; a text in pieces, which share one token: what ends one begins the next, so all but the
    text's first token is learned."""
    ids, mask, kind, file, line = row
    if kind == EXAMPLE or len(ids) <= size + 1:
        return [row]
    parts = []
    for start in range(0, len(ids) - 1, size):
        learned = mask[start : start + size + 1].copy()
        learned[0] = 0
        parts.append((ids[start : start + size + 1], learned, kind, file, line))
    return parts


@dataclass(frozen=True)
class Windows:
    """tokens and targets i32 [n, window]; held bool [n]."""

    tokens: I32
    targets: I32
    held: npt.NDArray[np.bool_]


def pack_windows(pack: Pack, window: int) -> Windows:
    """Texts are cut into whole windows, one behind the other. Examples get a window each, filled up at its end, or
    share one where they fit whole (`pack.together`). No window has learned and held back tokens both."""
    filled: list[tuple[I32, I32]] = []
    held: list[bool] = []
    for is_held in (False, True):
        which = np.flatnonzero(pack.held == is_held)
        runs = [_shifted(pack, int(number)) for number in which if pack.kinds[number] == TEXT]
        rows = [_shifted(pack, int(number)) for number in which if pack.kinds[number] == EXAMPLE]
        parts = [*_cut(runs, window), *(_shared(rows, window) if pack.together else rows)]
        filled += parts
        held += [is_held] * len(parts)
    longest = max((len(tokens) for tokens, _ in filled), default=1)
    width = min(window, -(-longest // ROUND) * ROUND)
    tokens, targets = np.zeros((len(filled), width), np.int32), np.full((len(filled), width), -1, np.int32)
    for i, (ids, wanted) in enumerate(filled):
        tokens[i, : len(ids)], targets[i, : len(ids)] = ids, wanted
    return Windows(tokens, targets, np.array(held, bool))


def count_windows(pack: Pack, window: int) -> tuple[int, int]:
    """How many pack_windows() makes: those that are learned, those that are held back."""
    counts = []
    for is_held in (False, True):
        which = [int(number) for number in np.flatnonzero(pack.held == is_held)]
        texts = [pack.entry(number)[1][1:] for number in which if pack.kinds[number] == TEXT]
        learned = np.concatenate([np.zeros(0, np.uint8), *texts]) == 1
        cut = sum(bool(learned[at : at + window].any()) for at in range(0, len(learned), window))
        examples = [number for number in which if pack.kinds[number] == EXAMPLE]
        shared = _shared([_shifted(pack, n) for n in examples], window) if pack.together else examples
        counts.append(cut + len(shared))
    return counts[0], counts[1]


def _shifted(pack: Pack, number: int) -> tuple[I32, I32]:
    """An entry as (tokens, what should follow each or -1), one shorter than the entry."""
    tokens, mask = pack.entry(number)
    ids = tokens.astype(np.int32)
    return ids[:-1], np.where(mask[1:] == 1, ids[1:], -1).astype(np.int32)


def _cut(runs: list[tuple[I32, I32]], window: int) -> list[tuple[I32, I32]]:
    if not runs:
        return []
    tokens, targets = np.concatenate([t for t, _ in runs]), np.concatenate([t for _, t in runs])
    return [
        (tokens[at : at + window], targets[at : at + window])
        for at in range(0, len(tokens), window)
        if (targets[at : at + window] >= 0).any()
    ]


def _shared(rows: list[tuple[I32, I32]], window: int) -> list[tuple[I32, I32]]:
    """Each example in the first of the open windows that has room (first fit), else in a new one."""
    bins: list[list[tuple[I32, I32]]] = []
    sizes: list[int] = []
    for row in rows:
        for at in range(max(0, len(bins) - OPEN_WINDOWS), len(bins)):
            if sizes[at] + len(row[0]) <= window:
                bins[at].append(row)
                sizes[at] += len(row[0])
                break
        else:
            bins.append([row])
            sizes.append(len(row[0]))
    return [(np.concatenate([t for t, _ in rows]), np.concatenate([t for _, t in rows])) for rows in bins]
