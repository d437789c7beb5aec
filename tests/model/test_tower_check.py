"""A card that trains wrongly is found before a training runs on it.

What is broken here is one kernel of the emulated card, which does nothing.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from card_models import EMULATED, Shape, write_model

from bitconverter.engine import Engine, TowerParams, UnsupportedError, open_backend
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
        UnsupportedError, match=r"calculates wrongly: (a|the) .* % off what the processor finds"
    ):
        trained.put_on_card(TowerParams(tokens=WINDOW, back=True))
    assert trained.tower is None


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
    assert (placed.where, placed.code) == ("cpu", "unsupported") and placed.surprising
    assert "calculates wrongly: the gradient of" in placed.why
    with pytest.raises(UserError, match="does not run on cuda:0: this graphics card, or its driver"):
        choose_training_device(trainer(), Device("cuda:0"), WINDOW, 1, back=True)
