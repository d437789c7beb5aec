"""Wishes for a size: what comes out keeps them, for a model of 135 million weights and for one of 8 billion."""

import json
import math
import re
from dataclasses import replace
from typing import Any

import pytest
from conftest import GOLDEN

from bitconverter.cli.arguments import byte_count
from bitconverter.engine import Engine, Model, ModelInfo, Session, check_config
from bitconverter.format.errors import UserError
from bitconverter.format.size_text import at_least, at_most
from bitconverter.model.budget import (
    GB,
    PRESETS,
    PROGRAM,
    Fit,
    Wish,
    left_over,
    overhead_bytes,
    planned,
    session_bytes,
)  # fmt: skip
from bitconverter.model.plan import TensorPlan, estimated_bytes
from bitconverter.model.shapes import config_of


def info_of(config: dict[str, Any]) -> ModelInfo:
    return check_config(json.dumps(config).encode())


LARGE_INFO, SMALL_INFO = info_of(config_of("8b")), info_of(config_of("135m"))


def bits_of(plan: tuple[TensorPlan, ...]) -> float:
    linear = [t for t in plan if t.linear]
    return 8 * estimated_bytes(linear, {}) / sum(math.prod(t.shape) for t in linear)


def file_bytes(plan: tuple[TensorPlan, ...]) -> int:
    """An upper bound: with the header and all gaps."""
    return overhead_bytes(list(plan), {}) + estimated_bytes([t for t in plan if t.linear], {})


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("info", [SMALL_INFO, LARGE_INFO], ids=["135M", "8B"])
def test_every_preset_makes_sense_for_small_and_large_models(name: str, info: ModelInfo) -> None:
    bits = bits_of(planned(info, Wish(preset=name), {}))
    if name == "tiny":
        assert bits == pytest.approx(2.0, abs=0.02)
    elif name == "best" or info is SMALL_INFO:
        assert {t.n_planes for t in planned(info, Wish(preset=name), {}) if t.linear} == {4}
    else:
        assert bits == pytest.approx({"4gb": 2.4, "8gb": 6.2}[name], abs=0.3)


@pytest.mark.parametrize("info", [SMALL_INFO, LARGE_INFO], ids=["135M", "8B"])
def test_a_size_is_kept_and_used(info: ModelInfo) -> None:
    smallest = file_bytes(planned(info, Wish(planes=1), {}))
    size = round(1.7 * smallest) if info is LARGE_INFO else round(1.3 * smallest)
    plan = planned(info, Wish(size=size), {})
    assert 0.985 * size < file_bytes(plan) <= size


@pytest.mark.parametrize("kv", ["f16", "int8", "f32", "int4"])
def test_what_fits_counts_the_cache(kv: str) -> None:
    fit = Fit(5 * GB, 8192, kv)
    plan = planned(LARGE_INFO, Wish(fit=fit), {})
    used = file_bytes(plan) + session_bytes(LARGE_INFO, fit.context, kv) + PROGRAM
    assert 0.985 * fit.memory < used <= fit.memory


@pytest.mark.parametrize("kv", ["f16", "int8", "f32"])
@pytest.mark.parametrize("family", ["llama3.1", "mistral", "qwen3", "smollm2"])
def test_the_memory_of_a_chat_is_what_the_engine_takes(kv: str, family: str) -> None:
    model = Model(Engine(threads=16), GOLDEN / family)
    context = model.info.max_positions
    real = Session(model, n_ctx=context, kv=kv).bytes
    assert real * 0.99 <= session_bytes(model.info, context, kv) <= real * 1.1 + 100_000


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        (Wish(planes=5), "planes"),
        (Wish(preset="huge"), "preset"),
        (Wish(size=2 * GB), "size-small"),
        (Wish(fit=Fit(2 * GB)), "fit-small"),
        (Wish(fit=Fit(8 * GB, 10**6)), "fit"),
        (Wish(fit=Fit(8 * GB, 4096, "int3")), "fit"),
        (Wish(bits=1.0), "bits"),
        (Wish(bits=math.nan), "bits-nan"),
    ],
)
def test_what_cannot_be_is_refused(wish: Wish, code: str) -> None:
    with pytest.raises(UserError) as caught:
        planned(LARGE_INFO, wish, {})
    assert caught.value.code == code
    if code.endswith("-small"):  # the least that is named is enough
        least = caught.value.fields["least"]
        again = Wish(size=least) if wish.size else Wish(fit=Fit(least))
        assert bits_of(planned(LARGE_INFO, again, {})) < 1.7


@pytest.mark.parametrize("info", [SMALL_INFO, LARGE_INFO], ids=["135M", "8B"])
def test_the_least_size_as_it_is_told_is_enough_and_hardly_more(info: ModelInfo) -> None:
    with pytest.raises(UserError) as caught:
        planned(info, Wish(size=10**6), {})
    given, told = re.findall(r"[\d.]+ [MG]B", str(caught.value))
    assert byte_count(given.replace(" ", "")) == 10**6
    least = byte_count(told.replace(" ", ""))
    assert bits_of(planned(info, Wish(size=least), {})) < 1.7
    assert caught.value.fields["least"] <= least < 1.01 * caught.value.fields["least"]


@pytest.mark.parametrize("info", [SMALL_INFO, LARGE_INFO], ids=["135M", "8B"])
def test_more_than_all_planes_take_is_said(info: ModelInfo) -> None:
    def said(wish: Wish) -> str:
        found = left_over(wish, planned(info, wish, {}), {})
        return found[0] if found else ""

    whole = planned(info, Wish(planes=4), {})
    most, size = bits_of(whole), file_bytes(whole)
    assert said(Wish(bits=9)) == (
        "9 bits per weight cannot be used up: 4 planes everywhere, the most there are, "
        f"give {most:.2f} bits per weight."
    )
    assert said(Wish(bits=math.inf)).startswith("inf bits per weight cannot be used up")
    assert said(Wish(size=2 * size)).startswith(f"{at_least(2 * size)} cannot be used up")
    assert f"give a weight file of {at_most(size)}." in said(Wish(size=2 * size))
    for wish in (
        Wish(bits=most),
        Wish(bits=math.ceil(100 * most) / 100),
        Wish(bits=6),
        Wish(size=size),
        Wish(),
    ):
        assert not said(wish)
    for wish in (Wish(planes=4), Wish(preset="best"), Wish(preset="8gb"), Wish(fit=Fit(80 * GB))):
        assert not said(wish)  # memory that stays free is no disappointment


def test_source_bytes_of_dense_tensors_count() -> None:
    norms = {"model.norm.weight": 10**6}
    assert (
        overhead_bytes(list(planned(SMALL_INFO, Wish(), {})), norms)
        - overhead_bytes(list(planned(SMALL_INFO, Wish(), {})), {})
        == 10**6
    )


@pytest.mark.parametrize("info", [SMALL_INFO, LARGE_INFO], ids=["135M", "8B"])
def test_three_hundredths_more_than_all_planes_take_are_said_too(info: ModelInfo) -> None:
    whole = planned(info, Wish(planes=4), {})
    for wish in (Wish(bits=1.03 * bits_of(whole)), Wish(size=round(1.03 * file_bytes(whole)))):
        assert left_over(wish, planned(info, wish, {}), {})


def test_a_presets_context_is_cut_to_the_models_positions() -> None:
    short = replace(LARGE_INFO, max_positions=512)
    cut = planned(short, Wish(fit=Fit(4 * GB, 512)), {})
    assert planned(short, Wish(preset="4gb"), {}) == cut != planned(LARGE_INFO, Wish(preset="4gb"), {})
