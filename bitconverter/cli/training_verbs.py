"""The verbs of lessons, trainings and souls: prepare, train, adopt, replay, runs, merge."""

import argparse
import shlex
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bitconverter import paths
from bitconverter.cli import DONE, WRONG_USE, device_text, texts
from bitconverter.cli.results import print_result, progress_line, run_and_print
from bitconverter.cli.running import run
from bitconverter.cli.terminal import as_table, duration, size
from bitconverter.cli.training_options import fill_in, without_effect
from bitconverter.jobs.adopt import AdoptJob
from bitconverter.jobs.estimate_training import EstimateTrainingJob, TrainingEstimate
from bitconverter.jobs.lesson_facts import facts_steps, facts_training
from bitconverter.jobs.merge import MergeJob, MergeResult
from bitconverter.jobs.pinned import pins_of
from bitconverter.jobs.pins import GoOnJob, PinJob, UnpinJob
from bitconverter.jobs.prepare import PrepareJob
from bitconverter.jobs.prepare_result import PrepareResult, Preview, Where
from bitconverter.jobs.replay import ReplayJob, ReplayResult
from bitconverter.jobs.runs import DiffRunsJob, RunDiff, RunsJob
from bitconverter.jobs.train import TrainJob
from bitconverter.jobs.train_result import TrainResult
from bitconverter.jobs.train_settings import TrainSettings
from bitconverter.jobs.train_state import ASIDE
from bitconverter.store.run_store import Run

USUAL_WINDOW = TrainSettings.window


def prepare(args: argparse.Namespace) -> int:
    job = PrepareJob(
        args.model, tuple(args.inputs), "" if args.preview else args.out, args.window, args.held, args.seed,
        "plain" if args.plain else "auto", args.system, args.fix, args.pack, args.preview, args.licence,
        facts=args.facts,
    )  # fmt: skip
    return run_and_print(args, job, lambda result: _prepare_text(result, args))


def train(args: argparse.Namespace) -> int:
    unused = without_effect(args)
    if unused is not None:
        print(f"bitconverter: {unused}", file=sys.stderr)
        return WRONG_USE
    fill_in(args)
    # absolute: what is pinned of it is gone on from in any folder
    model, lesson = (str(Path(path).absolute()) for path in (args.model, args.lesson))
    job = TrainJob(
        model, lesson, args.out, args.layers, args.steps, args.batch, args.window, args.rate, args.decay,
        args.seed, args.threads, args.cpu_mask, tuple(args.labels), args.engine, args.epsilon, args.directions,
        args.clip, args.objective, args.warmup, args.patience, args.adapter, args.rank,
        tuple(args.targets), args.forget_limit, tuple(args.sample),
        str(paths.runs_file()), args.eco, args.away, args.cores, args.one_sided, args.by_spread, "",
        args.device, args.gpu_memory, args.gpu_layers,
    )  # fmt: skip
    if args.check:
        estimate = EstimateTrainingJob(None, job)
        return run_and_print(args, estimate, lambda found: _checked_text(found, args.steps))
    return run_and_print(args, job, lambda result: _train_text(result, args.model))


def adopt(args: argparse.Namespace) -> int:
    job = AdoptJob(args.soul, str(paths.runs_file()))
    return run_and_print(args, job, lambda result: texts.ADOPTED.format(**asdict(result)))


def replay(args: argparse.Namespace) -> int:
    return run_and_print(args, ReplayJob(args.model, args.log, args.out), _replay_text)


def runs(args: argparse.Namespace) -> int:
    history, numbers = str(paths.runs_file()), args.numbers
    if args.action is None:
        print_result(args, RunList(run(RunsJob(history, args.most), progress_line(args))), _runs_text)
        return DONE
    counts = {"diff": (2,), "pin": (1, 2), "unpin": (2,), "go-on": (2,)}
    if len(numbers) not in counts[args.action] or (args.action == "go-on" and not args.out):
        print(f"bitconverter: {texts.RUNS_WRONG[args.action]}", file=sys.stderr)
        return WRONG_USE
    if args.action == "diff":
        return run_and_print(args, DiffRunsJob(history, *numbers), _diff_text)
    return _pinned(args, run(DiffRunsJob(history, numbers[0], numbers[0]), progress_line(args)).first)


def _pinned(args: argparse.Namespace, chosen: Run) -> int:
    """What is to be done with a state of that training."""
    soul = chosen.soul.removesuffix(ASIDE)
    step = args.numbers[1] if len(args.numbers) > 1 else None
    if args.action == "pin":
        return run_and_print(args, PinJob(soul, step), lambda result: texts.PINNED.format(**asdict(result)))
    if args.action == "unpin":
        job = UnpinJob(soul, args.numbers[1])
        return run_and_print(args, job, lambda result: texts.UNPINNED.format(**asdict(result)))
    place = str(pins_of(soul).place(args.numbers[1]))
    more: TrainJob = run(GoOnJob(place, args.out, args.steps, args.rate), progress_line(args))
    more = replace(more, history=str(paths.runs_file()))
    return run_and_print(args, more, lambda result: _train_text(result, more.model))


def merge(args: argparse.Namespace) -> int:
    return run_and_print(args, MergeJob(args.model, args.soul, args.out), _merge_text)


def _prepare_text(result: PrepareResult, args: argparse.Namespace) -> str:
    lines = [line for shown in result.previews for line in (*_preview_lines(shown), "")]
    lines.append(texts.PREPARED_TEMPLATE if result.templated else texts.PREPARED_PLAIN)
    lines.append(texts.PREPARED.format(**vars(result)))
    if args.facts and result.texts:
        lines.append(texts.PREPARED_FACTS.format(**vars(result)))
    if result.mendable:
        lines.append(texts.PREPARED_MENDABLE.format(mendable=result.mendable))
    if result.rejects:
        lines.append(texts.PREPARED_REJECTS.format(rejects=result.rejects))
    if result.windows >= 2 and result.held in (0, result.entries):
        lines.append(texts.PREPARED_NO_HELD)
    return "\n".join([*lines, _what_next(result, args)])


def _what_next(result: PrepareResult, args: argparse.Namespace) -> str:
    """What to do with the pack: a command that works, or what is missing."""
    if not result.out:
        return texts.PREPARED_LOOKED.format(out=args.out)
    if result.windows < 2:  # `train` wants one to learn from and one to check with
        few = texts.PREPARED_SHORT if result.texts or args.pack else texts.PREPARED_FEW
        return few.format(windows=result.windows, tokens=args.window)
    options = "" if args.window == USUAL_WINDOW else f" --window {args.window}"
    if result.dreams:
        options += _facts_options(result, Path(args.model))
    return (texts.PREPARED_NEXT if result.converted else texts.PREPARED_CONVERT).format(
        model=args.model, quoted_model=shlex.quote(args.model), quoted_out=shlex.quote(args.out), options=options
    )  # fmt: skip


def _facts_options(result: PrepareResult, model: Path) -> str:
    """How the pack is to be learned, so that the model knows what the texts say."""
    words = {
        "steps": facts_steps(result.windows - result.held_windows, TrainSettings.batch),
        **facts_training(model),
    }
    told = {name: " ".join(word) if isinstance(word, tuple) else word for name, word in words.items()}
    return "".join(f" --{name.replace('_', '-')} {word}" for name, word in told.items())


def _preview_lines(shown: Preview) -> list[str]:
    text = "".join(
        texts.PREVIEW_LEARNED.format(text=piece) if learned else piece for piece, learned in shown.pieces
    )
    where = Where(shown.line, shown.place).told(shown.file)
    return [texts.PREVIEW_HEAD.format(**vars(shown), where=where), text + (" ..." if shown.cut else "")]


def _checked_text(found: TrainingEstimate, steps: int) -> str:
    return texts.TRAIN_CHECKED.format(
        before=duration(found.before), step=f"{found.step:.2f} s", steps=steps,
        whole=duration(found.seconds(steps)), looks=duration(found.looks(steps)),
        memory=size(found.memory), free=size(found.free), disk=size(found.room.needed if found.room else 0),
        disk_free=size(found.room.free if found.room else 0), windows=found.windows, useful=found.useful,
    )  # fmt: skip


def _train_text(result: TrainResult, model: str) -> str:
    lines = [texts.TRAINED.format(**asdict(result))]
    if result.forgetting:
        lines.append(texts.TRAINED_GENERAL.format(**asdict(result.forgetting)))
    if result.log:
        lines.append(texts.TRAINED_LOG.format(log=result.log))
    out = result.out.removesuffix(ASIDE) if result.set_aside else result.out
    quoted = {"quoted_model": shlex.quote(model), "quoted_out": shlex.quote(out)}
    end = texts.TRAINED_ASIDE if result.set_aside else texts.TRAINED_NEXT
    return "\n".join([*lines, end.format(**quoted)])


@dataclass(frozen=True)
class RunList:
    """What `runs` prints."""

    runs: tuple[Run, ...]


def _runs_text(found: RunList) -> str:
    if not found.runs:
        return texts.RUNS_NONE
    rows: list[tuple[Any, ...]] = [texts.RUNS_HEADER]
    for each in found.runs:
        numbers = each.numbers
        loss = f"{numbers['before']:.4f} -> {numbers['after']:.4f}" if "after" in numbers else ""
        steps = f"{numbers['steps']:.0f}" if "steps" in numbers else ""
        pinned = " ".join(map(str, each.pinned))
        rows.append(
            (each.id, _when(each.started), each.outcome, steps, loss, _devices(each), pinned, each.soul)
        )
    return as_table(rows, right={0, 3})


def _devices(found: Run) -> str:
    return ", ".join(map(device_text.ran_on_briefly, found.devices))


def _when(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(milliseconds / 1000))


def _diff_text(diff: RunDiff) -> str:
    rows: list[tuple[Any, ...]] = [("", diff.first.id, diff.second.id)]
    rows += [("started", _when(diff.first.started), _when(diff.second.started))]
    rows += [("outcome", diff.first.outcome, diff.second.outcome)]
    rows += [("on", _devices(diff.first), _devices(diff.second))]
    # how many steps were made is told where they are others than were asked for
    made = [texts.STEPS_MADE if name == "steps" else name for name, _, _ in diff.numbers]
    numbers = [(name, a, b) for name, (_, a, b) in zip(made, diff.numbers, strict=True)]
    asked = {(a, b) for name, a, b in diff.settings if name == "steps"}
    numbers = [row for row in numbers if row[0] != texts.STEPS_MADE or row[1:] not in asked]
    rows += [(name, _short(a), _short(b)) for name, a, b in (*diff.settings, *numbers)]
    return as_table(rows, right=set())


def _short(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "-"
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _replay_text(result: ReplayResult) -> str:
    return texts.REPLAYED.format(**asdict(result))


def _merge_text(result: MergeResult) -> str:
    return texts.MERGED.format(**asdict(result), size=size(result.file_bytes))
