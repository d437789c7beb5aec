"""The verbs that tell what this computer can do: benchmark, devices."""

import argparse
import contextlib
import sys
from dataclasses import asdict

from bitconverter.cli import WRONG_USE, device_text, texts
from bitconverter.cli.arguments import asked_device
from bitconverter.cli.results import progress_line as _line
from bitconverter.cli.results import run_and_print as _run_and_print
from bitconverter.cli.running import run
from bitconverter.cli.terminal import size
from bitconverter.jobs.benchmark import BenchmarkJob, BenchmarkResult
from bitconverter.jobs.benchmark_sweep import PREFILL, SEQUENCES, TOGETHER, SweepJob, markdown
from bitconverter.jobs.errors import UserError
from bitconverter.jobs.hardware import CardsJob

SYNTHETIC_PLANES = 2
SESSIONS_TOKENS = 32  # that each of many texts decodes with --sessions


def benchmark(args: argparse.Namespace) -> int:
    if not args.synthetic and (args.planes or args.layers):
        print("bitconverter: --planes and --layers shape a model that --synthetic makes", file=sys.stderr)
        return WRONG_USE
    device = asked_device(args)
    whole = bool(args.full or args.llama_bench or args.gguf)
    if whole or args.sessions or args.text:
        together = TOGETHER if whole else args.new_tokens or SESSIONS_TOKENS
        sweep = SweepJob(
            args.model, args.threads, args.cpu_mask, args.repeat, args.kv, args.llama_bench, args.gguf,
            args.prompt_tokens or PREFILL, sequences=args.sessions or (SEQUENCES if whole else ()),
            together_tokens=together, text=args.text, text_tokens=args.max_tokens, whole=whole, device=device,
        )  # fmt: skip
        _make_synthetic(args, sweep)
        return _run_and_print(args, sweep, markdown)
    job = BenchmarkJob(
        args.model, args.prompt_tokens, args.new_tokens, args.threads, args.cpu_mask, args.repeat, args.kv, device
    )  # fmt: skip
    _make_synthetic(args, job)
    return _run_and_print(args, job, _benchmark_text)


def _make_synthetic(args: argparse.Namespace, measured: BenchmarkJob | SweepJob) -> None:
    """The model of --synthetic, unless the rest of the command cannot be measured: then that job says so."""
    if not args.synthetic:
        return
    with contextlib.suppress(UserError):
        measured.check()
        from bitconverter.jobs.synthetic import SyntheticJob  # with what writes a model

        run(
            SyntheticJob(args.model, args.synthetic, args.planes or SYNTHETIC_PLANES, args.layers),
            _line(args),
        )


def devices(args: argparse.Namespace) -> int:
    return _run_and_print(args, CardsJob(), device_text.list_of)


def _benchmark_text(result: BenchmarkResult) -> str:
    device = device_text.where(result.placed)
    lines = [texts.BENCHMARKED.format(**asdict(result), peak_rss=size(result.peak_rss_bytes), device=device)]
    if result.device_memory is not None:
        lines.append(device_text.memory_line(result.device_memory))
    return "\n".join(lines)
