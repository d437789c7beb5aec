"""The two ways to move parameters: by exact gradients (AdamW), or by forward passes alone (MeZO)."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bitconverter.engine import Cancel
from bitconverter.jobs.train_settings import TrainSettings, clip_of, epsilon_of
from bitconverter.model.adamw import AdamW
from bitconverter.model.block_trainer import Batch, BlockTrainer, Score
from bitconverter.model.delta_trainer import DeltaTrainer
from bitconverter.model.gain_trainer import GainTrainer
from bitconverter.model.layer_stack import LayerStack
from bitconverter.model.lora_trainer import LoraTrainer
from bitconverter.model.mezo import Mezo

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AdapterKind:
    """kind "gain": row gains of every matrix; "lora": additions of `rank` to the matrices `targets` (of MATRICES);
    "delta": a whole matrix is added to each of the MLP."""

    kind: str
    rank: int
    targets: tuple[str, ...]

    def trainer(
        self, stack: LayerStack, layers: int, window: int, choices: tuple[int, ...] = ()
    ) -> BlockTrainer:
        """Raises UserError: "train-layers", "train-dense"."""
        if self.kind == "gain":
            return GainTrainer(stack, layers, window, choices)
        if self.kind == "delta":
            return DeltaTrainer(stack, layers, window, choices)
        return LoraTrainer(stack, layers, window, choices, self.rank, self.targets)


class Learner(Protocol):
    """look(), then either move() or skip(), once for every step."""

    def look(self, parameters: F64, batch: Batch, step: int, cancel: Cancel) -> float:
        """The loss on a batch, in nats per learned token; no number if something in it is none. Sees the parameters
        that the trainer was given."""

    def move(self, parameters: F64, step: int, rate: float) -> None:
        """Change the parameters by what the last look() saw."""

    def skip(self, step: int, back_to: int) -> None:
        """The step changes nothing, but for the parameters of an earlier one that are taken up again."""

    def state(self) -> dict[str, Any]:
        """Arrays to go on from."""

    def restore(self, state: dict[str, Any]) -> None:
        """Raises ValueError or KeyError for what state() did not give."""


class ExactLearner:
    def __init__(self, trainer: BlockTrainer, decay: float, clip: float) -> None:
        self._trainer = trainer
        self._optimizer = AdamW(trainer.size, decay, clip)
        self._gradient = np.zeros(0)

    def look(self, parameters: F64, batch: Batch, step: int, cancel: Cancel) -> float:
        seen = self._trainer.step(batch, cancel)
        self._gradient = seen.gradient
        return seen.loss if np.isfinite(seen.gradient).all() else np.nan

    def move(self, parameters: F64, step: int, rate: float) -> None:
        self._optimizer.update(parameters, self._gradient, rate)

    def skip(self, step: int, back_to: int) -> None:
        self._optimizer.forget()

    def state(self) -> dict[str, Any]:
        return self._optimizer.state()

    def restore(self, state: dict[str, Any]) -> None:
        for name in ("first", "second"):
            if state[name].shape != (self._trainer.size,) or not np.isfinite(state[name]).all():
                raise ValueError(f"{name} does not fit")
        self._optimizer.restore(state)


class MezoLearner:
    """Keeps what a step log holds, and nothing else. objective: "loss", or "accuracy": the share of windows that are
    not right in every learned token."""

    def __init__(self, trainer: BlockTrainer, mezo: Mezo, objective: str) -> None:
        self._trainer, self._mezo, self._objective = trainer, mezo, objective
        self._slopes = np.zeros(mezo.directions, np.float32)
        self.slopes: list[npt.NDArray[np.float32]] = []
        self.rates: list[float] = []
        self.restored: list[int] = []

    def look(self, parameters: F64, batch: Batch, step: int, cancel: Cancel) -> float:
        scores = self._trainer.replicas(batch, self._mezo.places(parameters, step), cancel)
        self._slopes = self._mezo.slopes([self._value(score) for score in scores])
        loss = float(np.mean([score.loss / max(1, score.tokens) for score in scores]))
        return loss if np.isfinite(self._slopes).all() else np.nan

    def _value(self, score: Score) -> float:
        if self._objective == "accuracy":
            return 1 - score.right / max(1, score.windows)
        return score.loss / max(1, score.tokens)

    def move(self, parameters: F64, step: int, rate: float) -> None:
        self._mezo.move(parameters, step, self._slopes, rate)
        self._keep(self._slopes, rate, -1)

    def skip(self, step: int, back_to: int) -> None:
        self._keep(np.zeros_like(self._slopes), 0.0, back_to)

    def _keep(self, slopes: npt.NDArray[np.float32], rate: float, back_to: int) -> None:
        self.slopes.append(slopes)
        self.rates.append(rate)
        self.restored.append(back_to)

    def state(self) -> dict[str, Any]:
        return {
            "slopes": np.array(self.slopes, np.float32).reshape(-1, self._mezo.directions),
            "rates": np.array(self.rates, np.float64),
            "restored": np.array(self.restored, np.int32),
        }

    def restore(self, state: dict[str, Any]) -> None:
        slopes, rates, restored = state["slopes"], state["rates"], state["restored"]
        if slopes.shape != (len(rates), self._mezo.directions) or len(restored) != len(rates):
            raise ValueError("the slopes do not fit")
        self.slopes, self.rates = [row.copy() for row in slopes], [float(rate) for rate in rates]
        self.restored = [int(step) for step in restored]


def learner_of(job: TrainSettings, trainer: BlockTrainer) -> Learner:
    """What moves the trainer's parameters as the job wants it."""
    if job.engine == "exact":
        return ExactLearner(trainer, job.decay, clip_of(job))
    return MezoLearner(trainer, mezo_of(job, trainer), job.objective)


def mezo_of(job: TrainSettings, trainer: BlockTrainer) -> Mezo:
    """Of a job with the engine "mezo"."""
    return Mezo(
        job.seed,
        epsilon_of(job),
        job.directions,
        clip_of(job),
        trainer.reach(),
        job.one_sided or job.by_spread,
        job.by_spread,
    )
