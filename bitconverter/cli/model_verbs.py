"""The verbs that look at one model: evaluate, inspect, logits."""

import argparse
import sys
from dataclasses import asdict
from typing import Any

from bitconverter.cli import WRONG_USE, device_text, texts
from bitconverter.cli.arguments import asked_device
from bitconverter.cli.results import run_and_print
from bitconverter.cli.terminal import as_table, size
from bitconverter.jobs.evaluate import EvaluateJob, EvaluateResult
from bitconverter.jobs.inspect import InspectJob, InspectResult
from bitconverter.jobs.logits import LogitsJob, LogitsResult


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
    return run_and_print(args, job, _evaluate_text)


def inspect(args: argparse.Namespace) -> int:
    job = InspectJob(args.model, args.verify)
    return run_and_print(args, job, lambda result: _inspect_text(result, args.summary))


def logits(args: argparse.Namespace) -> int:
    try:
        ids = tuple(int(word) for word in args.ids.replace(",", " ").split())
    except ValueError:
        print(f"bitconverter: --ids must be numbers separated by commas, not {args.ids!r}", file=sys.stderr)
        return WRONG_USE
    job = LogitsJob(args.model, ids, args.out, args.threads, args.cpu_mask, args.kv, asked_device(args))
    return run_and_print(args, job, _logits_text)


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
