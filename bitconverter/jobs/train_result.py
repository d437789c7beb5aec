"""What a training leaves: its numbers, and where its files lie."""

from dataclasses import dataclass
from pathlib import Path

from bitconverter.format.errors import UserError
from bitconverter.jobs.placement import Placed
from bitconverter.jobs.taught_model import Forgetting
from bitconverter.jobs.train_state import ASIDE

SOUL = ".soul"


@dataclass(frozen=True)
class TrainResult:
    """Losses in nats per learned token on the windows held back, before and at the best step, and the share of these
    windows that are right in every token. `out`: where the soul lies. `log`: the step log, if there is one (engine
    "mezo"). `seconds`: of work, pauses not counted. `forgetting`: None if it was not looked at; `set_aside`: it has
    forgotten too much."""

    out: str
    log: str | None
    steps: int
    best_step: int
    before: float
    after: float
    accuracy_before: float
    accuracy_after: float
    parameters: int
    learned_tokens: int
    seconds: float
    forgetting: Forgetting | None
    set_aside: bool
    placed: Placed


def log_path(soul: str) -> Path:
    """Where the step log of a soul lies."""
    return Path(soul + ".steps")


def aside_path(soul: str) -> Path:
    """Where a soul lies that was set aside."""
    return Path(soul + ASIDE)


def check_soul_name(path: str) -> None:
    """Raises UserError("soul-name") for one that neither the shelf nor the window would take for a soul."""
    if not path.lower().endswith(SOUL):
        raise UserError(
            "soul-name",
            f"{path} does not end in {SOUL}, so it would not be taken for a soul. Call it {path}{SOUL}.",
            path=path, better=path + SOUL,
        )  # fmt: skip


def output_exists(path: str) -> UserError:
    return UserError(
        "output-exists", f"{path} is there already. Choose another name or remove it.", path=path
    )
