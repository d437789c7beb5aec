"""What every verb does at its end: run its job, print the result as text or as JSON."""

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from bitconverter.cli import DONE
from bitconverter.cli.running import run
from bitconverter.cli.terminal import ProgressLine, visible
from bitconverter.jobs.job import Job


def run_and_print(args: argparse.Namespace, job: Job, text: Callable[[Any], str]) -> int:
    """The exit status of a verb that is one job; `text` says its result in words."""
    print_result(args, run(job, progress_line(args)), text)
    return DONE


def print_result(args: argparse.Namespace, result: Any, text: Callable[[Any], str]) -> None:
    """As --json asks for it, or in the words of `text`."""
    print(as_json(result) if args.json else visible(text(result)), flush=True)


def progress_line(args: argparse.Namespace) -> ProgressLine:
    """What a verb's jobs show while they run."""
    return ProgressLine(quiet=args.quiet)


def as_json(result: Any) -> str:
    """A result as one line of JSON in ASCII; what is no number there (infinity) becomes null."""
    return json.dumps(_plain(asdict(result)), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
