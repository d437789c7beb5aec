"""Does a graphics card train as the processor does? Tried before hours are spent on it.

What native/src/device_check.c is for answers: one layer, and some tokens of the head, on both.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from bitconverter.engine import (
    Block,
    BlockGradients,
    NoRoomError,
    Tower,
    TowerParams,
    UnsupportedError,
    head_cross_entropy,
)

F32 = npt.NDArray[np.float32]

TOKENS, HEAD_TOKENS = 48, 40  # as many as a step has at least: fewer run in other ways
# Of the mean square. Gradients pass planes as integers of 8 bits, rounded over other blocks of rows than on the
# processor: up to 0.04 in tests/engine/test_gpu_training.py.
MOST_OFF = 0.2


def check_block(block: Block, wanted: BlockGradients, params: TowerParams) -> None:
    """Raises UnsupportedError where the device finds other outputs than the processor or, with params.back, other
    gradients of them: of what `wanted` has of gains and low-rank additions."""
    try:
        tower = Tower([block], replace(params, replicas=1, head=None))
    except NoRoomError:
        return  # then there is none for training either, which says so with its own numbers
    draw, n = np.random.default_rng(1), min(TOKENS, block.window)
    x, dy = (draw.standard_normal((n, block.hidden_size)).astype(np.float32) for _ in range(2))
    lengths, expected, found = np.array([n], np.int32), x.copy(), x.copy()
    block.windows(expected, lengths)
    tower.windows(found, lengths, keep=params.back)
    _judge("a layer", found - x, expected - x)
    if not params.back:
        return
    learns = "lora" if wanted.lora else "gain"
    here, there = block.gradients((learns,)), block.gradients((learns,))
    expected, found = dy.copy(), dy.copy()
    block.backward(x, expected, here, lengths=lengths, coarse=True)
    tower.backward(found, [there], coarse=True)
    _judge("the gradient of a layer's input", found - dy, expected - dy)
    for name, gain in here.gain.items():
        _judge(f"the gradient of {name}", there.gain[name], gain)
    for name, pair in here.lora.items():
        for part, of_it in zip(there.lora[name], pair, strict=True):
            _judge(f"the gradient of {name}", part, of_it)


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


def _judge(what: str, found: npt.NDArray[np.floating], expected: npt.NDArray[np.floating]) -> None:
    size, off = (float(np.sqrt((a.astype(np.float64) ** 2).mean())) for a in (expected, found - expected))
    if not np.isfinite(size) or off <= MOST_OFF * size:  # no numbers here either: the model's fault
        return
    raise UnsupportedError(
        f"this graphics card, or its driver, calculates wrongly: {what} is {100 * min(off / max(size, 1e-30), 10):.0f} "
        "% off what the processor finds, 1 to 4 % would be usual. A newer driver may help",
        -3,
    )
