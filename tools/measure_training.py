"""What training gains, how long it takes and how much memory it needs, measured: a Markdown table.

Usage: python tools/measure_training.py MODEL LESSON [--threads 2] [--seeds 0 1] [--mezo-steps N]
       [--only exact mezo-60 mezo-300 memory]

MODEL is a converted folder, LESSON the folder that tools/sentiment_lesson.py makes. Every run is the command line's own
`bitconverter train` in a process of its own, from its start to its end; then the soul is put on the model and every row
of test.jsonl is asked for the more probable label. CPU seconds are those of all threads together, so on a machine that
does nothing else they are at most `--threads` times the seconds. MeZO gets as many steps as two short runs say there is
time for, which is counted in CPU seconds: 60 s are 120 of them with 2 threads, and a machine that does other things
changes them little. With --mezo-steps it gets as many as that. Peak RSS is the operating system's, of the whole
process; inference is `bitconverter chat` with one question.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitconverter.engine import Engine, Model, Session
from bitconverter.format.soul_file import read_soul
from bitconverter.jobs.benchmark import machine
from bitconverter.model.lessons import label_tokens
from bitconverter.model.soul import put_on
from bitconverter.model.tokenizer import Tokenizer

LABELS = (" great", " terrible")
EXACT = ["--engine", "exact", "--layers", "6", "--steps", "30", "--batch", "32", "--rate", "0.05"]
MEZO = ["--engine", "mezo", "--layers", "6", "--batch", "32"]
PROBE_STEPS = (10, 40)


@dataclass(frozen=True)
class Run:
    seconds: float
    cpu_seconds: float
    peak_rss: int
    result: dict[str, Any]


def run(words: list[str]) -> Run:
    """One `bitconverter` process to its end."""
    command = [sys.executable, "-m", "bitconverter", *words]
    started = time.monotonic()
    with tempfile.TemporaryFile() as out:
        child = subprocess.Popen(command, stdout=out, stdin=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - started
        out.seek(0)
        text = out.read().decode()
    if child.returncode:
        sys.exit(f"{' '.join(words)} failed")
    result = json.loads(text) if "--json" in words else {}
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, result)


def train(model: Path, lesson: Path, soul: Path, seed: int, threads: int, words: list[str]) -> Run:
    rows = str(lesson / "learn.jsonl")
    return run(
        [
            *("train", str(model), rows, str(soul), "--json", "--quiet", "--seed", str(seed)),
            *("--threads", str(threads), *words, "--labels", *LABELS),
        ]
    )


def accuracy(model_path: Path, soul: Path | None, lesson: Path, threads: int) -> float:
    """The share of test rows whose label is the more probable one."""
    tokenizer, model = Tokenizer(model_path), Model(Engine(threads), model_path)
    if soul is not None:
        put_on(model, read_soul(soul))
    labels = label_tokens(tokenizer, LABELS)
    session, right, rows = Session(model, n_ctx=256), 0, (lesson / "test.jsonl").read_text(encoding="utf-8")
    for line in rows.splitlines():
        row = json.loads(line)
        session.rewind(0)
        logits = session.forward(tokenizer.encode(row["prompt"], add_special_tokens=True))
        assert logits is not None
        best = max(LABELS, key=lambda label: float(np.ravel(logits)[labels[label]]))
        right += best == row["answer"]
    return right / len(rows.splitlines())


def exact(args: argparse.Namespace, seed: int, folder: Path) -> tuple[str, float, Run]:
    soul = folder / f"exact-{seed}.soul"
    done = train(args.model, args.lesson, soul, seed, args.threads, EXACT)
    return "exact, 30 steps", accuracy(args.model, Path(done.result["out"]), args.lesson, args.threads), done


def steps_in(args: argparse.Namespace, folder: Path, seconds: float) -> int:
    """As many steps as two short runs say there is time for, with what comes before and after them."""
    times = []
    for steps in PROBE_STEPS:
        soul = folder / f"probe-{steps}-{seconds}.soul"
        done = train(args.model, args.lesson, soul, 0, args.threads, [*MEZO, "--steps", str(steps)])
        times.append(done.cpu_seconds / args.threads)
    each = (times[1] - times[0]) / (PROBE_STEPS[1] - PROBE_STEPS[0])
    return max(1, int((seconds - times[0]) / each) + PROBE_STEPS[0])


def mezo(args: argparse.Namespace, seed: int, folder: Path, seconds: float) -> tuple[str, float, Run]:
    if seconds not in args.steps_in:
        args.steps_in[seconds] = args.mezo_steps or steps_in(args, folder, seconds)
    steps = args.steps_in[seconds]
    soul = folder / f"mezo-{seed}-{seconds}.soul"
    done = train(args.model, args.lesson, soul, seed, args.threads, [*MEZO, "--steps", str(steps)])
    return (
        f"MeZO, {steps} steps ({seconds:g} s)",
        accuracy(args.model, Path(done.result["out"]), args.lesson, args.threads),
        done,
    )


def memory(args: argparse.Namespace, folder: Path) -> list[str]:
    question = ["chat", str(args.model), "--prompt", "What is the capital of France?", "--temperature", "0"]
    asked = run([*question, "--max-tokens", "32", "--quiet", "--threads", str(args.threads)])
    lines = [f"| inference | {asked.peak_rss / 1e6:.0f} MB | |"]
    for name, words in (("exact", EXACT), ("MeZO", [*MEZO, "--steps", "30"])):
        done = train(args.model, args.lesson, folder / f"memory-{name}.soul", 0, args.threads, words)
        more = done.peak_rss - asked.peak_rss
        share = more / asked.peak_rss
        lines.append(f"| {name} | {done.peak_rss / 1e6:.0f} MB | {more / 1e6:+.0f} MB ({share:+.0%}) |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("lesson", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    what = ("exact", "mezo-60", "mezo-300", "memory")
    parser.add_argument("--only", nargs="+", choices=what, default=what)
    parser.add_argument("--mezo-steps", type=int, default=0, help="with one kind of mezo in --only")
    args = parser.parse_args()
    args.steps_in = {}  # by seconds: probed once for all seeds
    print(
        f"{time.strftime('%Y-%m-%d')}, {machine()}, {Engine().isa}, {args.threads} threads, {args.model.name}\n",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kinds = [kind for kind in args.only if kind != "memory"]
        if kinds:
            print("| run | accuracy on test.jsonl | seconds | CPU seconds |\n|---|---|---|---|", flush=True)
            print(
                f"| untrained | {accuracy(args.model, None, args.lesson, args.threads):.1%} | | |", flush=True
            )
        for kind in kinds:
            found = []
            for seed in args.seeds:
                label, right, done = (
                    exact(args, seed, folder)
                    if kind == "exact"
                    else mezo(args, seed, folder, float(kind.split("-")[1]))
                )
                found.append(right)
                print(
                    f"| {label}, seed {seed} | {right:.1%} | {done.seconds:.1f} | {done.cpu_seconds:.1f} |",
                    flush=True,
                )
            if len(found) > 1:
                print(f"| {kind}, median of {len(found)} | {statistics.median(found):.1%} | | |", flush=True)
        if "memory" in args.only:
            print("\n| process | peak RSS | over inference |\n|---|---|---|", flush=True)
            print("\n".join(memory(args, folder)), flush=True)


if __name__ == "__main__":
    main()
