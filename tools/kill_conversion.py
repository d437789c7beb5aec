"""Kill conversions at random moments and let them go on, again and again: is the result the same?

Usage: python tools/kill_conversion.py [--kills 100] [--seed 0] [--source MODEL]

Three conversions (fast; diag; full with 3.25 bits on average and a polish; each with its quality report) of one model
run without a break: of --source, or of a tiny model made by the program. Then each in turn is killed (SIGKILL,
TerminateProcess on Windows), whatever it does, and started again until it comes to its end: all files must be those of
the one without a break, and no work folder may be left. Before that, OUT must be whole or not there. A life lasts as
long as a number drawn by the seed says, an exponential one whose mean is a sixth of the conversion's own processor
time; every fourth is counted from the start of its process, the others from their first step.

One line is printed for each kill, then a table and a line that begins with PASSED or FAILED. Ends with 0 or 1.
"""

import hashlib
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import killing
import numpy as np
from killing import Told, begin, live, to_its_end, verdict

from bitconverter.jobs.benchmark import machine
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.job import Cancel, Event, Failed, Progress, run_job
from bitconverter.jobs.self_test_model import write_model

LIVES = 6  # that a conversion's own time is enough for, on average


def convert(job: ConvertJob, out: Connection) -> None:
    """Tells (word, what it is at or its error, processor seconds of this process)."""
    begun = time.process_time()

    def tell(event: Event) -> None:
        if isinstance(event, Progress):
            out.send(("step", event.item, time.process_time() - begun))

    last = run_job(job, tell, Cancel())
    used = time.process_time() - begun
    out.send(("failed", str(last.error), used) if isinstance(last, Failed) else ("end", 0, used))


def make_source(folder: Path, out: Connection) -> None:
    write_model(folder)
    out.send(("end", 0, 0.0))


def stage(told: list[Told]) -> str:
    """Where a life ended."""
    items = [str(item) for word, item, _ in told if word == "step"]
    if not items:
        return "start"
    if items[-1].startswith("layer "):
        return "layers"
    return (
        items[-1]
        if items[-1] in ("sensitivity", "polish")
        else "tensors"
        if "." in items[-1]
        else "report and end"
    )


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*")) if path.is_file()
    }  # fmt: skip


class Tried:
    """One of the conversions: as it is without a break, and how it went when it was killed."""

    def __init__(self, name: str, job: ConvertJob) -> None:
        self.name, self.job = name, job
        told = to_its_end(live(convert, job))
        self.seconds = told[-1][2] - told[0][2]  # without the time until its first step
        self.expected = digests(Path(job.out))
        self.kills: Counter[str] = Counter()
        self.ended = 0
        self.problems: list[str] = []
        print(f"without a break, {name}: {self.seconds:.1f} s", flush=True)

    def kill_until_it_ends(self, random: np.random.Generator, most: int) -> None:
        """`most` kills at most; then it comes to its end without another."""
        job = replace(self.job, out=f"{self.job.out} killed {self.ended}")
        out, work, kills = Path(job.out), job.work_dir, 0
        while not out.exists() or work.exists():
            if kills < most:
                patience, at_work = float(random.exponential(self.seconds / LIVES)), kills % 4 != 3
                told = live(convert, job, patience=patience, at_work=at_work)
            else:
                patience, told = 0.0, live(convert, job)
            if told and told[-1][0] == "failed":
                self.problems.append(f"{self.name} failed: {told[-1][1]}")
                return
            if told and told[-1][0] == "end":
                break
            kills += 1
            self.kills[stage(told)] += 1
            print(
                f"kill {self.kills.total()}, {self.name}: after {patience:.2f} s, {stage(told)}", flush=True
            )
            if out.exists() and digests(out) != self.expected:
                self.problems.append(f"{self.name}: half a folder is in its place")
        self.ended += 1
        if digests(out) != self.expected:
            self.problems.append(f"{self.name}: the bytes differ")
        if work.exists():
            self.problems.append(f"{self.name}: the work folder is left")
        shutil.rmtree(out)


def judge(all_tried: list[Tried], wanted: int, seed: int) -> bool:
    """The table and the verdict; whether everything held."""
    problems = [problem for tried in all_tried for problem in tried.problems]
    kills = sum(tried.kills.total() for tried in all_tried)
    if kills < wanted and not problems:
        problems.append(f"only {kills} kills")
    print(f"\n{time.strftime('%Y-%m-%d')}, {machine()}, seed {seed}\n")
    print("| conversion | kills | came to its end | kills while it was at |\n|---|---|---|---|")
    for tried in all_tried:
        places = ", ".join(f"{place} {count}" for place, count in tried.kills.most_common())
        print(f"| {tried.name} | {tried.kills.total()} | {tried.ended} | {places} |")
    return verdict(problems)


def main() -> None:
    parser = killing.parser(__doc__)
    parser.add_argument("--source", type=Path, help="a model folder; none: a tiny model of the program's own")
    args = parser.parse_args()
    begin()
    random = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = args.source or folder / "source"
        if args.source is None:
            to_its_end(live(make_source, source))
        full = ConvertJob(
            str(source), str(folder / "full"), method="full", bits=3.25, calibration_windows=8, polish=6,
            report=True, threads=1,
        )  # fmt: skip
        all_tried = [
            Tried("fast", replace(full, out=str(folder / "fast"), method="fast", bits=None, polish=None)),
            Tried("diag", replace(full, out=str(folder / "diag"), method="diag", polish=None)),
            Tried("full", full),
        ]
        left = args.kills
        while left > 0 and not any(tried.problems for tried in all_tried):
            tried = min(all_tried, key=lambda one: one.kills.total())
            before = tried.kills.total()
            tried.kill_until_it_ends(random, left)
            left -= tried.kills.total() - before
        held = judge(all_tried, args.kills, args.seed)
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
