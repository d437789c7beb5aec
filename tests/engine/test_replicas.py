"""Replicas of windows with something of their own are to the bit what each of them alone is."""

from pathlib import Path

import numpy as np
import pytest
from golden_blocks import GOLDEN, SEED, filled
from reference.converted import write_converted

from bitconverter.engine import MATRICES, Block, Engine, InvalidError

WINDOW, RANK = 29, 5
MLP = ("gate", "up", "down")
LENGTHS = {
    "one token": [1],
    "two windows": [2, 1],
    "odd": [29, 1, 7, 13],
    "a batch and one": [29] * 8 + [25],  # 257 tokens: alone, the last of them is a product of its own
    "more than a group": [29, 3] * 33,  # 1,056 tokens: groups end inside of replicas
}
KINDS = ("scales", "lora", "delta", "all")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("replicas") / "model"
    write_converted(GOLDEN / "qwen3", place, 2, seed=SEED)
    return place


class Own:
    """What `count` replicas of a block have of their own; set on it is the first one's."""

    def __init__(self, block: Block, kind: str, count: int) -> None:
        rng = np.random.default_rng(4)
        self.scales: dict[str, np.ndarray] = {}
        self.lora: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.delta: dict[str, np.ndarray] = {}

        def draw(size: float, *shape: int) -> np.ndarray:
            return (rng.standard_normal((count, *shape)) * size).astype(np.float32)

        for name in MATRICES:
            rows, cols = block.shapes[name]
            if kind in ("scales", "all"):
                self.scales[name] = np.exp(draw(0.3, rows)) / 100
            if kind in ("lora", "all") and name in ("q", "v", "o", "down"):
                self.lora[name] = draw(1 / np.sqrt(cols), RANK, cols), draw(0.2, RANK, rows)
            if kind in ("delta", "all") and name in MLP:
                self.delta[name] = draw(0.1, rows, cols)
        self.put_on(block, 0)

    def put_on(self, block: Block, i: int) -> None:
        for name, (a, b) in self.lora.items():
            block.set_lora(name, a[i], b[i])
        for name, d in self.delta.items():
            block.set_delta(name, d[i])

    def alone(self, block: Block, x: np.ndarray, lengths: np.ndarray, i: int) -> np.ndarray:
        """What replica i gives in a call of its own."""
        self.put_on(block, i)
        y = x.copy()
        block.windows(y, lengths, {name: rows[i : i + 1] for name, rows in self.scales.items()})
        return y


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", LENGTHS)
def test_replicas_are_what_each_of_them_alone_is(folder: Path, which: str, kind: str) -> None:
    lengths = np.array(LENGTHS[which], np.int32)
    results: list[np.ndarray] = []
    for threads, count in ((1, 5), (2, 2), (2, 5)):
        block = filled(Engine(threads), folder, 0, WINDOW)
        rng = np.random.default_rng(1)
        x = rng.standard_normal((int(lengths.sum()), block.hidden_size)).astype(np.float32)
        own, together = Own(block, kind, count), np.tile(x, (count, 1))
        block.windows(together, np.tile(lengths, count), own.scales, lora=own.lora, delta=own.delta)
        for i, part in enumerate(np.split(together, count)):
            np.testing.assert_array_equal(part, own.alone(block, x, lengths, i))
            assert i == 0 or (part != together[: len(x)]).any()
        results.append(together)
    np.testing.assert_array_equal(results[0], results[2])


@pytest.mark.parametrize("cpu", ["scalar", "avx2", "auto"])
def test_on_every_instruction_set(folder: Path, cpu: str) -> None:
    lengths = np.array([29, 1, 29, 6], np.int32)
    try:
        engine = Engine(2, cpu=cpu)
    except InvalidError:
        pytest.skip(f"this processor has no {cpu}")
    block = filled(engine, folder, 1, WINDOW)
    x = np.random.default_rng(2).standard_normal((65, block.hidden_size)).astype(np.float32)
    own, together = Own(block, "all", 3), np.tile(x, (3, 1))
    block.windows(together, np.tile(lengths, 3), own.scales, lora=own.lora, delta=own.delta)
    for i, part in enumerate(np.split(together, 3)):
        np.testing.assert_array_equal(part, own.alone(block, x, lengths, i))


def test_a_call_leaves_nothing_behind(folder: Path) -> None:
    block, lengths = filled(Engine(2), folder, 0, WINDOW), np.array([7, 3], np.int32)
    x = np.random.default_rng(3).standard_normal((10, block.hidden_size)).astype(np.float32)
    own = Own(block, "all", 2)
    before, after, together = x.copy(), x.copy(), np.tile(x, (2, 1))
    block.windows(before, lengths)
    block.windows(together, np.tile(lengths, 2), own.scales, lora=own.lora, delta=own.delta)
    block.windows(after, lengths)
    np.testing.assert_array_equal(after, before)


def test_what_does_not_fit_is_said(folder: Path) -> None:
    block, lengths = filled(Engine(1), folder, 0, WINDOW), np.array([5, 5], np.int32)
    x = np.zeros((10, block.hidden_size), np.float32)
    rows, cols = block.shapes["up"]
    a, b, d = (np.zeros((2, *shape), np.float32) for shape in ((3, cols), (3, rows), (rows, cols)))
    with pytest.raises(
        InvalidError, match="lora_a of shape"
    ):  # nothing is set that these could be in place of
        block.windows(x, lengths, lora={"up": (a, b)})
    with pytest.raises(InvalidError, match="nothing is added to matrix 5"):
        block.windows(x, lengths, delta={"up": d})
    block.set_lora("up", a[0], b[0])
    block.set_delta("up", d[0])
    with pytest.raises(InvalidError, match="lora_b of shape"):
        block.windows(x, lengths, lora={"up": (a, b[:, 1:])})
    with pytest.raises(InvalidError, match="delta of shape"):
        block.windows(x, lengths, delta={"up": d[0]})
    with pytest.raises(InvalidError, match=r"\[1, 2\] replicas"):
        block.windows(x, lengths, lora={"up": (a, b)}, delta={"up": d[:1]})
    with pytest.raises(InvalidError, match="1 windows cannot be 2 replicas"):
        block.windows(x[:5], lengths[:1], delta={"up": d})
