"""What a model costs and gives at each number of planes, as a Markdown table.

Usage: python tools/report.py SOURCE TEXT WORK [--planes 1 2 3 4] [--methods fast full] [--max-tokens 20000]

Converts SOURCE into folders below WORK (kept; made anew), then measures each by `bitconverter inspect`,
`evaluate --reference SOURCE` on TEXT and `benchmark`. Every conversion is a process of its own, so its
seconds and peak memory are those a user would see. Run it on a quiet machine.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil


def bitconverter(*words: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "bitconverter", *map(str, words), "--json", "--quiet"]
    result: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
    )
    return result


def convert(source: Path, out: Path, planes: int, method: str) -> tuple[float, int]:
    """Seconds and peak resident bytes of one conversion."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "bitconverter", "convert", str(source), str(out)]
    start = time.monotonic()
    command += ["--planes", str(planes), "--method", method, "--no-report", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        peak = _peak_rss(process)
    if process.returncode:
        raise SystemExit(f"the conversion to {out} failed")
    return time.monotonic() - start, peak


def _peak_rss(process: subprocess.Popen[bytes]) -> int:
    """Looks 100 times a second until the process ends."""
    watched, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        try:
            peak = max(peak, watched.memory_info().rss)
        except psutil.Error:  # it ended just now
            break
        time.sleep(0.01)
    process.wait()
    return peak


def row(args: argparse.Namespace, name: str, model: Path, made: tuple[float, int] | None) -> str:
    about = bitconverter("inspect", model)
    words = ["evaluate", model, "--text", args.text, "--max-tokens", args.max_tokens]
    quality = bitconverter(*words, *(["--reference", args.source] if made else []))
    speeds = [bitconverter("benchmark", model, "--threads", threads) for threads in (1, 2)]
    cells = [
        name,
        f"{about['file_bytes'] / 1e6:.1f}",
        f"{about['bits_per_weight']:.2f}",
        f"{quality['perplexity']:.2f}" if quality["perplexity"] < 1e4 else f"{quality['perplexity']:.1e}",
        f"{quality['kl']:.3f}" if made else "0",
        f"{made[0]:.1f}" if made else "",
        f"{made[1] / 1e6:.0f}" if made else "",
        " / ".join(f"{speed['decode_tok_s']:.0f}" for speed in speeds),
        " / ".join(f"{speed['prefill_tok_s']:.0f}" for speed in speeds),
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--planes", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--methods", nargs="+", default=["fast", "full"])
    parser.add_argument("--max-tokens", type=int, default=20000)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    print(f"{bitconverter('benchmark', args.source, '--repeat', 1)['machine']}, {os.cpu_count()} threads")
    print(
        "| planes | file MB | bits/weight | perplexity | KL | convert s | convert peak MB "
        "| decode tok/s, 1 / 2 threads | prefill tok/s, 1 / 2 threads |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    print(row(args, "source", args.source, None), flush=True)
    for method in args.methods:
        for planes in args.planes:
            out = args.work / f"{method}-{planes}"
            made = convert(args.source, out, planes, method)
            print(row(args, f"{planes}, {method}", out, made), flush=True)


if __name__ == "__main__":
    main()
