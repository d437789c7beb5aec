"""What MeZO looks at, several sets of parameters in one forward pass, is to the bit what each of them gives alone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from golden_blocks import GOLDEN
from reference.converted import write_converted

from bitconverter.engine import Block, Engine
from bitconverter.model.block_trainer import GROUP_TOKENS, REPLICA_PARAMETERS, Batch, BlockTrainer
from bitconverter.model.delta_trainer import DeltaTrainer
from bitconverter.model.gain_trainer import GainTrainer
from bitconverter.model.layer_stack import LayerStack
from bitconverter.model.lora_trainer import LoraTrainer

WINDOW = 24
KINDS: dict[str, Callable[[LayerStack], BlockTrainer]] = {
    "gain": lambda stack: GainTrainer(stack, 2, WINDOW),
    "lora": lambda stack: LoraTrainer(stack, 2, WINDOW, rank=3, targets=("q", "v", "down")),
    "delta": lambda stack: DeltaTrainer(stack, 2, WINDOW),
}


def trained(kind: str, family: str, folder: Path, threads: int = 2) -> tuple[BlockTrainer, Batch, np.ndarray]:
    """A trainer, windows of different lengths, five sets of parameters."""
    if not folder.exists():
        write_converted(GOLDEN / family, folder, 2, seed=3)
    trainer = KINDS[kind](LayerStack(Engine(threads), folder))
    rng = np.random.default_rng(1)
    tokens = rng.integers(0, 100, (7, WINDOW + 1)).astype(np.int32)
    targets = tokens[:, 1:].copy()
    targets[2, 5:], targets[4] = -1, -1
    batch = trainer.batch(np.ascontiguousarray(tokens[:, :-1]), targets)
    assert batch.lengths[2] <= 5 and batch.lengths[4] == 1
    size = {"gain": 0.3, "lora": 0.1, "delta": 0.02}[kind]
    return trainer, batch, trainer.start(0) + rng.normal(0, size, (5, trainer.size))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["smollm2", "qwen2-window"])
def test_replicas_are_what_their_parameters_give_alone(kind: str, family: str, tmp_path: Path) -> None:
    trainer, batch, rows = trained(kind, family, tmp_path / "model")
    alone = []
    for row in rows:
        trainer.set_parameters(row)
        alone.append(trainer.score(batch))
    assert len({score.loss for score in alone}) == 5 and alone[0].windows == 6
    for trainer.together in (1, 2, 5, 9):
        assert trainer.replicas(batch, rows) == alone
    other, _, _ = trained(kind, family, tmp_path / "model", threads=1)
    other.together = 5
    assert other.replicas(batch, iter(rows)) == alone


@pytest.mark.parametrize("kind", KINDS)
def test_so_many_at_a_time_as_are_to_be_together(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layer after layer: 2, 2 and 1 of the five."""
    trainer, batch, rows = trained(kind, "smollm2", tmp_path / "model")
    real, seen = Block.windows, []

    def windows(self: Block, x: np.ndarray, *args: object, **more: object) -> None:
        seen.append(len(x) // len(batch.hidden))
        real(self, x, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Block, "windows", windows)
    trainer.together = 2
    trainer.replicas(batch, rows)
    assert seen == [2, 2, 2, 2, 1, 1]


def test_as_many_as_share_something_and_both_sides_at_least(tmp_path: Path) -> None:
    few, _, _ = trained("lora", "smollm2", tmp_path / "model")
    assert few.most_together(64) == GROUP_TOKENS // 64
    assert few.most_together(GROUP_TOKENS) == few.most_together(10**6) == 2
    few.size = REPLICA_PARAMETERS // 5  # as many as LoRA of a high rank in every matrix of a real model has
    assert few.most_together(1) == 5
    few.size *= 10
    assert few.most_together(1) == 2
    large, _, _ = trained("delta", "smollm2", tmp_path / "model")
    assert large.most_together(1) == 2
