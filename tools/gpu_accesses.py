"""What the CUDA kernels' accesses to memory would cost a card, without one: bank conflicts and half-used sectors.

    python tools/gpu_accesses.py [--what one|many|prompt] [--kv f16|int8] [--kernel NAME ...] [--least 0.02]

Runs a random model of one layer with a large one's proportions on an emulated card like an H200, whose driver counts
every access (native/tests/cuda_emulator/counter.hpp): one token behind 200, one of each of 32 sessions behind 40, or a
prompt of 200. It takes up to two minutes. Of each kernel it prints the turns that the banks of its shared memory take,
the sectors of 32 bytes that come from and go to the device's memory, what share of both a better place for the same
bytes would save ("lost"), and the places in the source that cost most: turns or sectors, the share lost, how many
requests of a warp for how many bytes a lane. What the caches of a card make of it, and the time, is not seen here.
"""

import argparse
import csv
import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from card_models import VOCAB, Shape, write_model  # type: ignore[import-not-found]  # noqa: E402

from bitconverter.engine import (  # noqa: E402
    Engine,
    Model,
    PlacementParams,
    Session,
    forward_together,
    open_backend,
    place,
)

DRIVER = ROOT / "native" / "build-test" / "libcuda_counted.so"
CARD = {"BC_EMULATED_CAPABILITY": "90", "BC_EMULATED_PROCESSORS": "132"}
LARGE = Shape(128, 8, 2, hidden=1024, inner=3584, more={"max_position_embeddings": 8192})
SESSIONS = 32
TOKENS = {"one": 200, "many": 40, "prompt": 200}
KERNELS = "/cuda/kernels/"
COSTS = {"shared": "turns of shared memory", "device": "sectors of the device's memory"}


@dataclass(frozen=True)
class Accesses:
    """Of one kind at one place of a kernel; the columns of counter.hpp, `place` as lines of the source, the innermost
    first."""

    kernel: str
    memory: str
    access: str
    bytes: int
    requests: int
    cost: int
    fewest: int
    place: str


def run_steps(folder: Path, what: str, tokens: int, kv: str, out: Path) -> None:
    """Runs `what` on the card that BC_CUDA_DRIVER emulates, and writes what was counted."""
    engine = Engine(threads=1)
    open_backend(engine)
    model = Model(engine, folder)
    n_sessions = SESSIONS if what == "many" else 1
    n_ctx = tokens + 1
    place(model, PlacementParams(n_ctx=n_ctx, n_batch=tokens, kv=kv, n_sessions=n_sessions))
    sessions = [Session(model, n_ctx=n_ctx, n_batch=tokens, kv=kv) for _ in range(n_sessions)]
    counter = ctypes.CDLL(os.environ["BC_CUDA_DRIVER"])
    words = np.arange(tokens, dtype=np.int32) % VOCAB
    if what != "prompt":
        for session in sessions:
            session.forward(words, want_logits=False)
    counter.bc_count_begin()
    if what == "prompt":
        sessions[0].forward(words, want_logits=False)
    else:
        forward_together(sessions, [i % VOCAB for i in range(n_sessions)])
    if not counter.bc_count_write(os.fsencode(out)):
        raise SystemExit(f"{out} cannot be written")


def count(folder: Path, what: str, tokens: int, kv: str, driver: Path | None = None) -> list[Accesses]:
    """What the steps of the model in `folder` do, in a process of their own: a process has one driver."""
    driver = (driver or DRIVER).resolve()
    if not driver.exists():
        raise SystemExit(f'there is no {driver}: "python tools/dev.py ctest" makes it, on Linux')
    with tempfile.TemporaryDirectory() as room:
        out = Path(room) / "counts.tsv"
        command = [sys.executable, __file__, "--run", str(folder), str(out), "--what", what, "--kv", kv]
        command += ["--tokens", str(tokens)]
        env = {**os.environ, **CARD, "BC_CUDA_DRIVER": str(driver)}
        if subprocess.run(command, env=env).returncode:
            raise SystemExit(
                "the model did not run on the emulated card; if the sources have changed: "
                '"python tools/dev.py build" and "python tools/dev.py ctest" make its two sides anew'
            )
        with out.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t"))
    names = source_lines(driver, {row["place"] for row in rows})
    return merged(
        Accesses(
            row["kernel"], row["memory"], row["access"], int(row["bytes"]), int(row["requests"]),
            int(row["cost"]), int(row["fewest"]), names[row["place"]],
        )
        for row in rows
    )  # fmt: skip


def source_lines(library: Path, places: Iterable[str]) -> dict[str, str]:
    """By address: the lines of the kernels' source that were put into one another there, the innermost first."""
    wanted = sorted(places)
    command = ["addr2line", "-i", "-a", "-e", str(library)]
    text = subprocess.run(command, input="\n".join(wanted), check=True, capture_output=True, text=True).stdout
    found: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("0x"):
            found.append([])
        elif KERNELS in line:
            found[-1].append(line.split(KERNELS)[1].split(" ")[0])
    return {address: " < ".join(lines) or address for address, lines in zip(wanted, found, strict=True)}


def merged(rows: Iterable[Accesses]) -> list[Accesses]:
    """One of each kind and line: a loop that was unrolled has many addresses."""
    sums: dict[tuple[str, ...], Accesses] = {}
    for row in rows:
        key = (row.kernel, row.memory, row.access, str(row.bytes), row.place)
        before = sums.get(key)
        sums[key] = row if before is None else replace(
            row, requests=before.requests + row.requests, cost=before.cost + row.cost,
            fewest=before.fewest + row.fewest,
        )  # fmt: skip
    return list(sums.values())


def lost(rows: Iterable[Accesses]) -> str:
    rows = list(rows)
    cost = sum(row.cost for row in rows)
    return f"{1 - sum(row.fewest for row in rows) / cost:4.0%} lost" if cost else "none lost"


def table(rows: list[Accesses], least: float) -> list[str]:
    """Lines: each kernel, the most expensive first, and in it the places with at least that share of its costs."""
    rows = sorted(rows, key=lambda row: row.kernel)
    kernels = [list(group) for _, group in groupby(rows, key=lambda row: row.kernel)]
    lines = []
    for kernel in sorted(kernels, key=lambda rows: -sum(row.cost for row in rows)):
        lines.append(kernel[0].kernel)
        for memory, name in COSTS.items():
            part = [row for row in kernel if row.memory == memory]
            all_of_it = sum(row.cost for row in part)
            if not part:
                continue
            lines.append(f"  {all_of_it:11,} {name}, {lost(part).strip()}")
            for row in sorted(part, key=lambda row: -row.cost):
                if row.cost >= least * all_of_it:
                    what = f"{row.access} {row.bytes}".ljust(9)
                    lines.append(f"  {row.cost:11,}  {lost([row])}  {row.requests:9,} x {what}  {row.place}")
    return lines


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--what", choices=("one", "many", "prompt"), default="one")
    parser.add_argument("--kv", choices=("f16", "int8"), default="int8")
    parser.add_argument("--tokens", type=int, help="of the prompt, or before what is counted")
    parser.add_argument("--kernel", nargs="+", help="these only")
    parser.add_argument("--least", type=float, default=0.02, help="share of a place that is shown (0.02)")
    parser.add_argument("--driver", type=Path, default=DRIVER, help="the counting one, of another build")
    parser.add_argument("--run", nargs=2, metavar=("FOLDER", "OUT"), help=argparse.SUPPRESS)
    chosen = parser.parse_args(words)
    tokens = chosen.tokens or TOKENS[chosen.what]
    if chosen.run:  # the process with the card
        folder, out = map(Path, chosen.run)
        run_steps(folder, chosen.what, tokens, chosen.kv, out)
        return
    with tempfile.TemporaryDirectory() as room:
        folder = write_model(Path(room) / "model", LARGE)
        rows = count(folder, chosen.what, tokens, chosen.kv, chosen.driver)
    if chosen.kernel:
        missing = set(chosen.kernel) - {row.kernel for row in rows}
        if missing:
            raise SystemExit(
                f"not run: {', '.join(sorted(missing))}; {', '.join(sorted({r.kernel for r in rows}))} were"
            )
        rows = [row for row in rows if row.kernel in chosen.kernel]
    print("\n".join(table(rows, chosen.least)))


if __name__ == "__main__":
    main()
