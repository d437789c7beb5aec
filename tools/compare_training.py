"""CPU seconds of one training step, ours and PyTorch's in one sitting: A B A B, medians, as a Markdown table.

Usage: python tools/compare_training.py MODEL SOURCE --torch-python PATH [--threads 2] [--rounds 3]

MODEL is a converted folder, SOURCE the bf16 folder that it was made from, PATH a Python with torch and transformers.
Steps: MeZO with 1 x 256 tokens, gains of all layers (ours) or all weights (torch, as published: the perturbation is
drawn again from its seed, four passes over the weights); AdamW on all weights with the same tokens (torch); exact
LoRA of rank 8 on q and v of all layers with 8 x 128 tokens (both, torch with AdamW on the factors). bf16 in torch.
Medians of the rounds; a round is the median of 3 steps after one that is not counted. CPU seconds are those of all
threads of the process, so that a machine that does other things too changes them little.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

VOCAB_USED = 40000
STEPS = 3


def tokens(windows: int, window: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, VOCAB_USED, (windows, window + 1)).astype(np.int32)


def timed(step: Callable[[], Any]) -> float:
    """The median of STEPS steps after one."""
    step()
    times = []
    for _ in range(STEPS):
        started = time.process_time()
        step()
        times.append(time.process_time() - started)
    return statistics.median(times)


def ours(model: Path, threads: int) -> dict[str, float]:
    from bitconverter.engine import Engine
    from bitconverter.model.gain_trainer import GainTrainer
    from bitconverter.model.layer_stack import LayerStack
    from bitconverter.model.lora_trainer import LoraTrainer
    from bitconverter.model.mezo import Mezo

    stack = LayerStack(Engine(threads), model)
    ids = tokens(1, 256)
    gains = GainTrainer(stack, stack.info.n_layers, 256)
    batch, mezo = gains.batch(ids[:, :-1].copy(), ids[:, 1:].copy()), Mezo(0, 4e-2, 1, 100.0, gains.reach())
    parameters = gains.start(0)

    def mezo_step() -> None:
        scores = gains.replicas(batch, mezo.places(parameters, 0))
        mezo.move(parameters, 0, mezo.slopes([score.loss for score in scores]), 1e-6)

    many = tokens(8, 128)
    lora = LoraTrainer(stack, stack.info.n_layers, 128)
    lora.set_parameters(lora.start(0))
    lora.keep = 1 << 30  # as `train` does where so much is free
    examples = lora.batch(many[:, :-1].copy(), many[:, 1:].copy())
    return {
        "forward": timed(lambda: gains.score(batch)),
        "mezo": timed(mezo_step),
        "lora": timed(lambda: lora.step(examples)),
    }


def theirs(source: Path, threads: int) -> dict[str, float]:
    """Runs under a Python with torch."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    ids = torch.from_numpy(tokens(1, 256)[:, :-1].astype(np.int64))
    many = torch.from_numpy(tokens(8, 128)[:, :-1].astype(np.int64))
    times: dict[str, float] = {}

    def shift(factor: float) -> None:
        generator = torch.manual_seed(1)
        for parameter in model.parameters():
            z = torch.normal(0, 1, parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.data += factor * z

    def mezo_step() -> None:
        with torch.no_grad():
            shift(1e-3)
            up = model(ids, labels=ids).loss
            shift(-2e-3)
            down = model(ids, labels=ids).loss
            shift(1e-3)
            shift(-1e-7 * float(up - down) / 2e-3)

    def adam(parameters: Any, batch: Any) -> Callable[[], None]:
        optimizer = torch.optim.AdamW(parameters, lr=1e-7)

        def step() -> None:
            model(batch, labels=batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    times["mezo"] = timed(mezo_step)
    times["adamw"] = timed(adam(model.parameters(), ids))
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    factors = []
    for layer in model.model.layers:
        for linear in (layer.self_attn.q_proj, layer.self_attn.v_proj):
            rows, cols = linear.weight.shape
            a = torch.nn.Parameter(torch.randn(8, cols, dtype=torch.bfloat16) / cols**0.5)
            b = torch.nn.Parameter(torch.zeros(rows, 8, dtype=torch.bfloat16))
            factors += [a, b]
            linear.register_forward_hook(lambda _m, args, out, a=a, b=b: out + (args[0] @ a.T) @ b.T)
    times["lora"] = timed(adam(factors, many))
    return times


def in_process(python: str, args: argparse.Namespace, side: str) -> dict[str, float]:
    command = [python, __file__, str(args.model), str(args.source), "--threads", str(args.threads)]
    done = subprocess.run([*command, "--side", side], check=True, stdout=subprocess.PIPE, encoding="utf-8")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("source", type=Path)
    parser.add_argument("--torch-python", default=sys.executable)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(
            json.dumps(
                ours(args.model, args.threads) if args.side == "ours" else theirs(args.source, args.threads)
            )
        )
        return
    seen: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
    for _ in range(args.rounds):
        seen["ours"].append(in_process(sys.executable, args, "ours"))
        seen["theirs"].append(in_process(args.torch_python, args, "theirs"))
    a, b = (
        {key: statistics.median(one[key] for one in rounds) for key in rounds[0]} for rounds in seen.values()
    )
    from bitconverter.jobs.benchmark import machine  # not under a Python with torch

    print(f"{time.strftime('%Y-%m-%d')}, {machine()}, {args.threads} threads, {args.model.name}\n")
    print("| step, CPU seconds | ours | torch bf16 | times less |\n|---|---|---|---|")
    for name, mine, peer in (
        ("MeZO, 1 x 256 tokens", "mezo", "mezo"),
        ("MeZO, 1 x 256 tokens, against AdamW", "mezo", "adamw"),
        ("LoRA r 8, q and v, 8 x 128 tokens", "lora", "lora"),
    ):
        print(f"| {name} | {a[mine]:.3f} s | {b[peer]:.3f} s | {b[peer] / a[mine]:.1f} |")
    print(f"\none forward pass of 1 x 256 tokens: {a['forward']:.3f} s")


if __name__ == "__main__":
    main()
