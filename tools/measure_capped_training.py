"""One step of training, exact and MeZO, under a limit of memory: whether it completes, and what it takes.

Usage: python tools/measure_capped_training.py MODEL [--cap 4 | --cgroup FOLDER] [--tokens 512] [--rank 8] [--threads 2]

MODEL is a converted folder; one of the 8B shape: `SyntheticJob` of jobs/synthetic.py with shape "8b".
Low-rank additions to q and v of every layer learn, from one window of random tokens. Every kind of step has a process
of its own. --cap makes a memory group of so many GiB (cgroup v1 or v2, needs root), which counts everything: the
process's own memory and the pages of the mapped model, which the system must give back when the limit is reached. A
process that needs more is ended by the system, and the table says so. --cgroup takes a group that is there already.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from bitconverter.jobs.benchmark import machine

V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
NAME = "bitconverter-cap"


def make_group(cap: int) -> Path:
    """A group whose processes get `cap` bytes together, swap included."""
    v1 = V1.is_dir()
    folder = (V1 if v1 else V2) / NAME
    folder.mkdir(exist_ok=True)
    limit = "memory.limit_in_bytes" if v1 else "memory.max"
    (folder / limit).write_text(str(cap), encoding="utf-8")
    return folder


def number(folder: Path, *names: str) -> int:
    for name in names:
        if (folder / name).exists():
            return int((folder / name).read_text(encoding="utf-8"))
    return 0


def step(args: argparse.Namespace) -> None:
    """In a process of its own: one step of args.kind."""
    from bitconverter.engine import Cancel, Engine
    from bitconverter.jobs.learners import AdapterKind, ExactLearner, Learner, MezoLearner
    from bitconverter.model.layer_stack import LayerStack
    from bitconverter.model.mezo import Mezo

    stack = LayerStack(Engine(args.threads), args.model)
    trainer = AdapterKind("lora", args.rank, ("q", "v")).trainer(stack, stack.info.n_layers, args.tokens)
    ids = np.random.default_rng(0).integers(0, stack.info.vocab_size, (1, args.tokens + 1)).astype(np.int32)
    parameters = trainer.start(0)
    trainer.set_parameters(parameters)
    learner: Learner = (
        ExactLearner(trainer, 0.0, 1.0)
        if args.kind == "exact"
        else MezoLearner(trainer, Mezo(0, 1e-2, 1, 100.0), "loss")
    )
    batch = trainer.batch(ids[:, :-1].copy(), ids[:, 1:].copy())
    began = time.monotonic()
    loss = learner.look(parameters, batch, 0, Cancel())
    before = parameters.copy()
    learner.move(parameters, 0, 1e-3)
    print(
        json.dumps({
            "loss": loss, "moved": int((parameters != before).sum()), "parameters": trainer.size,
            "seconds": time.monotonic() - began,
            "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        })
    )  # fmt: skip


def measure(args: argparse.Namespace, kind: str, folder: Path | None) -> str:
    command = [sys.executable, __file__, str(args.model), "--kind", kind]
    for name in ("tokens", "rank", "threads"):
        command += [f"--{name}", str(getattr(args, name))]

    def enter() -> None:
        if folder is not None:
            (folder / "cgroup.procs").write_text(str(os.getpid()), encoding="utf-8")

    if folder is not None and (folder / "memory.max_usage_in_bytes").exists():
        (folder / "memory.max_usage_in_bytes").write_text("0", encoding="utf-8")
    done = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", preexec_fn=enter)
    if done.returncode:
        return f"| {kind} | ended by the system ({done.returncode}) | | | | |"
    seen = json.loads(done.stdout.splitlines()[-1])
    peak = number(folder, "memory.max_usage_in_bytes", "memory.peak") if folder is not None else 0
    return (
        f"| {kind} | completed | {seen['loss']:.3f} | {seen['moved']:,} of {seen['parameters']:,} | "
        f"{seen['seconds']:.0f} s | {peak / 2**30:.2f} GiB |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--cap", type=float, metavar="GIB")
    parser.add_argument("--cgroup", type=Path)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kind", choices=("exact", "mezo"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.kind:
        step(args)
        return
    folder = make_group(int(args.cap * 2**30)) if args.cap else args.cgroup
    limit = number(folder, "memory.limit_in_bytes", "memory.max") if folder else 0
    print(
        f"{time.strftime('%Y-%m-%d')}, {machine()}, {args.threads} threads, 1 x {args.tokens} tokens, "
        f"rank {args.rank}, limit {f'{limit / 2**30:.2f} GiB' if limit else 'none'}\n"
    )
    print(
        "| step | | loss | moved | took | memory of all kinds at most |\n|---|---|---|---|---|---|",
        flush=True,
    )
    for kind in ("exact", "mezo"):
        print(measure(args, kind, folder), flush=True)


if __name__ == "__main__":
    main()
