"""Kill a training at random moments and let it go on, again and again: what is redone, and is the result the same?

Usage: python tools/kill_training.py [--kills 100] [--seed 0] [--steps 20000] [--save-seconds 0.5] [--engine exact|mezo]

A tiny model with a sentence of its own is made and converted by the engine. One training runs without a break; the same
one is killed (SIGKILL, TerminateProcess on Windows) at moments drawn by the seed, whatever it does then, and started
again: every fourth time within two seconds of the start of the process, else within two of its first step.

Redone are the seconds from the moment at which the state
that it goes on from had been reached to the kill. `--save-seconds` stands for the program's own 20: so many seconds
after a state was saved the next one is, and the promise of at most 60 is checked in this scale: nothing may be redone
that took longer than 3 times that and the longest step. Ends with 1 if the bytes differ or that does not hold.
"""

import argparse
import queue
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bitconverter.jobs.benchmark import machine
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.job import Cancel, Finished, run_job
from bitconverter.jobs.self_test_model import write_model
from bitconverter.jobs.train import TrainJob

PROMISED, OWN_SAVE = 60.0, 20.0  # seconds
TEXT = "三値の重みで静かに動く。the quick brown fox jumps over the lazy dog. " * 60
PROGRAM = """
import sys
from bitconverter.jobs import train_run
from bitconverter.jobs.job import Cancel, Failed, Metric, Note, run_job
from bitconverter.jobs.train import TrainJob
train_run.SAVE_SECONDS = {save}
def tell(event):
    if isinstance(event, Metric) and event.name == "loss":
        print("step", event.step, flush=True)
    elif isinstance(event, Note) and event.code == "resumed-training":
        print("from", event.fields["step"], flush=True)
last = run_job({job!r}, tell, Cancel())
if isinstance(last, Failed):
    raise last.error
print("end", 0, flush=True)
"""


@dataclass
class Seen:
    """When each step was first over, in seconds of work done; and what the kills cost."""

    at: dict[int, float] = field(default_factory=dict)
    worked: float = 0.0
    redone: list[float] = field(default_factory=list)
    longest_step: float = 0.0
    ended: bool = False


def make_model(folder: Path) -> Path:
    write_model(folder / "source")
    job = ConvertJob(
        str(folder / "source"), str(folder / "model"), planes=2, threads=1, method="fast", report=False
    )
    last = run_job(job, lambda _: None, Cancel())
    if not isinstance(last, Finished):
        sys.exit(str(last))
    return folder / "model"


@dataclass(frozen=True)
class Child:
    """A process that trains; what it tells, with the moment; `works`: it has told of its first step, or ended."""

    process: subprocess.Popen[str]
    lines: "queue.SimpleQueue[tuple[float, str]]"
    works: threading.Event
    reader: threading.Thread


def start(job: TrainJob, save: float) -> Child:
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(save=save, job=job)], stdout=subprocess.PIPE, encoding="utf-8"
    )
    lines: queue.SimpleQueue[tuple[float, str]] = queue.SimpleQueue()
    works = threading.Event()

    def read() -> None:
        assert child.stdout is not None
        for line in child.stdout:
            lines.put((time.monotonic(), line))
            works.set()
        works.set()

    reader = threading.Thread(target=read)
    reader.start()
    return Child(child, lines, works, reader)


def run_until(job: TrainJob, save: float, patience: float, at_work: bool, seen: Seen) -> bool:
    """One process, killed after `patience` seconds, counted from its first step if `at_work`; whether it came to its
    end before."""
    child = start(job, save)
    if at_work:
        child.works.wait()
    try:
        child.process.wait(patience)
    except subprocess.TimeoutExpired:
        child.process.kill()
    killed = time.monotonic()
    status, lines = child.process.wait(), child.lines
    child.reader.join()
    began, at_start, before = 0.0, 0.0, None
    while not lines.empty():
        moment, line = lines.get()
        if not line.endswith("\n"):  # half of one, killed
            break
        word, number = line.split()
        if word == "end":
            return True
        step = int(number)
        if word == "from" or before is None:  # work begins: at the state of `step`, or at the first step
            resumed = step if word == "from" else 0
            began, at_start = moment, seen.at.get(resumed, 0.0)
            if seen.at:
                seen.redone.append(seen.worked - at_start)
            before = moment
        if word == "step":
            seen.at[step] = at_start + (moment - began)
            seen.longest_step = max(seen.longest_step, moment - before)
            before = moment
    if status > 0:
        sys.exit("the training failed")
    if before is not None:
        seen.worked = at_start + (killed - began)
    return False


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--save-seconds", type=float, default=0.5)
    parser.add_argument("--engine", choices=("exact", "mezo"), default="exact")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "lesson.txt").write_text(TEXT, encoding="utf-8")
        model = make_model(folder)
        jobs = [
            TrainJob(
                str(model), str(folder / "lesson.txt"), str(folder / f"{end}.soul"), layers=1, steps=args.steps,
                batch=4, window=32, engine=args.engine, threads=1, forget_limit=0.0,
            )
            for end in ("whole", "killed")
        ]  # fmt: skip
        if not run_until(jobs[0], args.save_seconds, 1e6, False, Seen()):
            sys.exit("the training without a break did not end")
        random, seen, kills = np.random.default_rng(args.seed), Seen(), 0
        while kills < args.kills and not seen.ended:
            patience = float(random.uniform(0, 2))
            seen.ended = run_until(jobs[1], args.save_seconds, patience, kills % 4 != 3, seen)
            kills += not seen.ended
        seen.ended = seen.ended or run_until(jobs[1], args.save_seconds, 1e6, False, seen)
        same = Path(jobs[0].out).read_bytes() == Path(jobs[1].out).read_bytes()
        kept_its_word = report(args, kills, seen, same)
    sys.exit(0 if same and kept_its_word else 1)


def report(args: argparse.Namespace, kills: int, seen: Seen, same: bool) -> bool:
    """The table; whether no more was redone than promised."""
    most = max(seen.redone, default=0.0)
    allowed = PROMISED / OWN_SAVE * args.save_seconds + seen.longest_step
    print(f"{time.strftime('%Y-%m-%d')}, {machine()}, {args.engine}\n")
    print(
        "| kills | steps | saved every | redone at most | of all work | same bytes |\n|---|---|---|---|---|---|"
    )
    print(
        f"| {kills} | {args.steps} | {args.save_seconds:g} s | {most:.2f} s (allowed {allowed:.2f}) | "
        f"{sum(seen.redone):.1f} s of {sum(seen.redone) + seen.worked:.1f} s | {'yes' if same else 'NO'} |"
    )
    if kills < args.kills:
        print(f"\nIt came to its end after {kills} kills: take more --steps.")
    return most <= allowed and kills == args.kills


if __name__ == "__main__":
    main()
