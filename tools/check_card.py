"""Everything that a graphics card has to show, in one go: that it computes what the processor does, and how fast.

    python tools/check_card.py [--out FOLDER] [--seconds 800] [--before CHECKOUT] [--model FOLDER --text FILE] ...

For a short loan of a card, or for your own: what matters most comes first, no step takes more than its share, and a
step that no time is left for is said to be left out. Needs the engine and the C tests: `python tools/dev.py ctest`.

operations       native/tests/backend_test.c: single operations on random matrices
products         native/tests/products_test.c: matrices of random shapes that share an input
tests            the tests marked `gpu`
speed, before    a random model of --shape: decode, prompt, sessions, memory; the same with --before, another checkout
                 with its engine built; both twice, in turns. The first time each kernel's microseconds too
limit            the same model as if the card had 4 GB
real             --model, converted: speed, and its perplexity on --text beside the processor's
racecheck, ..    compute-sanitizer with backend_test, where it is installed
training         a step of training beside the processor's: seconds, gradients

Writes what each step printed to FOLDER/STEP.txt, and FOLDER/report.md, the table that it prints at the end.
It ends with 1 if a step failed; one that was stopped has neither passed nor failed.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OPERATIONS = [
    ROOT / "native" / "build-test" / "backend_test",
    ROOT / "bitconverter" / "engine" / "libbitconverter_cuda.so",
]
PRODUCTS: list[str | Path] = [ROOT / "native" / "build-test" / "products_test", "400"]
SANITIZERS = ("racecheck", "memcheck", "initcheck", "synccheck")
WRONG = 99  # what compute-sanitizer is told to end with when it finds something
LEAST_SECONDS = 5  # with less there is no sense in beginning a step


@dataclass
class Step:
    """A command, in `folder`, for at most `seconds`; `failed` by what it ended with."""

    name: str
    command: list[str | Path]
    seconds: float
    folder: Path = ROOT
    ended: str = field(default="left out: no time", init=False)
    failed: bool = field(default=False, init=False)
    took: float = field(default=0.0, init=False)

    def run(self, out: Path, seconds: float) -> None:
        """Run it for at most `seconds`; what it prints is at out/NAME.txt."""
        paths = os.pathsep.join(str(self.folder / name) for name in (".", "tests", "tools"))
        more = os.environ.get("PYTHONPATH")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([paths, more] if more else [paths])}
        began = time.monotonic()
        with (out / f"{self.name}.txt").open("wb") as printed:
            try:
                status = subprocess.run(
                    self.command, cwd=self.folder, env=environment, timeout=seconds,
                    stdout=printed, stderr=subprocess.STDOUT, check=False,
                ).returncode  # fmt: skip
            except subprocess.TimeoutExpired:
                self.ended, self.failed = f"stopped after {seconds:.0f} s", False
            except OSError as error:
                self.ended, self.failed = f"could not be started: {error}", True
            else:
                self.ended, self.failed = ("passed", False) if status == 0 else (f"FAILED, {status}", True)
        self.took = time.monotonic() - began


def python(name: str, *words: str | Path) -> list[str | Path]:
    return [sys.executable, Path("tools") / name, *words]


def random_model(words: argparse.Namespace, models: Path) -> list[str | Path]:
    """How tools/measure_gpu*.py are told of it; the first of them makes it."""
    layers = ["--layers", str(words.layers)] if words.layers else []
    return [models / "random", "--synthetic", words.shape, *layers]


def speed(words: argparse.Namespace, model: list[str | Path]) -> list[Step]:
    measured = [*model, "--sessions", "8", "32", "--repeat", str(words.repeat)]
    deep = ["--deep", "3500", "--kernels"]  # behind so many positions too
    steps = [Step("speed", python("measure_gpu.py", *measured, *deep), 150)]
    if words.before:
        plain, before = python("measure_gpu.py", *measured), Path(words.before).resolve()
        steps += [
            Step("before", plain, 90, before),
            Step("speed-2", plain, 60),
            Step("before-2", plain, 60, before),
        ]
    return [*steps, Step("limit", python("measure_gpu.py", *model, "--limit", "4e9", "--batch", "128"), 60)]


def real(words: argparse.Namespace) -> list[Step]:
    """A converted model, whose perplexity on the processor takes as long as it does."""
    if not words.model:
        return []
    words_of_all = ("--kv", "f16", "--ctx", "2048", "--sessions", "8", "32")
    measured: list[str | Path] = [Path(words.model).resolve(), *words_of_all]
    if words.text:
        measured += ["--text", Path(words.text).resolve(), "--text-tokens", "24576"]
    return [Step("real", python("measure_gpu.py", *measured), 150)]


def sanitizers() -> list[Step]:
    program = shutil.which("compute-sanitizer")
    if not program:
        return []
    return [
        Step(tool, [program, "--tool", tool, "--error-exitcode", str(WRONG), *OPERATIONS], 150)
        for tool in SANITIZERS
    ]


def tests_of_cards() -> list[str | Path]:
    """The files whose tests want one: others may need what is not installed where a card is lent."""
    every = sorted((ROOT / "tests").rglob("test_*.py"))
    return [file for file in every if "pytest.mark.gpu" in file.read_text(encoding="utf-8")]


def steps_for(words: argparse.Namespace, models: Path) -> list[Step]:
    """All that is to be done, what matters most first. Random models go to `models`."""
    model = random_model(words, models)
    made = ["--model-layers" if word == "--layers" else word for word in model]
    learned = [*made, "--layers", "2", "--batch", "4", "--repeat", "3", "--cpu-repeat", "1"]
    # no configuration: it wants the window's plugins, which whoever lends a card need not have
    tests: list[str | Path] = [
        sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-c", os.devnull, "--rootdir", ROOT,
        "--import-mode=importlib", "-p", "no:cacheprovider",
        "--continue-on-collection-errors",  # a file whose packages are not there does not keep others from running
        *(words.tests or tests_of_cards()),
    ]  # fmt: skip
    return [
        Step("operations", list(OPERATIONS), 120),
        Step("products", PRODUCTS, 60),
        Step("tests", tests, 240),
        *speed(words, model),
        *real(words),
        *sanitizers(),
        Step("training", python("measure_gpu_training.py", *learned), 120),
    ]


def card() -> str:
    """The first card, its driver's version and its processors; ends the program if there is none."""
    found = subprocess.run(
        [sys.executable, "-m", "bitconverter", "devices", "--json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    told = json.loads(found.stdout)
    if not told["cards"]:
        sys.exit(f"There is nothing to check: {told['why']}.")
    first = told["cards"][0]
    return (
        f"{first['name']}, compute capability {first['compute_major']}.{first['compute_minor']}, "
        f"{first['n_processors']} processors, {first['total_bytes'] / 1e9:.1f} GB, "
        f"driver for CUDA {first['driver_version'] // 1000}.{first['driver_version'] % 1000 // 10}"
    )


def report(name: str, steps: list[Step]) -> str:
    lines = [f"| {step.name} | {step.ended} | {step.took:.0f} |" for step in steps]
    return "\n".join([name, "", "| step | how it ended | seconds |", "|---|---|---|", *lines]) + "\n"


def check(words: argparse.Namespace) -> list[Step]:
    """Run the steps, one behind the other, until --seconds are over."""
    end = time.monotonic() + words.seconds
    name, out = card(), Path(words.out)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bitconverter-card-", dir=words.scratch) as models:
        steps = [step for step in steps_for(words, Path(models)) if not words.only or step.name in words.only]
        for step in steps:
            left = min(step.seconds, end - time.monotonic())
            if left >= LEAST_SECONDS:
                step.run(out, left)
                print(f"{step.name}: {step.ended}, {step.took:.0f} s", flush=True)
            (out / "report.md").write_text(report(name, steps), encoding="utf-8")  # as far as it went
    print(report(name, steps), end="")
    return steps


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default=str(ROOT / "build" / "card"), help="folder (build/card)")
    parser.add_argument("--seconds", type=float, default=800, help="for all steps together (800)")
    parser.add_argument(
        "--before", metavar="CHECKOUT", help="another commit with its engine, to be measured beside"
    )
    parser.add_argument("--model", help="a converted model, to be measured too")
    parser.add_argument("--text", help="with --model: perplexity on this file")
    parser.add_argument("--shape", default="8b", help="of the random model (8b)")
    parser.add_argument("--layers", type=int, help="instead of the shape's")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument(
        "--scratch", help="folder with room for the random model, 4 GB (the system's for such)"
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="STEP")
    parser.add_argument("--tests", nargs="+", default=[], help="files (all that are marked `gpu`)")
    return parser.parse_args(words)


def main() -> None:
    sys.exit(any(step.failed for step in check(parse())))


if __name__ == "__main__":
    main()
