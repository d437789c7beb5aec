"""A card that trains wrongly is found before a training runs on it.

What is broken here is one kernel of the emulated card, which does nothing.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import card_models
import numpy as np
import pytest
from card_models import EMULATED, Shape, write_model

from bitconverter.engine import MATRICES, Engine, TowerParams, WrongDeviceError, open_backend
from bitconverter.format.errors import UserError
from bitconverter.jobs.device_word import AUTO, Device
from bitconverter.jobs.training_device import choose_training_device
from bitconverter.model import tower_check
from bitconverter.model.block_trainer import BlockTrainer
from bitconverter.model.gain_trainer import GainTrainer
from bitconverter.model.layer_stack import LayerStack
from bitconverter.model.lora_trainer import LoraTrainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not EMULATED, reason="a real card's kernels cannot be broken"),
]

WINDOW = 64
FORWARD = ("bc_gemm_planes_64", "bc_window_place", "bc_window_attend_64")
BACK = ("bc_back_round_1", "bc_back_planes", "bc_back_unrotate", "bc_back_norm", "bc_back_swiglu", "bc_back_sum",
        "bc_window_dots", "bc_window_back_q_64", "bc_window_back_kv_64", "bc_window_unplace")  # fmt: skip
RANKS = ("bc_rank_project", "bc_rank_expand")
HEAD = ("bc_gemm_int8_64", "bc_back_codes", "bc_back_entropy")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("check"), Shape(64, 4, 2, layers=2))


@pytest.fixture
def trainer(folder: Path) -> Iterator[Callable[..., BlockTrainer]]:
    """A function: one of gains, or of low-rank additions, of the whole model."""

    def made(lora: bool = False) -> BlockTrainer:
        engine = Engine(threads=2)
        open_backend(engine)
        stack = LayerStack(engine, folder)
        return LoraTrainer(stack, 2, WINDOW, rank=2) if lora else GainTrainer(stack, 2, WINDOW)

    return made


@pytest.mark.parametrize("kernel", FORWARD + BACK + HEAD)
def test_a_kernel_that_calculates_wrongly_is_found(monkeypatch, trainer, kernel: str) -> None:
    monkeypatch.setenv("BC_EMULATED_BROKEN", kernel)
    trained = trainer()
    with pytest.raises(
        WrongDeviceError, match=r"calculates wrongly: (a|the) .* % off what the processor finds"
    ):
        trained.put_on_card(TowerParams(tokens=WINDOW, back=True))
    assert trained.tower is None


@pytest.mark.parametrize("kernel", RANKS)
@pytest.mark.parametrize("back", [True, False])
def test_additions_are_tried_before_they_have_learned_anything(
    monkeypatch, trainer, kernel: str, back: bool
) -> None:
    monkeypatch.setenv("BC_EMULATED_BROKEN", kernel)
    trained = trainer(lora=True)
    trained.set_parameters(trained.start(1))
    before = trained.adapters(trained.start(1)).lora
    with pytest.raises(WrongDeviceError, match="calculates wrongly"):
        trained.put_on_card(TowerParams(tokens=WINDOW, back=back))
    assert all(
        np.array_equal(a, b)
        for name, pair in before.items()
        for a, b in zip(pair, kept(trained)[name], strict=True)
    )


def kept(trained: BlockTrainer) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What its blocks read, as a soul has it."""
    blocks = zip(trained.trained, trained._blocks, strict=True)
    pairs = {
        trained.stack.prefix(layer, name): block.lora(name) for layer, block in blocks for name in MATRICES
    }
    return {name: (pair[0], pair[1].T) for name, pair in pairs.items() if pair is not None}


def test_attention_that_looks_at_one_token_is_no_fault_of_the_card(monkeypatch, tmp_path: Path) -> None:
    """Gradients of q and k are what rounding leaves."""
    monkeypatch.setattr(card_models, "_tensors", lambda shape, of=card_models._tensors: {
        name: values * 100 if "q_proj" in name or "k_proj" in name else values for name, values in of(shape).items()
    })  # fmt: skip
    engine = Engine(threads=2)
    open_backend(engine)
    trained = GainTrainer(LayerStack(engine, write_model(tmp_path / "sharp", Shape(64, 4, 2))), 1, WINDOW)
    assert trained.put_on_card(TowerParams(tokens=WINDOW, back=True)).blocks


@pytest.mark.parametrize("back", [True, False])
@pytest.mark.parametrize("lora", [True, False])
def test_a_card_that_works_is_far_from_the_bound(monkeypatch, trainer, lora: bool, back: bool) -> None:
    monkeypatch.setattr(tower_check, "MOST_OFF", tower_check.MOST_OFF / 4)
    trained = trainer(lora)
    trained.set_parameters(trained.start(1))
    assert len(trained.put_on_card(TowerParams(tokens=WINDOW, back=back)).blocks) == 2


def test_without_gradients_theirs_are_not_tried(monkeypatch, trainer) -> None:
    monkeypatch.setenv("BC_EMULATED_BROKEN", BACK[0])
    assert trainer().put_on_card(TowerParams(tokens=WINDOW)).head is not None


def test_auto_trains_on_the_processor_and_says_why_and_a_card_by_name_is_an_error(
    monkeypatch, trainer
) -> None:
    monkeypatch.setenv("BC_EMULATED_BROKEN", "bc_back_planes")
    placed = choose_training_device(trainer(), Device(AUTO), WINDOW, 1, back=True)
    assert (placed.where, placed.code) == ("cpu", "device-wrong") and placed.surprising
    assert "calculates wrongly: the gradient of" in placed.why
    with pytest.raises(UserError, match=r"cuda:0 \(.*\) is not used: this graphics card, or its driver"):
        choose_training_device(trainer(), Device("cuda:0"), WINDOW, 1, back=True)
