"""Entries and windows: nothing is learned across a boundary, nothing is lost, and the split is the seed's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitconverter.format.pack_file import EXAMPLE, TEXT, Pack
from bitconverter.model.lesson_encoder import Encoded
from bitconverter.model.lesson_pack import PackBuilder, count_windows, pack_windows


def build(
    rows: list[Encoded], window: int, share: float = 0.2, seed: int = 0, together: bool = False
) -> Pack:
    builder = PackBuilder(window, together)
    for number, row in enumerate(rows):
        builder.add(row, 0, number + 1)
    return builder.pack(["a"], "a", "ab" * 32, share, seed, {})


def example(first: int, prompt: int, answer: int) -> Encoded:
    ids = list(range(first, first + prompt + answer))
    return Encoded(ids, [False] * prompt + [True] * answer, EXAMPLE)


def text(first: int, length: int) -> Encoded:
    return Encoded(list(range(first, first + length)), [False] + [True] * (length - 1), TEXT)


def learned(rows: list[Encoded]) -> list[tuple[int, int]]:
    """(token before, learned token) of every learned place."""
    return sorted(
        (row.ids[i - 1], row.ids[i]) for row in rows for i in range(1, len(row.ids)) if row.learned[i]
    )


def taught(pack: Pack, window: int) -> list[tuple[int, int]]:
    windows = pack_windows(pack, window)
    assert sum(count_windows(pack, window)) == len(windows.tokens)
    places = windows.targets >= 0
    return sorted(zip(windows.tokens[places].tolist(), windows.targets[places].tolist(), strict=True))


@st.composite
def lessons(draw: st.DrawFn) -> list[Encoded]:
    rows, first = [], 1
    for _ in range(draw(st.integers(1, 12))):
        if draw(st.booleans()):
            rows.append(example(first, draw(st.integers(1, 8)), draw(st.integers(1, 9))))
        else:
            rows.append(text(first, draw(st.integers(2, 200))))
        first += len(rows[-1].ids)
    return rows


@given(lessons(), st.booleans(), st.integers(16, 20))
def test_every_learned_token_is_learned_once_behind_the_one_before_it(
    rows: list[Encoded], together: bool, window: int
) -> None:
    pack = build(rows, 16, together=together)
    assert taught(pack, window) == learned(rows)


@given(lessons(), st.integers(0, 5))
def test_no_window_is_of_both_sides_and_the_split_is_the_seeds(rows: list[Encoded], seed: int) -> None:
    pack, again = build(rows, 16, seed=seed), build(rows, 16, seed=seed)
    np.testing.assert_array_equal(pack.held, again.held)
    assert 0 < pack.held.sum() < len(pack) or len(pack) == 1
    windows = pack_windows(pack, 16)
    assert sum(count_windows(pack, 16)) == len(windows.tokens)
    held = {
        token for number in np.flatnonzero(pack.held) for token in pack.entry(int(number))[0][1:].tolist()
    }
    for targets, is_held in zip(windows.targets, windows.held, strict=True):
        assert all((target in held) == is_held for target in targets[targets >= 0].tolist())


def test_another_seed_holds_back_others() -> None:
    rows = [example(10 * k, 2, 2) for k in range(1, 40)]
    splits = {tuple(build(rows, 16, seed=seed).held) for seed in range(5)}
    assert len(splits) == 5 and all(sum(split) == 8 for split in splits)


def test_a_text_becomes_pieces_and_whole_windows() -> None:
    pack = build([text(1, 3201)], 16)  # 3,200 learned tokens: 50 pieces of 4 windows
    assert len(pack) == 50 and pack.held.sum() == 10
    windows = pack_windows(pack, 16)
    assert sum(count_windows(pack, 16)) == len(windows.tokens)
    assert windows.tokens.shape == (200, 16) and (windows.targets == windows.tokens + 1).all()
    assert len(build([text(1, 321)], 16)) == 20  # a short one: pieces of a window each
    assert len(build([text(1, 17)], 16)) == 1


def test_examples_stay_whole_and_share_windows_only_when_asked() -> None:
    rows = [example(100 * k, 3, 3) for k in range(1, 9)]
    alone, shared = (
        pack_windows(build(rows, 16, share=0.0, together=together), 16) for together in (False, True)
    )
    assert len(alone.tokens) == 8 and len(shared.tokens) == 3  # three fives fit into sixteen
    for windows in (alone, shared):
        for tokens in windows.tokens:
            starts = [t for t in tokens.tolist() if t and t % 100 == 0]
            for start in starts:
                at = tokens.tolist().index(start)
                assert tokens[at : at + 5].tolist() == list(range(start, start + 5))


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_one_entry_is_never_held_back(share: float) -> None:
    assert build([example(1, 2, 2)], 16, share=share).held.tolist() == [0]
