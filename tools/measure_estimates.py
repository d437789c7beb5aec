"""What a conversion was told to take, and what it took: a Markdown table.

Usage: python tools/measure_estimates.py SOURCE [--presets tiny best] [--methods fast full] [--layers N] [--threads 2]
       [--windows N] [--polish STEPS] [--json]

For every method and preset one process plans the conversion, as the window does before the start, and then makes it,
with its quality report. Time is that of the conversion; memory the highest own memory of the process (without files
that are only mapped) over that before the plan, as the window compares it at the end; disk the most that the results
and temporary files held. --layers cuts the source to its first layers, whose conversion has all the stages and takes
less time; with --windows and --polish it is calibrated on less text and polished in fewer steps (told is the time
with the usual steps). Run it on a quiet machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bitconverter.format.safetensors_file import SafetensorsFile, TensorEntry, header_bytes
from bitconverter.jobs.benchmark import machine
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.plan import PlanJob
from bitconverter.jobs.preflight import PreflightJob
from bitconverter.model.budget import PRESETS

PROGRAM = """
import json, os, sys, tempfile, threading, time
from pathlib import Path
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.hardware import own_memory
from bitconverter.jobs.job import Cancel, Finished, run_job
from bitconverter.jobs.plan import PlanJob
from bitconverter.jobs.preflight import PreflightJob

def done(job):
    last = run_job(job, lambda _: None, Cancel())
    if not isinstance(last, Finished):
        sys.exit(str(last))
    return last.result

def held():
    total = 0
    for file in Path({job!r}.out).parent.rglob("*"):
        try:
            total += 512 * file.lstat().st_blocks
        except OSError:  # renamed meanwhile
            pass
    return total

preflight, plan, job = {preflight!r}, {plan!r}, {job!r}
before, over, most = own_memory(), threading.Event(), [0, 0]
choice = next(c for c in done(plan).choices if c.preset == job.preset)
if choice.problem:
    sys.exit(choice.problem)
cost, report = choice.cost(job.method), done(preflight)
def look():
    looks = 0
    while not over.wait(0.005):
        most[0] = max(most[0], own_memory() - before)
        if looks % 10 == 0:
            most[1] = max(most[1], held())
        looks += 1
watch = threading.Thread(target=look)
watch.start()
began = time.monotonic()
done(job)
seconds = time.monotonic() - began
over.set()
watch.join()
print(json.dumps([cost.seconds, seconds, cost.peak_bytes, most[0], report.needed_bytes, most[1]]))
"""


def cut(source: Path, folder: Path, layers: int) -> Path:
    """A copy of the first layers of a model with one weight file."""
    folder.mkdir()
    for file in source.iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    text = json.dumps(config | {"num_hidden_layers": layers})
    (folder / "config.json").write_text(text, encoding="utf-8")
    weights, kept, at = SafetensorsFile(source / "model.safetensors"), [], 0
    for entry in weights.tensors.values():
        if _layer(entry.name) < layers:
            kept.append(entry)
    space = 8 + 8 * (1 + sum(len(entry.name) + 128 for entry in kept) // 8)
    places = []
    for entry in kept:
        places.append(TensorEntry(entry.name, entry.dtype, entry.shape, space + at, entry.bytes))
        at += entry.bytes
    with open(weights.path, "rb") as old, open(folder / "model.safetensors", "wb") as new:
        new.write(header_bytes(places, space, {"format": "pt"}))
        for entry in kept:
            old.seek(entry.offset)
            new.write(old.read(entry.bytes))
    return folder


def _layer(name: str) -> int:
    words = name.split(".")
    return int(words[2]) if words[1] == "layers" else -1


def measure(args: argparse.Namespace, source: Path, place: Path, preset: str, method: str) -> list[float]:
    """Told and taken: seconds, bytes of memory, bytes of disk."""
    place.mkdir()
    out = str(place / "out")
    polish = args.polish if method == "full" else None
    job = ConvertJob(
        str(source), out, method=method, preset=preset, threads=args.threads, report=True,
        calibration_windows=args.windows, polish=polish, own_chat=method == "full",
    )  # fmt: skip
    preflight = PreflightJob(
        str(source), out, method=method, preset=preset, calibration_windows=args.windows, polish=polish
    )
    plan = PlanJob(str(source), args.threads, calibration_windows=args.windows)
    program = PROGRAM.format(job=job, preflight=preflight, plan=plan)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8",
        env=os.environ | {"TMPDIR": str(place), "TEMP": str(place)},
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{method}, {preset}: {done.stderr}")
    return list(json.loads(done.stdout))


def row(name: str, figures: list[float]) -> str:
    cells = [name]
    for unit, (first, second) in zip((1.0, 1e6, 1e6), pairs(figures), strict=True):
        told, taken = first / unit, second / unit
        cells += [f"{told:.0f}", f"{taken:.0f}", f"{taken / told - 1:+.0%}"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=["tiny", "best"])
    parser.add_argument("--methods", nargs="+", choices=("fast", "full"), default=["fast", "full"])
    parser.add_argument("--layers", type=int)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--windows", type=int)
    parser.add_argument("--polish", type=int)
    parser.add_argument("--json", action="store_true", help="the figures as JSON, nothing else")
    args = parser.parse_args()
    rows: list[dict[str, list[float]]] | None = [] if args.json else None
    if rows is None:
        say_head(args)
    with tempfile.TemporaryDirectory() as folder:
        source = cut(args.source, Path(folder) / "source", args.layers) if args.layers else args.source
        for method in args.methods:
            for preset in args.presets:
                place = Path(folder) / f"{method}-{preset}"
                figures = measure(args, source.absolute(), place, preset, method)
                if rows is None:
                    print(row(f"{method}, {preset}", figures), flush=True)
                else:
                    rows.append(dict(zip(("seconds", "memory", "disk"), pairs(figures), strict=True)))
    if rows is not None:
        print(json.dumps(rows))


def pairs(figures: list[float]) -> list[list[float]]:
    """Told and taken, of each."""
    return [figures[at : at + 2] for at in range(0, len(figures), 2)]


def say_head(args: argparse.Namespace) -> None:
    """What was measured where, and the head of the table."""
    print(f"{time.strftime('%Y-%m-%d')}, {machine()}, {args.source.name}", end="")
    print(f", its first {args.layers} layers\n" if args.layers else "\n")
    print("| conversion | s told | s | | memory MB told | MB | | disk MB told | MB | |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)


if __name__ == "__main__":
    main()
