"""Our speed against llama.cpp's in one sitting: A B A B, medians, as a Markdown table.

Usage: python tools/compare_speed.py MODEL GGUF --llama-bench PATH [--threads 1 2] [--rounds 4]

MODEL is a converted folder, GGUF a file of the same shape, PATH a llama-bench binary built natively
(cmake -DGGML_NATIVE=ON; the PyPI package llama-cpp-python carries the source). Prefill of 512 tokens,
decode of 64, as `bitconverter benchmark` and `llama-bench -p 512 -n 64` measure them.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

PROMPT, NEW = 512, 64
Speeds = tuple[float, float]  # prefill, decode: tokens per second


def ours(model: Path, threads: int) -> Speeds:
    """llama-bench decodes from an empty context, so our decode is measured after one token too."""
    prefill = _benchmark(model, threads, PROMPT)
    return prefill["prefill_tok_s"], _benchmark(model, threads, 1)["decode_tok_s"]


def _benchmark(model: Path, threads: int, prompt: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bitconverter", "benchmark", str(model), "--json", "--quiet"]
    command += ["--threads", str(threads), "--repeat", "3", "--prompt-tokens", str(prompt)]
    command += ["--new-tokens", str(NEW)]
    result: dict[str, float] = json.loads(
        subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
    )
    return result


def theirs(binary: Path, gguf: Path, threads: int) -> Speeds:
    command = [str(binary), "-m", str(gguf), "-t", str(threads), "-p", str(PROMPT), "-n", str(NEW)]
    command += ["-r", "3", "-o", "json"]
    rows = json.loads(subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout)
    by_kind = {bool(row["n_gen"]): statistics.median(row["samples_ts"]) for row in rows}
    return by_kind[False], by_kind[True]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("gguf", type=Path)
    parser.add_argument("--llama-bench", type=Path, required=True)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=4)
    args = parser.parse_args()
    print("| threads | what | BitConverter | llama.cpp | ratio | ratio in each round |")
    print("|---|---|---|---|---|---|")
    for threads in args.threads:
        pairs = [
            (ours(args.model, threads), theirs(args.llama_bench, args.gguf, threads))
            for _ in range(args.rounds)
        ]
        for kind, name in enumerate((f"prefill {PROMPT}, tok/s", f"decode {NEW}, tok/s")):
            mine = statistics.median(a[kind] for a, _ in pairs)
            peer = statistics.median(b[kind] for _, b in pairs)
            ratios = [a[kind] / b[kind] for a, b in pairs]
            each = " ".join(f"{ratio:.2f}" for ratio in ratios)
            middle = statistics.median(ratios)
            print(f"| {threads} | {name} | {mine:.1f} | {peer:.1f} | {middle:.2f} | {each} |", flush=True)


if __name__ == "__main__":
    main()
