"""The verbs that tell what this computer can do: benchmark, devices."""

import argparse
import sys
from dataclasses import asdict

from bitconverter.cli import FAILED, WRONG_USE, device_text, texts
from bitconverter.cli.arguments import asked_device
from bitconverter.cli.benchmark_options import is_whole, without_effect
from bitconverter.cli.results import progress_line, run_and_print
from bitconverter.cli.running import Ended, report, run
from bitconverter.cli.terminal import size
from bitconverter.jobs.benchmark import BenchmarkJob, BenchmarkResult
from bitconverter.jobs.benchmark_sweep import SEQUENCES, SweepJob, markdown
from bitconverter.jobs.errors import EngineError, UserError
from bitconverter.jobs.hardware import CardsJob
from bitconverter.jobs.placement import check_machine

SYNTHETIC_PLANES = 2
REPEAT = 3  # runs of a benchmark


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
        return run_and_print(args, sweep, markdown)
    job = BenchmarkJob(
        args.model, args.prompt_tokens, args.new_tokens, args.threads, args.cpu_mask, repeat, args.kv, device
    )  # fmt: skip
    _make_synthetic(args, job)
    return run_and_print(args, job, _benchmark_text)


def _make_synthetic(args: argparse.Namespace, measured: BenchmarkJob | SweepJob) -> None:
    """The model of --synthetic, if one is asked for and `measured` can be measured with it."""
    if args.synthetic is None:
        return
    from bitconverter.jobs.synthetic import SyntheticJob, positions_of  # with what writes a model

    try:
        measured.check()
        measured.lengths(positions_of(args.synthetic))
        check_machine(args.threads, args.cpu_mask, measured.device)
    except (UserError, EngineError) as error:
        report(error)
        raise Ended(FAILED) from error
    run(
        SyntheticJob(args.model, args.synthetic, args.planes or SYNTHETIC_PLANES, args.layers),
        progress_line(args),
    )


def devices(args: argparse.Namespace) -> int:
    return run_and_print(args, CardsJob(), device_text.list_of)


def _benchmark_text(result: BenchmarkResult) -> str:
    device = device_text.where(result.placed)
    lines = [texts.BENCHMARKED.format(**asdict(result), peak_rss=size(result.peak_rss_bytes), device=device)]
    if result.device_memory is not None:
        lines.append(device_text.memory_line(result.device_memory))
    return "\n".join(lines)
