"""Go through a training run without gradients once more, by its step log alone: the same soul, bit for bit."""

from dataclasses import dataclass
from pathlib import Path

from bitconverter.format.atomic import write_bytes
from bitconverter.format.errors import UserError
from bitconverter.format.soul_file import Soul, soul_bytes, weights_hash
from bitconverter.format.step_log import StepLog, read_log
from bitconverter.jobs.job import Context, Progress
from bitconverter.jobs.learners import AdapterKind
from bitconverter.jobs.opening import open_engine
from bitconverter.jobs.train_result import check_soul_name, output_exists
from bitconverter.model.block_trainer import F64
from bitconverter.model.layer_stack import LayerStack
from bitconverter.model.mezo import Mezo


@dataclass(frozen=True)
class ReplayResult:
    out: str
    steps: int
    best_step: int
    parameters: int


@dataclass(frozen=True)
class ReplayJob:
    """`model`: the converted folder of the run; `log`: its step log; `out`: the soul to write. Takes no lesson: nothing
    is computed but the directions. Emits Progress(unit="step")."""

    model: str
    log: str
    out: str

    @property
    def work_dir(self) -> Path | None:
        return None

    def run(self, ctx: Context) -> ReplayResult:
        """Raises UserError: "steps-missing", "steps-broken", "steps-base" (it belongs to another model),
        "soul-name", "output-exists", "train-layers", "train-dense"; EngineError; Cancelled."""
        source, path, out = Path(self.model), Path(self.log), Path(self.out)
        check_soul_name(self.out)
        if out.exists():
            raise output_exists(str(out))
        if not path.is_file():
            raise UserError(
                "steps-missing", f"There is no {path}. Check the path of the step log.", path=str(path)
            )
        log = read_log(path)
        stack = LayerStack(open_engine(1, "auto"), source)
        if weights_hash(source.glob("*.safetensors"), ctx.cancel.check) != log.base_sha256:
            raise UserError(
                "steps-base",
                f"{path.name} was written by a training of another model ({log.base_name or 'without a name'}) than "
                f"{source}. Give the converted model that was trained.",
                log=path.name, base=log.base_name, model=str(source),
            )  # fmt: skip
        trainer = AdapterKind(log.adapter, log.rank, log.targets).trainer(stack, log.layers, window=1)
        mezo = Mezo(
            log.seed,
            log.epsilon,
            log.slopes.shape[1],
            0.0,
            trainer.reach() if log.reach == "graded" else None,
        )
        made = trainer.adapters(_best(log, mezo, trainer.start(log.seed), ctx))
        soul = Soul(made.gains, log.base_name, log.base_sha256, log.notes, made.lora, made.delta)
        write_bytes(out, soul_bytes(soul))
        return ReplayResult(self.out, len(log.rates), log.best_step, trainer.size)


def _best(log: StepLog, mezo: Mezo, parameters: F64, ctx: Context) -> F64:
    """The parameters after step log.best_step, from those at the beginning."""
    steps = len(log.rates)
    wanted = {log.best_step, *(int(step) for step in log.restored)}
    kept = {0: parameters.copy()}
    for step in range(log.best_step):
        ctx.cancel.check()
        back_to = int(log.restored[step])
        if back_to >= 0:
            parameters = kept[back_to].copy()
        else:
            mezo.move(parameters, step, log.slopes[step], float(log.rates[step]))
        if step + 1 in wanted:
            kept[step + 1] = parameters.copy()
        ctx.emit(Progress(step + 1, steps, "step"))
    return kept[log.best_step]
