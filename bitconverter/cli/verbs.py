"""The verbs that run one job and print its result."""

import argparse
import json
import math
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bitconverter import paths
from bitconverter.cli import DONE, FAILED, WRONG_USE, device_text, texts
from bitconverter.cli.benchmark_options import is_whole, without_effect
from bitconverter.cli.running import Ended, report, run
from bitconverter.cli.terminal import ProgressLine, as_table, duration, size
from bitconverter.jobs.adopt import AdoptJob
from bitconverter.jobs.benchmark import BenchmarkJob, BenchmarkResult
from bitconverter.jobs.benchmark_sweep import SEQUENCES, SweepJob, markdown
from bitconverter.jobs.convert import ConvertJob, ConvertResult
from bitconverter.jobs.device_word import Device
from bitconverter.jobs.errors import UserError
from bitconverter.jobs.estimate_training import EstimateTrainingJob, TrainingEstimate
from bitconverter.jobs.evaluate import EvaluateJob, EvaluateResult
from bitconverter.jobs.hardware import CardsJob
from bitconverter.jobs.inspect import InspectJob, InspectResult
from bitconverter.jobs.job import Job
from bitconverter.jobs.logits import LogitsJob, LogitsResult
from bitconverter.jobs.merge import MergeJob, MergeResult
from bitconverter.jobs.pinned import pins_of
from bitconverter.jobs.pins import GoOnJob, PinJob, UnpinJob
from bitconverter.jobs.plan import PlanJob, PlanResult
from bitconverter.jobs.preflight import PreflightJob, PreflightReport
from bitconverter.jobs.prepare import PrepareJob, PrepareResult, Preview, Where
from bitconverter.jobs.replay import ReplayJob, ReplayResult
from bitconverter.jobs.runs import DiffRunsJob, RunDiff, RunsJob
from bitconverter.jobs.synthetic import SyntheticJob, positions_of
from bitconverter.jobs.train import TrainJob
from bitconverter.jobs.train_run import TrainResult
from bitconverter.jobs.train_state import ASIDE
from bitconverter.store.run_store import Run

DEFAULT_PLANES = 3
DEFAULT_CONTEXT = 4096
SYNTHETIC_PLANES = 2
REPEAT = 3  # runs of a benchmark


def convert(args: argparse.Namespace) -> int:
    memory, context, kv = args.fit or (None, DEFAULT_CONTEXT, "f16")
    wish = {
        "planes": DEFAULT_PLANES if args.planes is None else args.planes,
        "bits": args.bits, "size": args.size, "preset": args.preset,
        "fit_bytes": memory, "fit_context": context, "fit_kv": kv,
        "method": args.method or ("fast" if args.no_tokenizer else "full"),
        "calibration_windows": args.calibration_windows, "polish": args.polish,
    }  # fmt: skip
    if args.check:
        report: PreflightReport = run(
            PreflightJob(args.source, args.out, need_tokenizer=not args.no_tokenizer, **wish), _line(args)
        )
        _print(args, report, _preflight_text)
        return DONE if report.ok else FAILED
    job = ConvertJob(
        args.source, args.out, seed=args.seed, threads=args.threads, cpu=args.cpu_mask,
        need_tokenizer=not args.no_tokenizer, calibration=tuple(args.calibration),
        report=not args.no_report and not args.no_tokenizer, **wish,
    )  # fmt: skip
    return _run_and_print(args, job, _convert_text)


def plan(args: argparse.Namespace) -> int:
    return _run_and_print(args, PlanJob(args.source, args.threads, args.cpu_mask), _plan_text)


def prepare(args: argparse.Namespace) -> int:
    job = PrepareJob(
        args.model, tuple(args.inputs), "" if args.preview else args.out, args.window, args.held, args.seed,
        "plain" if args.plain else "auto", args.system, args.fix, args.pack, args.preview, args.licence,
    )  # fmt: skip
    return _run_and_print(args, job, lambda result: _prepare_text(result, args))


def train(args: argparse.Namespace) -> int:
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
        packed = lesson.lower().endswith(".u32")
        made = (
            None
            if packed
            else PrepareJob(model, (lesson,), window=args.window, seed=args.seed, style="plain")
        )
        return _run_and_print(
            args, EstimateTrainingJob(made, job), lambda found: _checked_text(found, args.steps)
        )
    return _run_and_print(args, job, lambda result: _train_text(result, args.model))


def adopt(args: argparse.Namespace) -> int:
    return _run_and_print(args, AdoptJob(args.soul), lambda result: texts.ADOPTED.format(**asdict(result)))


def replay(args: argparse.Namespace) -> int:
    return _run_and_print(args, ReplayJob(args.model, args.log, args.out), _replay_text)


def runs(args: argparse.Namespace) -> int:
    history, numbers = str(paths.runs_file()), args.numbers
    if args.action is None:
        _print(args, RunList(run(RunsJob(history, args.most), _line(args))), _runs_text)
        return DONE
    counts = {"diff": (2,), "pin": (1, 2), "unpin": (2,), "go-on": (2,)}
    if len(numbers) not in counts[args.action] or (args.action == "go-on" and not args.out):
        print(f"bitconverter: {texts.RUNS_WRONG[args.action]}", file=sys.stderr)
        return WRONG_USE
    if args.action == "diff":
        return _run_and_print(args, DiffRunsJob(history, *numbers), _diff_text)
    return _pinned(args, run(DiffRunsJob(history, numbers[0], numbers[0]), _line(args)).first)


def _pinned(args: argparse.Namespace, chosen: Run) -> int:
    """What is to be done with a state of that training."""
    soul = chosen.soul.removesuffix(ASIDE)
    step = args.numbers[1] if len(args.numbers) > 1 else None
    if args.action == "pin":
        return _run_and_print(args, PinJob(soul, step), lambda result: texts.PINNED.format(**asdict(result)))
    if args.action == "unpin":
        job = UnpinJob(soul, args.numbers[1])
        return _run_and_print(args, job, lambda result: texts.UNPINNED.format(**asdict(result)))
    place = str(pins_of(soul).place(args.numbers[1]))
    more: TrainJob = run(GoOnJob(place, args.out, args.steps, args.rate), _line(args))
    more = replace(more, history=str(paths.runs_file()))
    return _run_and_print(args, more, lambda result: _train_text(result, more.model))


def merge(args: argparse.Namespace) -> int:
    return _run_and_print(args, MergeJob(args.model, args.soul, args.out), _merge_text)


def evaluate(args: argparse.Namespace) -> int:
    job = EvaluateJob(
        args.model,
        args.text,
        args.reference,
        args.max_tokens,
        args.window,
        args.threads,
        args.cpu_mask,
        args.kv,
        asked_device(args),
    )
    return _run_and_print(args, job, _evaluate_text)


def inspect(args: argparse.Namespace) -> int:
    job = InspectJob(args.model, args.verify)
    return _run_and_print(args, job, lambda result: _inspect_text(result, args.summary))


def logits(args: argparse.Namespace) -> int:
    try:
        ids = tuple(int(word) for word in args.ids.replace(",", " ").split())
    except ValueError:
        print(f"bitconverter: --ids must be numbers separated by commas, not {args.ids!r}", file=sys.stderr)
        return WRONG_USE
    job = LogitsJob(args.model, ids, args.out, args.threads, args.cpu_mask, args.kv, asked_device(args))
    return _run_and_print(args, job, _logits_text)


def benchmark(args: argparse.Namespace) -> int:
    unused = without_effect(args)
    if unused is not None:
        print(f"bitconverter: {unused}", file=sys.stderr)
        return WRONG_USE
    device, whole = asked_device(args), is_whole(args)
    repeat = REPEAT if args.repeat is None else args.repeat
    if whole or args.sessions is not None or args.text is not None:
        sweep = SweepJob(
            args.model, args.threads, args.cpu_mask, repeat, args.kv, args.llama_bench, args.gguf,
            args.prompt_tokens, args.new_tokens, args.sessions or (SEQUENCES if whole else ()), args.text,
            args.max_tokens or 0, whole, device,
        )  # fmt: skip
        _make_synthetic(args, sweep)
        return _run_and_print(args, sweep, markdown)
    job = BenchmarkJob(
        args.model, args.prompt_tokens, args.new_tokens, args.threads, args.cpu_mask, repeat, args.kv, device
    )  # fmt: skip
    _make_synthetic(args, job)
    return _run_and_print(args, job, _benchmark_text)


def _make_synthetic(args: argparse.Namespace, measured: BenchmarkJob | SweepJob) -> None:
    """The model of --synthetic, if one is asked for and `measured` can be measured with it."""
    if args.synthetic is None:
        return
    try:
        measured.check()
        measured.lengths(positions_of(args.synthetic))
    except UserError as error:
        report(error)
        raise Ended(FAILED) from error
    run(SyntheticJob(args.model, args.synthetic, args.planes or SYNTHETIC_PLANES, args.layers), _line(args))


def devices(args: argparse.Namespace) -> int:
    return _run_and_print(args, CardsJob(), device_text.list_of)


def asked_device(args: argparse.Namespace) -> Device:
    """What --device, --gpu-memory and --gpu-layers say."""
    return Device(args.device, args.gpu_memory, args.gpu_layers)


def _line(args: argparse.Namespace) -> ProgressLine:
    return ProgressLine(quiet=args.quiet)


def _run_and_print(args: argparse.Namespace, job: Job, text: Callable[[Any], str]) -> int:
    _print(args, run(job, _line(args)), text)
    return DONE


def _print(args: argparse.Namespace, result: Any, text: Callable[[Any], str]) -> None:
    print(as_json(result) if args.json else text(result), flush=True)


def as_json(result: Any) -> str:
    """A result as one line of JSON in ASCII; what is no number there (infinity) becomes null."""
    return json.dumps(_plain(asdict(result)), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _convert_text(result: ConvertResult) -> str:
    lines = [
        texts.CONVERTED.format(
            **asdict(result), file_size=size(result.file_bytes), source_size=size(result.source_bytes)
        )
    ]
    if result.report is not None and "all" in result.report:
        lines.append(texts.CONVERTED_REPORT.format(**_readable(result.report["all"])))
    return "\n".join([*lines, texts.CONVERTED_NEXT.format(quoted_out=shlex.quote(result.out))])


def _readable(numbers: dict[str, Any]) -> dict[str, Any]:
    """None is a number beyond all."""
    return {key: math.inf if value is None else value for key, value in numbers.items()}


def _prepare_text(result: PrepareResult, args: argparse.Namespace) -> str:
    lines = [line for shown in result.previews for line in (*_preview_lines(shown), "")]
    lines.append(texts.PREPARED_TEMPLATE if result.templated else texts.PREPARED_PLAIN)
    lines.append(texts.PREPARED.format(**vars(result)))
    if result.mendable:
        lines.append(texts.PREPARED_MENDABLE.format(mendable=result.mendable))
    if result.rejects:
        lines.append(texts.PREPARED_REJECTS.format(rejects=result.rejects))
    quoted = {"quoted_model": shlex.quote(args.model), "quoted_out": shlex.quote(args.out)}
    end = texts.PREPARED_NEXT if result.out else texts.PREPARED_LOOKED
    return "\n".join([*lines, end.format(out=args.out, **quoted)])


def _preview_lines(shown: Preview) -> list[str]:
    text = "".join(
        texts.PREVIEW_LEARNED.format(text=piece) if learned else piece for piece, learned in shown.pieces
    )
    where = Where(shown.line, shown.place).told(shown.file)
    return [texts.PREVIEW_HEAD.format(**vars(shown), where=where), text + (" ..." if shown.cut else "")]


def _checked_text(found: TrainingEstimate, steps: int) -> str:
    return texts.TRAIN_CHECKED.format(
        before=duration(found.before), step=f"{found.step:.2f} s", steps=steps,
        whole=duration(found.seconds(steps)), memory=size(found.memory), free=size(found.free),
        windows=found.windows, useful=found.useful,
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
    rows += [(name, _short(a), _short(b)) for name, a, b in (*diff.settings, *diff.numbers)]
    return as_table(rows, right=set())


def _short(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "-"
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _replay_text(result: ReplayResult) -> str:
    return texts.REPLAYED.format(**asdict(result))


def _merge_text(result: MergeResult) -> str:
    return texts.MERGED.format(**asdict(result), size=size(result.file_bytes))


def _preflight_text(report: PreflightReport) -> str:
    lines = [f"{item.level:8}{item.message}" for item in report.items]
    if report.parameters:
        lines.append(
            texts.PREFLIGHT.format(
                **asdict(report),
                source_size=size(report.source_bytes),
                out_size=size(report.out_bytes),
                free="unknown" if report.free_bytes is None else size(report.free_bytes),
            )
        )
    return "\n".join([*lines, texts.PREFLIGHT_OK if report.ok else texts.PREFLIGHT_BAD])


def _plan_text(result: PlanResult) -> str:
    rows: list[tuple[Any, ...]] = [texts.PLAN_HEADER]
    for choice in result.choices:
        if choice.problem:
            rows.append((choice.preset, *"-" * (len(texts.PLAN_HEADER) - 1)))
            continue
        fits = texts.PLAN_FITS.format(context=choice.context) if choice.fits else texts.PLAN_FITS_NOT
        rows.append(
            (
                choice.preset, f"{choice.bits:.2f}", size(choice.file_bytes), size(choice.chat_bytes),
                f"{choice.tokens_per_second:.3g}", f"{choice.kl:.3g}", duration(choice.seconds_full),
                duration(choice.seconds_fast), size(choice.peak_full), fits,
            )
        )  # fmt: skip
    problems = [f"{choice.preset}: {choice.problem}" for choice in result.choices if choice.problem]
    head = texts.PLANNED.format(
        **asdict(result), source_size=size(result.source_bytes), memory=size(result.memory_bytes)
    )
    return "\n".join([head, as_table(rows, right=set(range(1, 9))), *problems, texts.PLAN_END])


def _evaluate_text(result: EvaluateResult) -> str:
    lines = [texts.EVALUATED.format(**asdict(result))]
    if result.kl is not None:
        lines.append(texts.EVALUATED_REFERENCE.format(**asdict(result)))
    if result.placed is not None:
        lines.append(texts.RAN_ON.format(device=device_text.where(result.placed)))
    return "\n".join(lines)


def _inspect_text(result: InspectResult, summary: bool) -> str:
    lines: list[str] = []
    if not summary:
        rows: list[tuple[Any, ...]] = [("tensor", "form", "shape", "bytes", "error", "SHA-256")]
        for t in result.tensors:
            form = (
                f"{t.n_planes} planes"
                if t.n_planes
                else f"{t.form} {t.dtype}"
                if t.form != t.dtype
                else t.form
            )
            error = "" if t.error is None else f"{t.error:.2e}"
            rows.append((t.name, form, "x".join(map(str, t.shape)), t.bytes, error, t.sha256[:16]))
        lines.append(as_table(rows, right={3}))
        if result.files:
            files = [("file", "SHA-256"), *((name, sha256[:16]) for name, sha256 in result.files.items())]
            lines.append("\n" + as_table(files, right=set()))
        lines.append("")
    fields = vars(result) | {"file_size": size(result.file_bytes), "total_size": size(result.total_bytes)}
    lines.append(texts.INSPECTED.format(**fields))
    if result.source:
        lines.append(texts.INSPECTED_SOURCE.format(**fields))
    if result.unsupported:
        lines.append(texts.INSPECTED_UNSUPPORTED.format(**fields))
    if result.verified is not None:
        lines.append(texts.INSPECTED_VERIFIED.format(**fields))
    return "\n".join(lines)


def _logits_text(result: LogitsResult) -> str:
    shown = ",".join(map(str, result.argmax[:16])) + (",..." if len(result.argmax) > 16 else "")
    said = texts.LOGITS.format(out=result.out, shape=result.shape, argmax=shown)
    device = texts.RAN_ON.format(device=device_text.where(result.placed))
    return f"{said}\n{device}" if result.placed.on_device else said


def _benchmark_text(result: BenchmarkResult) -> str:
    device = device_text.where(result.placed)
    lines = [texts.BENCHMARKED.format(**asdict(result), peak_rss=size(result.peak_rss_bytes), device=device)]
    if result.device_memory is not None:
        lines.append(device_text.memory_line(result.device_memory))
    return "\n".join(lines)
