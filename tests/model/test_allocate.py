"""Planes by a budget of bits: the budget is kept, and spent where it buys most."""

import json
import math

import pytest

from bitconverter import engine
from bitconverter.format.errors import UserError
from bitconverter.model.allocate import allocate, stored_bytes
from bitconverter.model.plan import TensorPlan, make_plan

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
