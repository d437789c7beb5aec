"""The plan: every tensor of every family in the form that docs/FORMAT.md gives it."""

import math
from pathlib import Path

import pytest
from conftest import GOLDEN
from model_folders import tensors_of

from bitconverter.engine import check_config
from bitconverter.model.names import expected_tensors, is_harmless
from bitconverter.model.plan import DENSE, INT8, PLANES, estimated_bytes, make_plan, stored_parts

FAMILIES = sorted(path.parent.name for path in GOLDEN.glob("*/logits.npy"))


def info_of(folder: Path) -> object:
    return check_config((folder / "config.json").read_bytes())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_expected_tensors_are_those_that_transformers_wrote(family: str) -> None:
    expected = expected_tensors(info_of(GOLDEN / family))
    assert expected == {name: values.shape for name, values in tensors_of(GOLDEN / family).items()}


def test_matrices_are_planes_the_ends_int8_and_the_rest_dense() -> None:
    plan = {tensor.name: tensor for tensor in make_plan(info_of(GOLDEN / "llama-bias"), 3)}
    assert plan["model.embed_tokens.weight"].form == plan["lm_head.weight"].form == INT8
    q = plan["model.layers.1.self_attn.q_proj.weight"]
    assert (q.form, q.n_planes, q.linear) == (PLANES, 3, True)
    assert plan["model.layers.1.self_attn.q_proj.bias"].form == DENSE
    assert plan["model.norm.weight"].form == DENSE
    assert sum(tensor.linear for tensor in plan.values()) == 7 * 2


def test_matrices_that_read_the_same_input_share_its_name() -> None:
    plan = {
        tensor.name.split("layers.1.")[-1]: tensor.input for tensor in make_plan(info_of(GOLDEN / "qwen3"), 1)
    }
    names = ("q_proj", "k_proj", "v_proj")
    assert {plan[f"self_attn.{name}.weight"] for name in names} == {"model.layers.1.attention"}
    assert plan["mlp.gate_proj.weight"] == plan["mlp.up_proj.weight"] == "model.layers.1.mlp"
    assert len({plan["self_attn.o_proj.weight"], plan["mlp.down_proj.weight"], "model.layers.1.mlp"}) == 3


def test_the_number_of_planes_may_differ_by_name() -> None:
    plan = make_plan(info_of(GOLDEN / "llama2"), lambda name: 4 if "down_proj" in name else 1)
    assert {tensor.n_planes for tensor in plan if "down_proj" in tensor.name} == {4}
    assert {tensor.n_planes for tensor in plan if "up_proj" in tensor.name} == {1}


def test_stored_parts_and_their_bytes() -> None:
    plan = [t for t in make_plan(info_of(GOLDEN / "llama2"), 2) if t.name.endswith("0.mlp.up_proj.weight")]
    (tensor,) = plan
    rows, cols = tensor.shape
    parts = dict(stored_parts(tensor))
    assert parts == {
        "model.layers.0.mlp.up_proj.planes": (2, math.ceil(rows / 5), cols),
        "model.layers.0.mlp.up_proj.scales": (rows,),
    }
    assert estimated_bytes(plan, {}) == 2 * math.ceil(rows / 5) * cols + 2 * rows


def test_only_known_leftovers_are_harmless() -> None:
    assert is_harmless("model.layers.0.self_attn.rotary_emb.inv_freq", tied=False)
    assert is_harmless("lm_head.weight", tied=True)
    assert not is_harmless("lm_head.weight", tied=False)
    assert not is_harmless("model.layers.0.mlp.experts.0.w1.weight", tied=True)
