"""Does a graphics card train as the processor does? Tried before hours are spent on it.

What native/src/device_check.c is for answers: one layer, and some tokens of the head, on both.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from bitconverter.engine import (
    Block,
    BlockGradients,
    NoRoomError,
    Tower,
    TowerParams,
    WrongDeviceError,
    head_cross_entropy,
)

F32 = npt.NDArray[np.float32]
Sums = npt.NDArray[np.floating]

TOKENS, HEAD_TOKENS = 48, 40  # as many as a step has at least: fewer run in other ways
# Of the mean square. Gradients pass planes as integers of 8 bits, rounded over other blocks of rows than on the
# processor: up to 0.04 in tests/engine/test_gpu_training.py.
MOST_OFF = 0.2
# Gradients that are smaller than this share of the layer's largest are judged as if they were as large: where attention
# looks at one token alone, those of q and k are what rounding leaves.
LEAST_SHARE = 0.02


def check_block(block: Block, wanted: BlockGradients, params: TowerParams) -> None:
    """Raises WrongDeviceError where the device finds other outputs than the processor or, with params.back, other
    gradients: of the input, and of the gains or low-rank additions of `wanted`. The latter have random values
    meanwhile, since those that a training begins with add nothing."""
    try:
        tower = Tower([block], replace(params, replicas=1, head=None))
    except NoRoomError:
        return  # then there is none for training either, which says so with its own numbers
    with _random_additions(block, list(wanted.lora)):
        _compare(block, tower, "lora" if wanted.lora else "gain", params.back)


def check_head(tower: Tower, back: bool) -> None:
    """The same of the losses, if they are the tower's, and with `back` of their gradients."""
    if tower.head is None:
        return
    vocab, hidden = tower.head.shape
    draw = np.random.default_rng(2)
    h = draw.standard_normal((HEAD_TOKENS, hidden)).astype(np.float32)
    targets = draw.integers(0, vocab, HEAD_TOKENS).astype(np.int32)
    expected = head_cross_entropy(tower.engine, tower.head, h, targets, gradients=back)
    found = tower.cross_entropy(h, targets, gradients=back)
    _judge("the loss", found.loss, expected.loss)
    if found.dh is not None and expected.dh is not None:
        _judge("the gradient of the loss", found.dh, expected.dh)


def _compare(block: Block, tower: Tower, learns: str, back: bool) -> None:
    draw, n = np.random.default_rng(1), min(TOKENS, block.window)
    x, dy = (draw.standard_normal((n, block.hidden_size)).astype(np.float32) for _ in range(2))
    lengths, expected, found = np.array([n], np.int32), x.copy(), x.copy()
    block.windows(expected, lengths)
    tower.windows(found, lengths, keep=back)
    _judge("a layer", found - x, expected - x)
    if not back:
        return
    here, there = block.gradients((learns,)), block.gradients((learns,))
    expected, found = dy.copy(), dy.copy()
    block.backward(x, expected, here, lengths=lengths, coarse=True)
    tower.backward(found, [there], coarse=True)
    _judge("the gradient of a layer's input", found - dy, expected - dy)
    pairs = list(_parts(there, here))
    least = LEAST_SHARE * max(_size(expected) for _, _, expected in pairs)
    for name, found_sums, expected_sums in pairs:
        _judge(f"the gradient of {name}", found_sums, expected_sums, least)


def _parts(found: BlockGradients, expected: BlockGradients) -> Iterator[tuple[str, Sums, Sums]]:
    for name, gain in expected.gain.items():
        yield name, found.gain[name], gain
    for name, pair in expected.lora.items():
        for which, mine, theirs in zip("ab", found.lora[name], pair, strict=True):
            yield f"{name}'s {which}", mine, theirs


@contextmanager
def _random_additions(block: Block, names: list[str]) -> Iterator[None]:
    """In the block's own arrays, which are as before afterwards. What is added to x of size 1 has a size of 0.3."""
    draw = np.random.default_rng(3)
    pairs = [pair for pair in map(block.lora, names) if pair is not None]
    arrays = [array for pair in pairs for array in pair]
    before = [array.copy() for array in arrays]
    for a, b in pairs:
        a[:] = draw.standard_normal(a.shape) / np.sqrt(a.shape[1])
        b[:] = draw.standard_normal(b.shape) * 0.3 / np.sqrt(len(b))
    try:
        yield
    finally:
        for array, values in zip(arrays, before, strict=True):
            array[:] = values


def _size(values: Sums) -> float:
    return float(np.sqrt((values.astype(np.float64) ** 2).mean()))


def _judge(what: str, found: Sums, expected: Sums, least: float = 0.0) -> None:
    size = max(_size(expected), least)
    if not np.isfinite(size):  # no numbers here either: the model's fault
        return
    off = _size(found - expected)
    if off <= MOST_OFF * size:
        return
    percent = 100 * min(off / size, 10) if size and np.isfinite(off) else 1000
    raise WrongDeviceError(
        f"this graphics card, or its driver, calculates wrongly: {what} is {percent:.0f} % off what the processor "
        "finds, 1 to 4 % would be usual. A newer driver may help",
        -8,
    )
