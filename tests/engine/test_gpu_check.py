"""A card that calculates wrongly is found before a model runs on it.

What is broken here is one kernel of the emulated card, which does nothing.
"""

from pathlib import Path

import card_models
import numpy as np
import pytest
from card_models import EMULATED, VOCAB, Shape, an_engine, write_model
from reference import converted

from bitconverter import engine
from bitconverter.engine import PlacementParams, Session
from bitconverter.format.errors import UserError
from bitconverter.jobs import self_test
from bitconverter.jobs.device_word import AUTO, Device
from bitconverter.jobs.placement import Sessions, choose_device

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not EMULATED, reason="a real card's kernels cannot be broken"),
]

SHAPE = Shape(64, 4, 1, layers=2)
N_CTX = 160
# by the compute capability of the card: what multiplies and attends when tokens come one, three, 12 and 144 at a time
KERNELS = {
    "80": ("bc_one", "bc_few_8", "bc_few_32", "bc_gemm_planes_128", "bc_attend_64_f16_2",
           "bc_attend_64_f16_4", "bc_place_rows", "bc_flash_64"),
    "90": ("bc_one",),  # single bits up to here
    "120": ("bc_one_bytes",),
    "75": ("bc_one_bytes",),
    "61": ("bc_prepare_x", "bc_prepare_swiglu", "bc_gemv_planes_2", "bc_gemm_planes_32"),
}  # fmt: skip
BROKEN = [(of, kernel) for of, kernels in KERNELS.items() for kernel in kernels]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("check"), SHAPE)


def a_card(monkeypatch: pytest.MonkeyPatch, capability: str, broken: str) -> engine.Engine:
    monkeypatch.setenv("BC_EMULATED_CAPABILITY", capability)
    monkeypatch.setenv("BC_EMULATED_BROKEN", broken)
    found = engine.Engine(threads=2)
    engine.open_backend(found)
    return found


@pytest.mark.parametrize(("capability", "kernel"), BROKEN)
def test_a_kernel_that_calculates_wrongly_is_found(monkeypatch, folder: Path, capability, kernel) -> None:
    model = engine.Model(a_card(monkeypatch, capability, kernel), folder)
    with pytest.raises(engine.WrongDeviceError, match=r"calculates wrongly: of layer 0 with .* % off"):
        engine.place(model, PlacementParams(n_ctx=N_CTX))
    tokens = np.random.default_rng(3).integers(0, VOCAB, 40).astype(np.int32)
    here = Session(model, n_ctx=N_CTX).forward(tokens)  # on the processor, as before
    assert np.array_equal(here, Session(engine.Model(an_engine(), folder), n_ctx=N_CTX).forward(tokens))
    assert engine.device_memory(model.engine, 0).used_bytes == 0
    del here


@pytest.mark.parametrize(
    ("capability", "kernel", "tokens"),
    [("80", "bc_gemv_int8", 1), ("80", "bc_codes_32", 12), ("61", "bc_gemm_int8_32", 12)],
)
def test_the_head_is_tried_too(monkeypatch, folder: Path, capability, kernel, tokens: int) -> None:
    model = engine.Model(a_card(monkeypatch, capability, kernel), folder)
    with pytest.raises(engine.WrongDeviceError, match=f"of the head with {tokens} token"):
        engine.place(model, PlacementParams(n_ctx=N_CTX))


@pytest.mark.parametrize("capability", ["80", "61"])
def test_a_head_of_planes_is_no_fault_of_the_card(monkeypatch, tmp_path: Path, capability: str) -> None:
    """Its first rows are tried: of each plane."""
    monkeypatch.setattr(card_models, "VOCAB", 300)
    monkeypatch.setattr(converted, "LINEAR", (*converted.LINEAR, "lm_head"))
    folder = write_model(tmp_path / "model", Shape(64, 4, 1), 3)
    model = engine.Model(a_card(monkeypatch, capability, ""), folder)
    assert engine.place(model, PlacementParams(n_ctx=N_CTX)).head


def test_a_card_that_works_again_is_used(monkeypatch, folder: Path) -> None:
    model = engine.Model(a_card(monkeypatch, "80", "bc_one"), folder)
    with pytest.raises(engine.WrongDeviceError):
        engine.place(model, PlacementParams(n_ctx=N_CTX))
    monkeypatch.setenv("BC_EMULATED_BROKEN", "")
    assert engine.place(model, PlacementParams(n_ctx=N_CTX)).n_layers == SHAPE.layers


def test_the_layers_that_go_there_are_those_that_are_tried(monkeypatch, folder: Path) -> None:
    model = engine.Model(a_card(monkeypatch, "80", "bc_one"), folder)
    with pytest.raises(engine.WrongDeviceError, match="of layer 1 with 1 token at"):
        engine.place(model, PlacementParams(n_ctx=N_CTX, n_layers=1))


def test_auto_is_the_processor_and_says_why_and_a_card_by_name_is_an_error(monkeypatch, folder: Path) -> None:
    model = engine.Model(a_card(monkeypatch, "80", "bc_few_32"), folder)
    placed = choose_device(model, Device(AUTO), Sessions(N_CTX))
    assert (placed.where, placed.code) == ("cpu", "device-wrong") and placed.surprising
    assert "calculates wrongly: of layer 0 with 12 tokens at a time" in placed.why
    with pytest.raises(
        UserError, match=r"cuda:0 \(.*\) is not used: this graphics card, or its driver"
    ) as raised:
        choose_device(model, Device("cuda:0"), Sessions(N_CTX))
    assert raised.value.code == "device-wrong"


@pytest.mark.parametrize("n_ctx", [1, 2, 20])
def test_short_contexts_and_small_batches_are_tried_as_far_as_they_go(
    monkeypatch, folder: Path, n_ctx
) -> None:
    params = PlacementParams(n_ctx=n_ctx, n_batch=2)
    assert engine.place(engine.Model(a_card(monkeypatch, "80", "bc_few_32"), folder), params).head
    with pytest.raises(engine.WrongDeviceError, match="with 1 token at a time"):
        engine.place(engine.Model(a_card(monkeypatch, "80", "bc_one"), folder), params)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [("BC_EMULATED_CAPABILITY", "50", "too old"), ("BC_EMULATED_MEMORY", str(64 << 20), "Not one layer")],
)
def test_the_self_test_tells_what_card_takes_no_model_and_passes(
    monkeypatch, tmp_path: Path, name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(name, value)
    found = self_test.chat(self_test.convert(tmp_path)["model"])
    assert reason in found["why"] and found["by_cpu"] and not found["by_card"]


def test_the_self_test_talks_to_every_card(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BC_EMULATED_DEVICES", "2")
    model = self_test.convert(tmp_path)["model"]
    found = self_test.chat(model)["by_card"]
    assert list(found) == ["cuda:0", "cuda:1"] and found["cuda:1"]["tokens"] > 10
    monkeypatch.setenv("BC_EMULATED_BROKEN", "bc_gemv_int8")
    with pytest.raises(UserError, match=r"cuda:0 \(.*\) is not used: .* of the head with 1 token"):
        self_test.chat(model)
