"""The memory that trainings were told to take, and what they took: a Markdown table.

Usage: python tools/measure_training_memory.py MODEL LESSON [--threads 2]

MODEL is a converted folder, LESSON what `train` takes. Every training is two steps in a process of its own. Taken is
the highest own memory of the process (without files that are only mapped) over that before the training, looked at
every millisecond.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bitconverter.jobs.benchmark import machine
from bitconverter.jobs.train import TrainJob

KINDS: dict[str, dict[str, object]] = {
    "exact, gains, 6 layers, 16 x 256": {},
    "exact, gains, 6 layers, 4 x 512": {"batch": 4, "window": 512},
    "exact, gains, all layers, 16 x 256": {"layers": 0},
    "exact, LoRA 8, all layers, 16 x 256": {"layers": 0, "adapter": "lora"},
    "MeZO, gains, 6 layers, 16 x 256": {"engine": "mezo"},
    "MeZO, gains, all layers, 16 x 256": {"engine": "mezo", "layers": 0},
}
PROGRAM = """
import sys, threading, time
from bitconverter.jobs.hardware import own_memory
from bitconverter.jobs.job import Cancel, Finished, Metric, run_job
from bitconverter.jobs.train import TrainJob
job, told, over = {job!r}, [], threading.Event()
before = own_memory()
most = [before]
def look():
    while not over.is_set():
        most[0] = max(most[0], own_memory())
        time.sleep(0.001)
watch = threading.Thread(target=look)
watch.start()
last = run_job(job, lambda e: told.append(e.value) if isinstance(e, Metric) and e.name == "memory" else None, Cancel())
over.set()
watch.join()
if not isinstance(last, Finished):
    sys.exit(str(last))
print(round(told[0]), most[0] - before)
"""


def layers_of(model: Path) -> int:
    return int(json.loads((model / "config.json").read_text(encoding="utf-8"))["num_hidden_layers"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("lesson")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    print(
        f"{time.strftime('%Y-%m-%d')}, {machine()}, {args.threads} threads, {args.model.name}\n", flush=True
    )
    print("| training | told | taken |\n|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, changes) in enumerate(KINDS.items()):
            job = TrainJob(
                str(args.model),
                args.lesson,
                str(Path(folder) / f"{number}.soul"),
                steps=2,
                threads=args.threads,
            )
            job = dataclasses.replace(job, **changes)  # type: ignore[arg-type]
            if job.layers == 0:
                job = dataclasses.replace(job, layers=layers_of(args.model))
            program = PROGRAM.format(job=job)
            done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8")
            if done.returncode:
                sys.exit(f"{name}: {done.stderr}")
            told, taken = (int(word) for word in done.stdout.split())
            print(f"| {name} | {told / 1e6:.0f} MB | {taken / 1e6:.0f} MB |", flush=True)


if __name__ == "__main__":
    main()
