"""Our speed beside other engines' in one sitting: A B C A B C, medians, as a Markdown table.

    python tools/compare_speed.py MODEL --peer NAME LLAMA_BENCH GGUF [--peer ...] [--threads 2] [--rounds 4]
        [--cpu-mask avx2] [--prompt 512] [--new 64] [--json FILE]

MODEL is a converted folder, GGUF a file of the same shape, LLAMA_BENCH that engine's llama-bench built natively
(cmake -DGGML_NATIVE=ON; PyPI's llama-cpp-python and ik-llama-cpp-python carry the sources). In every round each engine
is a process of its own: prefill of --prompt tokens, decode of --new from an empty context, as `bitconverter benchmark`
and `llama-bench -p 512 -n 64` measure them. The ratio is the median of the rounds' own ratios. --prompt 0: no prefill.
--cpu-mask holds ours to older instructions, beside a peer that is built for them.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from bitconverter.jobs.benchmark import machine
from bitconverter.jobs.peer import Peer, Speeds

REPEATS = 3  # of a measurement in each round


def ours(model: Path, threads: int, cpu: str, prompt: int, new: int) -> Speeds:
    """llama-bench decodes from an empty context, so our decode is measured after one token too."""
    found = {"decode": _benchmark(model, threads, cpu, 1, new)["decode_tok_s"]}
    if prompt:
        found["prefill"] = _benchmark(model, threads, cpu, prompt, 1)["prefill_tok_s"]
    return found


def _benchmark(model: Path, threads: int, cpu: str, prompt: int, new: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bitconverter", "benchmark", str(model), "--json", "--quiet"]
    command += ["--threads", str(threads), "--cpu-mask", cpu, "--repeat", str(REPEATS)]
    command += ["--prompt-tokens", str(prompt), "--new-tokens", str(new)]
    result: dict[str, float] = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument(
        "--peer", nargs=3, action="append", required=True, metavar=("NAME", "LLAMA_BENCH", "GGUF")
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[2])
    parser.add_argument("--cpu-mask", default="auto")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    asked = {name: Peer(binary, gguf) for name, binary, gguf in args.peer}
    kinds = (["prefill"] if args.prompt else []) + ["decode"]
    report = []
    print(f"{args.model.name}; {machine()}\n")
    print("| threads | what, tok/s | ours | peer | its | ratio | ratio in each round |")
    print("|---|---|---|---|---|---|---|")
    for threads in args.threads:
        rounds: list[tuple[Speeds, dict[str, Speeds]]] = []
        for _ in range(args.rounds):
            mine = ours(args.model, threads, args.cpu_mask, args.prompt, args.new)
            peers = {
                name: peer.measure(threads, args.prompt, args.new, repeats=REPEATS)
                for name, peer in asked.items()
            }
            rounds.append((mine, peers))
        for kind in kinds:
            for name in asked:
                ratios = [mine[kind] / peers[name][kind] for mine, peers in rounds]
                row = {
                    "model": args.model.name, "threads": threads, "what": kind, "peer": name,
                    "ours": statistics.median(mine[kind] for mine, _ in rounds),
                    "theirs": statistics.median(peers[name][kind] for _, peers in rounds),
                    "ratio": statistics.median(ratios), "ratios": ratios,
                }  # fmt: skip
                report.append(row)
                each = " ".join(f"{ratio:.2f}" for ratio in ratios)
                print(
                    f"| {threads} | {kind} {args.prompt if kind == 'prefill' else args.new} | {row['ours']:.4g} "
                    f"| {name} | {row['theirs']:.4g} | {row['ratio']:.2f}x | {each} |",
                    flush=True,
                )
    if args.json is not None:
        args.json.write_text(json.dumps({"machine": machine(), "rows": report}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
