"""Kill conversions at random moments and let them go on, again and again: is the result the same?

Usage: python tools/kill_conversion.py [--kills 100] [--seed 0] [--source MODEL]

Three conversions (fast; diag; full with 3.25 bits on average and a polish; each with its quality report) of one model
run without a break: of --source, or of a tiny model made by the program. Then each in turn is killed (SIGKILL,
TerminateProcess on Windows), whatever it does, and started again until it comes to its end: all files must be those of
the one without a break, and no work folder may be left. Before that, OUT must be whole or not there.

The moments are drawn by the seed and counted in what the conversion has done, so that they are the same at any pace of
the machine (tools/killing.py). A life has an exponential number of results, on average a sixth of those of a conversion
without a break, and ends in the work behind them; of every four lives one ends behind one of the files touched there,
and another at its start, behind one of the files touched before the first result.

One line is printed for each kill, then a table and a line that begins with PASSED or FAILED. Ends with 0 or 1.
"""

import hashlib
import itertools
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import killing
import numpy as np
from killing import FILE, NEVER, Moment, Teller, Told, begin, files_of_start, live, to_its_end, verdict

from bitconverter.jobs.benchmark import machine
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.job import Cancel, Context, Event, Progress, run_job
from bitconverter.jobs.self_test_model import write_model

LIVES = 6  # that a conversion's own results are enough for, on average


def convert(job: ConvertJob, teller: Teller) -> None:
    """Tells (word, what it is at or its error, processor seconds of this process). Places are results of this life."""
    Context.PROGRESS_INTERVAL = 0.0  # every result is told of
    results = itertools.count()

    def tell(event: Event) -> None:
        if isinstance(event, Progress):
            teller.result("step", event.item, next(results))

    teller.end(run_job(job, tell, Cancel()))


TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"


def make_source(folder: Path, teller: Teller) -> None:
    write_model(folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")  # so that it writes its own chat
    teller.say("end", 0)


def stage(told: list[Told]) -> str:
    """Where a life ended."""
    items = [str(item) for word, item, _ in told if word == "step"]
    if not items:
        return "start"
    if items[-1].startswith("layer "):
        return "layers"
    return (
        items[-1]
        if items[-1] in ("own chat", "sensitivity", "polish")
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
        words = [word for word, _, _ in told]
        self.results = words.count("step")
        self.starting = files_of_start(told)
        self.between = (words.count(FILE) - self.starting) / self.results  # files, on average
        self.expected = digests(Path(job.out))
        self.kills: Counter[str] = Counter()
        self.ended = 0
        self.problems: list[str] = []
        begun = next(used for word, _, used in told if word == "step")
        print(f"without a break, {name}: {told[-1][2] - begun:.1f} s", flush=True)

    def moment(self, random: np.random.Generator, kills: int) -> Moment:
        """Of the next kill, after so many others."""
        place, share = int(random.exponential(self.results / LIVES)), float(random.uniform())
        if kills % 4 == 3:
            return Moment(None, int(random.integers(self.starting + 1)), share)
        files = 1 + int(random.uniform(0, 2 * self.between)) if kills % 4 == 1 else 0
        return Moment(place, files, share)

    def kill_until_it_ends(self, random: np.random.Generator, most: int) -> None:
        """`most` kills at most; then it comes to its end without another."""
        job = replace(self.job, out=f"{self.job.out} killed {self.ended}")
        out, work, kills = Path(job.out), job.work_dir, 0
        while not out.exists() or work.exists():
            moment = self.moment(random, kills) if kills < most else NEVER
            told = live(convert, job, moment=moment)
            if told and told[-1][0] == "failed":
                self.problems.append(f"{self.name} failed: {told[-1][1]}")
                return
            if told and told[-1][0] == "end":
                break
            kills += 1
            self.kills[stage(told)] += 1
            print(f"kill {self.kills.total()}, {self.name}: {moment}, {stage(told)}", flush=True)
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
            report=True, threads=1, own_chat=True,
        )  # fmt: skip
        all_tried = [
            Tried(
                "fast",
                replace(
                    full, out=str(folder / "fast"), method="fast", bits=None, polish=None, own_chat=False
                ),
            ),
            Tried(
                "diag", replace(full, out=str(folder / "diag"), method="diag", polish=None, own_chat=False)
            ),
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
