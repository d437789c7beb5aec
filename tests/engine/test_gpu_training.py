"""Layers that are trained on a graphics card against the same layers on the processor.

Needs a card, or BC_CUDA_DRIVER, the path of an emulated driver (tiny models only: it is slow).
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from card_models import Shape, an_engine, write_model

from bitconverter import engine
from bitconverter.engine import MATRICES, Block, BlockGradients, Tower, TowerParams
from bitconverter.model.layer_stack import LayerStack

pytestmark = pytest.mark.gpu

WINDOW = 40
LENGTHS = np.array([40, 1, 23, 37], np.int32)
SHAPES = {
    "grouped": Shape(64, 4, 2, layers=2),
    "wide": Shape(128, 2, 1, layers=1),
    "widest": Shape(256, 2, 2, layers=1),
    "odd": Shape(48, 3, 1, layers=2),
    "broad": Shape(32, 2, 1, layers=1, inner=9248),  # more than a block's shared memory where that is 48 KiB
    "normed": Shape(32, 4, 2, layers=2, kind="qwen3"),
    "biased": Shape(32, 2, 2, layers=1, kind="qwen2"),
    "sliding": Shape(32, 2, 1, layers=2, kind="mistral", more={"sliding_window": 9}),
}
RANK, TARGETS = 3, ("q", "v", "o", "gate", "down")
# Differences from the processor, as shares of the mean square. Products with planes are exact on both sides; other sums
# come in another order, and where that moves an input over a rounding boundary it becomes a whole step of int8.
OUTPUT = 0.01
FINE = 0.01  # gradients as integers of 16 bits: of that, only the forward pass's differences are left
COARSE = (
    0.04  # of 8 bits, with other blocks of rows than on the processor: what training has, 1.3 % off on either
)


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., LayerStack]:
    """A function: the model of a shape at so many planes, as single layers."""
    place = tmp_path_factory.mktemp("towers")

    @cache
    def stack(name: str, planes: int = 2) -> LayerStack:
        return LayerStack(an_engine(), write_model(place / f"{name}-{planes}", SHAPES[name], planes))

    return stack


def blocks_of(stack: LayerStack) -> list[Block]:
    return [stack.block(layer, WINDOW) for layer in range(stack.info.n_layers)]


def with_ranks(blocks: list[Block]) -> list[Block]:
    """With low-rank additions as large as what they are added to."""
    draw = np.random.default_rng(3)
    for block in blocks:
        for matrix in TARGETS:
            rows, cols = block.shapes[matrix]
            a = draw.standard_normal((RANK, cols)) / np.sqrt(cols)
            b = draw.standard_normal((RANK, rows)) / np.sqrt(RANK)
            block.set_lora(matrix, a.astype(np.float32), b.astype(np.float32))
    return blocks


def states(stack: LayerStack, lengths: np.ndarray = LENGTHS, seed: int = 1) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return draw.standard_normal((int(lengths.sum()), stack.info.hidden_size)).astype(np.float32)


def tower_of(card: engine.Engine, blocks: list[Block], **more: Any) -> Tower:
    return Tower(blocks, TowerParams(**{"tokens": int(LENGTHS.sum()), **more}))


def off(found: np.ndarray, expected: np.ndarray) -> float:
    """How far, as a share of the expected's mean square."""
    difference = found.astype(np.float64) - expected
    return float(np.sqrt((difference**2).mean() / (np.asarray(expected, np.float64) ** 2).mean()))


def on_processor(blocks: list[Block], x: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """What comes out, and what came into each block."""
    out, inputs = x.copy(), []
    for block in blocks:
        inputs.append(out.copy())
        block.windows(out, LENGTHS)
    return out, inputs


@pytest.mark.parametrize("name", SHAPES)
def test_windows_are_those_of_the_processor(
    card: engine.Engine, stacks: Callable[..., LayerStack], name: str
) -> None:
    blocks = blocks_of(stacks(name))
    tower, x = tower_of(card, blocks), states(stacks(name))
    expected, _ = on_processor(blocks, x)
    tower.windows(x, LENGTHS)
    assert off(x, expected) < OUTPUT


@pytest.mark.parametrize("planes", [1, 3, 4])
def test_any_number_of_planes(card: engine.Engine, stacks: Callable[..., LayerStack], planes: int) -> None:
    gradients_agree(card, blocks_of(stacks("grouped", planes)), states(stacks("grouped", planes)), ("gain",))


@pytest.mark.parametrize("name", SHAPES)
def test_gradients_of_gains_are_those_of_the_processor(
    card: engine.Engine, stacks: Callable[..., LayerStack], name: str
) -> None:
    gradients_agree(card, blocks_of(stacks(name)), states(stacks(name)), ("gain",))


@pytest.mark.parametrize("name", ["grouped", "odd", "biased"])
def test_gradients_of_low_rank_additions_are_those_of_the_processor(
    card: engine.Engine, stacks: Callable[..., LayerStack], name: str
) -> None:
    gradients_agree(card, with_ranks(blocks_of(stacks(name))), states(stacks(name)), ("lora",))


def gradients_agree(card: engine.Engine, blocks: list[Block], x: np.ndarray, want: tuple[str, ...]) -> None:
    tower = tower_of(card, blocks, back=True)
    dy = np.random.default_rng(5).standard_normal(x.shape).astype(np.float32)
    expected, inputs = on_processor(blocks, x)
    theirs, mine = dy.copy(), [block.gradients(want) for block in blocks]
    for block, into, sums in zip(blocks[::-1], inputs[::-1], mine[::-1], strict=True):
        block.backward(into, theirs, sums, lengths=LENGTHS)
    for coarse, bound in ((False, FINE), (True, COARSE)):
        out, there = x.copy(), [block.gradients(want) for block in blocks]
        tower.windows(out, LENGTHS, keep=True)
        assert off(out, expected) < OUTPUT
        back = dy.copy()
        tower.backward(back, there, coarse=coarse)
        assert off(back, theirs) < bound, coarse
        for found, sums in zip(there, mine, strict=True):
            for matrix, (a, b) in pairs(found, sums).items():
                assert off(a, b) < bound, (coarse, matrix, off(a, b))


def pairs(found: BlockGradients, sums: BlockGradients) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By name: the gradients of both."""
    both = {name: (found.gain[name], sums.gain[name]) for name in sums.gain}
    for name, parts in sums.lora.items():
        for which, mine, expected in zip("ab", found.lora[name], parts, strict=True):
            both[f"{name}.{which}"] = mine, expected
    return both


def test_replicas_are_what_each_of_them_alone_is(
    card: engine.Engine, stacks: Callable[..., LayerStack]
) -> None:
    """MeZO's: the same windows with row scales of their own. On the card each has the bits that it has alone there."""
    blocks, draw = blocks_of(stacks("grouped")), np.random.default_rng(8)
    stack, count = stacks("grouped"), 3
    tower, x = tower_of(card, blocks, replicas=count), states(stack)
    scales = [
        {
            matrix: stack.scales(layer, matrix)
            * draw.uniform(0.8, 1.25, (count, block.shapes[matrix][0])).astype(np.float32)
            for matrix in MATRICES
        }
        for layer, block in enumerate(blocks)
    ]
    together, lengths = np.tile(x, (count, 1)), np.tile(LENGTHS, count)
    expected = together.copy()
    for block, rows in zip(blocks, scales, strict=True):
        block.windows(expected, lengths, rows)
    tower.windows(together, lengths, scales)
    assert off(together, expected) < OUTPUT
    for i in range(count):
        alone = x.copy()
        tower.windows(
            alone, LENGTHS, [{name: rows[i : i + 1] for name, rows in own.items()} for own in scales]
        )
        assert np.array_equal(alone, together[i * len(x) : (i + 1) * len(x)])


def test_what_changes_in_the_blocks_arrays_shows_in_the_next_call(
    card: engine.Engine, stacks: Callable[..., LayerStack]
) -> None:
    stack = stacks("wide")
    own = {matrix: stack.scales(0, matrix) for matrix in MATRICES}
    blocks = [stack.block(0, WINDOW, own)]
    tower, x = tower_of(card, blocks), states(stack)
    before, after = x.copy(), x.copy()
    tower.windows(before, LENGTHS)
    own["down"] *= 1.5
    tower.windows(after, LENGTHS)
    expected, _ = on_processor(blocks, x)
    assert off(after, expected) < OUTPUT < off(before, expected)


def test_more_windows_than_a_group_holds(card: engine.Engine, stacks: Callable[..., LayerStack]) -> None:
    """1,024 tokens go together: the gradients are sums over all of them."""
    stack = stacks("wide")
    lengths = np.full(27, WINDOW, np.int32)
    blocks, x = blocks_of(stack), states(stack, lengths)
    tower = tower_of(card, blocks, tokens=len(x), back=True)
    dy = np.random.default_rng(6).standard_normal(x.shape).astype(np.float32)
    mine, there = ([block.gradients(("gain",)) for block in blocks] for _ in range(2))
    theirs, back = dy.copy(), dy.copy()
    blocks[0].backward(x, theirs, mine[0], lengths=lengths)
    tower.windows(x.copy(), lengths, keep=True)
    tower.backward(back, there)
    assert off(back, theirs) < FINE
    for matrix, (found, expected) in pairs(there[0], mine[0]).items():
        assert off(found, expected) < FINE, matrix


def test_as_many_layers_as_the_memory_holds(card: engine.Engine, stacks: Callable[..., LayerStack]) -> None:
    """What is predicted is what is taken, and is given back; too little is a refusal with numbers."""
    blocks = blocks_of(stacks("grouped"))
    before = engine.device_memory(card, 0)
    one = tower_of(card, blocks, n_blocks=1, back=True)
    assert engine.device_memory(card, 0).used_bytes - before.used_bytes == one.bytes
    assert one.blocks == (blocks[-1],) and one.bytes < one.all_bytes
    room = one.bytes
    del one
    assert engine.device_memory(card, 0).used_bytes == before.used_bytes
    memory = engine.device_memory(card, 0)
    least = memory.total_bytes - memory.free_bytes + (64 << 20)  # and what the driver will want
    some = tower_of(card, blocks, back=True, memory_limit=least + room + 4096)
    assert some.blocks == (blocks[-1],) and some.room_bytes < some.all_bytes
    del some
    with pytest.raises(engine.NoRoomError, match="not one layer fits") as found:
        tower_of(card, blocks, back=True, memory_limit=least + room // 2)
    assert 0 < found.value.room_bytes < found.value.all_bytes


def test_what_a_card_does_not_train_is_refused(
    card: engine.Engine, stacks: Callable[..., LayerStack]
) -> None:
    stack = stacks("wide")
    dense, added = blocks_of(stack), blocks_of(stack)
    rows, cols = dense[0].shapes["up"]
    dense[0].set_dense("up", np.ones((rows, cols), np.float32))
    added[0].set_delta("up", np.ones((rows, cols), np.float32))
    for blocks, words in ((dense, "not planes"), (added, "a whole matrix")):
        with pytest.raises(engine.UnsupportedError, match=words):
            tower_of(card, blocks)
    blocks, x = blocks_of(stack), states(stack)
    tower = tower_of(card, blocks, back=True)
    with pytest.raises(engine.InvalidError, match="nothing was kept"):
        tower.backward(x.copy(), [blocks[0].gradients(("gain",))])
    tower.windows(x.copy(), LENGTHS, keep=True)
    with pytest.raises(engine.UnsupportedError, match="gains and of low-rank additions only"):
        tower.backward(x.copy(), [blocks[0].gradients(("gain", "norms"))])
    with pytest.raises(engine.InvalidError, match="there is room for"):
        tower.windows(np.tile(x, (2, 1)), np.tile(LENGTHS, 2))
    added_later = with_ranks(blocks)
    with pytest.raises(engine.InvalidError, match="another one than when"):
        tower.windows(x.copy(), LENGTHS)
    assert added_later is blocks


@pytest.mark.parametrize("tokens", [5, 300])
def test_losses_are_those_of_the_processor(
    card: engine.Engine, stacks: Callable[..., LayerStack], tokens: int
) -> None:
    """With their gradients; some tokens have no target, or no weight."""
    stack = stacks("odd")
    head, draw = stack.head(), np.random.default_rng(9)
    tower = tower_of(card, blocks_of(stack), back=True, head=head, tokens=max(tokens, WINDOW))
    assert tower.head is head
    h = draw.standard_normal((tokens, stack.info.hidden_size)).astype(np.float32)
    targets = draw.integers(-1, stack.info.vocab_size, tokens).astype(np.int32)
    weights = draw.uniform(0, 2, tokens).astype(np.float32)
    weights[::4] = 0
    for given in (None, weights):
        expected = engine.head_cross_entropy(card, head, h, targets, given)
        found = tower.cross_entropy(h, targets, given)
        assert np.abs(found.loss - expected.loss).max() < 1e-4
        assert found.hits is not None and np.array_equal(found.hits, expected.hits)
        assert found.dh is not None and expected.dh is not None and off(found.dh, expected.dh) < FINE
    alone = tower.cross_entropy(h, targets, gradients=False)
    assert alone.dh is None and np.array_equal(alone.loss, tower.cross_entropy(h, targets).loss)


def test_it_stops_when_it_is_asked_to(card: engine.Engine, stacks: Callable[..., LayerStack]) -> None:
    cancel = engine.Cancel()
    tower, x = tower_of(card, blocks_of(stacks("wide"))), states(stacks("wide"))
    cancel.request()
    with pytest.raises(engine.Cancelled):
        tower.windows(x, LENGTHS, cancel=cancel)
