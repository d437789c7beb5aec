"""Planes by a budget of bits: the budget is kept, and spent where it buys most."""

import itertools
import json
import math
from collections.abc import Iterable
from dataclasses import replace

import pytest

from bitconverter import engine
from bitconverter.format.errors import UserError
from bitconverter.model.allocate import ROUNDING_ERROR, allocate, stored_bytes
from bitconverter.model.plan import PLANES, TensorPlan, make_plan

SHAPES = {"small": (576, 1536, 9, 3, 30), "eight billion": (4096, 14336, 32, 8, 32)}


def plan_of(name: str) -> list[TensorPlan]:
    hidden, inner, heads, kv, layers = SHAPES[name]
    config = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": hidden,
        "intermediate_size": inner, "num_attention_heads": heads, "num_key_value_heads": kv,
        "num_hidden_layers": layers, "vocab_size": 1000, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
        "hidden_act": "silu", "rope_theta": 1e4, "tie_word_embeddings": True,
    }  # fmt: skip
    return make_plan(engine.check_config(json.dumps(config).encode()), 2)


def bits_of(plan: tuple[TensorPlan, ...]) -> float:
    linear = [t for t in plan if t.linear]
    return 8 * sum(map(stored_bytes, linear)) / sum(math.prod(t.shape) for t in linear)


def mean_planes(plan: tuple[TensorPlan, ...], kind: str) -> float:
    counts = [t.n_planes for t in plan if f".{kind}." in t.name]
    return sum(counts) / len(counts)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("bits", [1.7, 2.0, 2.5, 3.25, 4.0, 4.85, 6.0])
def test_the_budget_is_kept_and_used(name: str, bits: float) -> None:
    plan = allocate(plan_of(name), bits)
    assert bits - 0.02 < bits_of(plan) <= bits
    assert [t.name for t in plan] == [t.name for t in plan_of(name)]
    assert all((t.n_planes in (1, 2, 3, 4)) == t.linear for t in plan)


@pytest.mark.parametrize("bits", [2.0, 3.22, 4.0])
def test_values_and_keys_get_more_than_queries(bits: float) -> None:
    plan = allocate(plan_of("small"), bits)
    v, k, down, q = (mean_planes(plan, kind) for kind in ("v_proj", "k_proj", "down_proj", "q_proj"))
    assert v >= k >= down >= q
    assert v > q


def test_more_bits_never_take_planes_away() -> None:
    before = allocate(plan_of("small"), 1.7)
    for step in range(18, 66, 4):
        after = allocate(plan_of("small"), step / 10)
        assert sum(t.n_planes for t in after) >= sum(t.n_planes for t in before)
        before = after


def test_more_than_four_planes_can_hold_is_four_everywhere() -> None:
    assert {t.n_planes for t in allocate(plan_of("small"), 16.0) if t.linear} == {4}


@pytest.mark.parametrize("bits", [0.0, -1.0, 1.5, math.nan])
def test_too_few_bits_are_refused(bits: float) -> None:
    with pytest.raises(UserError, match=r"one plane everywhere takes 1\.6") as caught:
        allocate(plan_of("small"), bits)
    assert caught.value.code == "bits"


SQUARE = (80, 64)


def matrix(layer: int, shape: tuple[int, int] = SQUARE) -> TensorPlan:
    return TensorPlan(f"model.layers.{layer}.mlp.up_proj.weight", shape, PLANES, 1)


def bits_for(plan: list[TensorPlan], planes: int) -> float:
    """Bits per weight with which matrices of the shape SQUARE can have so many planes altogether."""
    least = sum(map(stored_bytes, plan))
    one_more = stored_bytes(replace(plan[0], n_planes=2)) - stored_bytes(plan[0])
    spare = (planes - len(plan) + 0.5) * one_more
    return 8 * (least + spare) / sum(math.prod(t.shape) for t in plan)


@pytest.mark.parametrize("planes", range(4, 17))
def test_of_four_equal_matrices_the_choice_is_the_best_of_all(planes: int) -> None:
    plan = [matrix(layer) for layer in range(4)]
    weights = (1.0, 6.23, 6.23 * 6.75, 2.0)  # 6.18 and 6.66 times less is gained by each further plane
    chosen = [
        t.n_planes for t in allocate(plan, bits_for(plan, planes), dict(zip(NAMES, weights, strict=True)))
    ]

    def loss(counts: Iterable[int]) -> float:
        return sum(w * ROUNDING_ERROR[n] for w, n in zip(weights, counts, strict=True))

    assert sum(chosen) == planes
    every = [c for c in itertools.product((1, 2, 3, 4), repeat=4) if sum(c) <= planes]
    assert loss(chosen) == pytest.approx(min(map(loss, every)), rel=1e-12)


NAMES = [matrix(layer).name for layer in range(4)]


def test_of_equal_matrices_those_of_the_first_and_last_layers_go_first() -> None:
    plan = [matrix(layer) for layer in range(4)]
    chosen = allocate(plan, bits_for(plan, 6), dict.fromkeys(NAMES, 1.0))
    assert [t.n_planes for t in chosen] == [2, 1, 1, 2]


def test_what_one_large_matrix_leaves_goes_to_a_smaller_one() -> None:
    plan = [matrix(0, (800, 640)), matrix(1)]
    small = stored_bytes(replace(plan[1], n_planes=2)) - stored_bytes(plan[1])
    bits = 8 * (sum(map(stored_bytes, plan)) + 1.5 * small) / (800 * 640 + 80 * 64)
    chosen = allocate(plan, bits, {plan[0].name: 1e6, plan[1].name: 1.0})
    assert [t.n_planes for t in chosen] == [1, 2]


@pytest.mark.parametrize("cols", range(40, 60))
def test_the_least_bits_that_are_told_are_enough_and_no_hundredth_more(cols: int) -> None:
    plan = [matrix(0, (80, cols))]
    with pytest.raises(UserError) as caught:
        allocate(plan, 0.5)
    least = caught.value.fields["least"]
    assert [t.n_planes for t in allocate(plan, least)] == [1]
    with pytest.raises(UserError):
        allocate(plan, least - 0.0101)
