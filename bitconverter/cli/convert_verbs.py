"""The verbs that make a small model of a large one: convert, plan."""

import argparse
import math
import os
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bitconverter.cli import DONE, FAILED, texts
from bitconverter.cli.results import print_result, progress_line, run_and_print
from bitconverter.cli.running import run
from bitconverter.cli.terminal import as_table, duration, size
from bitconverter.jobs.check_conversion import CheckConversionJob
from bitconverter.jobs.convert import ConvertJob, ConvertResult
from bitconverter.jobs.plan import PlanJob, PlanResult
from bitconverter.jobs.preflight import PreflightReport

DEFAULT_PLANES = 3
DEFAULT_CONTEXT = 4096


def convert(args: argparse.Namespace) -> int:
    memory, context, kv = args.fit or (None, DEFAULT_CONTEXT, "f16")
    wish = {
        "planes": DEFAULT_PLANES if args.planes is None else args.planes,
        "bits": args.bits, "size": args.size, "preset": args.preset,
        "fit_bytes": memory, "fit_context": context, "fit_kv": kv,
        "method": args.method or ("fast" if args.no_tokenizer else "full"),
        "calibration_windows": args.calibration_windows, "polish": args.polish,
        "report": not args.no_report and not args.no_tokenizer,
    }  # fmt: skip
    # absolute: the window goes on with it in another folder
    source, *calibration = map(os.path.abspath, (args.source, *args.calibration))
    job = ConvertJob(
        source, args.out, seed=args.seed, threads=args.threads, cpu=args.cpu_mask,
        need_tokenizer=not args.no_tokenizer, calibration=tuple(calibration),
        own_chat=wish["method"] == "full" and not args.calibration and not args.no_own_chat, **wish,
    )  # fmt: skip
    if args.check:
        report: PreflightReport = run(CheckConversionJob(job), progress_line(args))
        print_result(args, report, _preflight_text)
        return DONE if report.ok else FAILED
    return run_and_print(args, job, _convert_text)


def plan(args: argparse.Namespace) -> int:
    return run_and_print(args, PlanJob(args.source, args.threads, args.cpu_mask), _plan_text)


def _convert_text(result: ConvertResult) -> str:
    lines = [
        texts.CONVERTED.format(
            **asdict(result), file_size=size(result.file_bytes), source_size=size(result.source_bytes)
        )
    ]
    if result.report is not None and "all" in result.report:
        lines.append(texts.CONVERTED_REPORT.format(**_readable(result.report["all"])))
    verb = "chat" if (Path(result.out) / "tokenizer.json").exists() else "benchmark"  # --no-tokenizer
    return "\n".join([*lines, texts.CONVERTED_NEXT.format(verb=verb, quoted_out=shlex.quote(result.out))])


def _readable(numbers: dict[str, Any]) -> dict[str, Any]:
    """None is a number beyond all."""
    return {key: math.inf if value is None else value for key, value in numbers.items()}


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
