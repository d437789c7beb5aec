"""Compare the engine with transformers on a real dense model: greedy text, and perplexity.

    python tools/compare_dense.py FOLDER --text FILE [--prompt TEXT] [--new-tokens 200] [--eval-tokens 20000]
                                  [--window 512] [--threads N]

Needs torch and transformers beside this project's own packages, and the engine built; run by hand. Both sides
compute in float32 from the same files (the KV cache too). Greedy text: where the two part, the logits of the two
candidates are printed as both sides see them. Then both are fed the same tokens (those of transformers), and
every position where the most probable token differs is listed with its gap: a gap of the size of the largest
|logit difference| is a rounding tie. Perplexity: windows that each begin with an empty context, no BOS; every
token but a window's first is predicted.
"""

import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bitconverter.engine import Engine, Model, Session, logits_score
from bitconverter.model.tokenizer import Tokenizer

Logits = np.ndarray


class Theirs:
    """transformers, float32, eager attention."""

    def __init__(self, folder: Path) -> None:
        loaded = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        )
        self.model = loaded.eval()

    @torch.no_grad()
    def logits(self, tokens: list[int]) -> Logits:
        return self.model(torch.tensor([tokens])).logits[0].float().numpy()

    @torch.no_grad()
    def greedy(self, prompt: list[int], n: int) -> list[int]:
        tokens, past, made = torch.tensor([prompt]), None, []
        for _ in range(n):
            out = self.model(tokens, past_key_values=past, use_cache=True)
            past, tokens = out.past_key_values, out.logits[:, -1:].argmax(-1)
            made.append(int(tokens))
        return made


class Ours:
    """The engine, float32 KV cache."""

    def __init__(self, folder: Path, threads: int, n_ctx: int) -> None:
        self.engine = Engine(threads=threads)
        self.session = Session(Model(self.engine, folder), n_ctx=n_ctx, kv="f32")

    def logits(self, tokens: list[int]) -> Logits:
        self.session.rewind(0)
        logits = self.session.forward(tokens, all_positions=True)
        assert logits is not None
        return logits

    def greedy(self, prompt: list[int], n: int) -> list[int]:
        self.session.rewind(0)
        tokens, made = prompt, []
        for _ in range(n):
            logits = self.session.forward(tokens)
            assert logits is not None
            made.append(int(logits[0].argmax()))
            tokens = made[-1:]
        return made


def compare_greedy(ours: Ours, theirs: Theirs, tokenizer: Tokenizer, prompt: list[int], n: int) -> None:
    a, b = ours.greedy(prompt, n), theirs.greedy(prompt, n)
    same = next((i for i in range(n) if a[i] != b[i]), n)
    print(f"greedy: {same} of {n} tokens equal: {tokenizer.decode(b)[:160]!r} ...")
    whole = prompt + b[:-1]
    x, y = ours.logits(whole)[len(prompt) - 1 :], theirs.logits(whole)[len(prompt) - 1 :]
    print(f"fed the same {len(whole)} tokens: max |logit difference| {np.abs(x - y).max():.2e}")
    if same < n:
        one, two = a[same], b[same]
        print(f"they part at token {same}: ours {tokenizer.token(one)!r}, theirs {tokenizer.token(two)!r}")
        for name, logits in (("ours", x), ("theirs", y)):
            gap = logits[same, one] - logits[same, two]
            print(f"  {name:6} {logits[same, one]:.6f} {logits[same, two]:.6f}  gap {gap:+.2e}")
    differ = np.flatnonzero(x.argmax(1) != y.argmax(1))
    gaps = [float(y[i].max() - y[i, x[i].argmax()]) for i in differ]
    print(f"most probable token differs at {len(differ)} of {n} positions, gaps {gaps}")
    top = np.sort(y, axis=1)[:, -2:]
    print(f"smallest gap between first and second there: {(top[:, 1] - top[:, 0]).min():.2e}")


def compare_perplexity(ours: Ours, theirs: Theirs, ids: list[int], window: int) -> None:
    models: tuple[Ours | Theirs, ...] = (ours, theirs)
    sums, worst, agree, tokens, seconds = [0.0, 0.0], 0.0, 0, 0, [0.0, 0.0]
    for start in range(0, len(ids) - 1, window):
        part = ids[start : start + window]
        if len(part) < 2:
            break
        targets = np.array(part[1:], np.int32)
        sides = []
        for side, model in enumerate(models):
            begin = time.perf_counter()
            logits = model.logits(part)[:-1]
            seconds[side] += time.perf_counter() - begin
            nll, best = logits_score(ours.engine, logits, targets)
            sums[side] += float(nll.sum())
            sides.append((logits, best))
        worst = max(worst, float(np.abs(sides[0][0] - sides[1][0]).max()))
        agree += int((sides[0][1] == sides[1][1]).sum())
        tokens += len(targets)
    mine, other = (math.exp(s / tokens) for s in sums)
    print(f"perplexity on {tokens} tokens, windows of {window}: ours {mine:.5f}, transformers {other:.5f}")
    print(f"  difference {100 * (mine / other - 1):+.4f} %, max |logit difference| {worst:.2e}", end=", ")
    print(f"same top token {100 * agree / tokens:.3f} %")
    print(f"  seconds: ours {seconds[0]:.1f}, transformers {seconds[1]:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--prompt", default="The history of the printing press begins")
    parser.add_argument("--new-tokens", type=int, default=200)
    parser.add_argument("--eval-tokens", type=int, default=20_480)
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    tokenizer = Tokenizer(args.folder)
    prompt = tokenizer.encode(args.prompt, add_special_tokens=True)
    text = args.text.read_text(encoding="utf-8")[: 12 * args.eval_tokens]
    # whole windows: --eval-tokens are counted as predicted ones
    n_windows = -(-args.eval_tokens // (args.window - 1))
    ids = tokenizer.encode(text, add_special_tokens=False)[: n_windows * args.window]
    ours = Ours(args.folder, args.threads, max(args.window, len(prompt) + args.new_tokens))
    theirs = Theirs(args.folder)
    if args.threads:
        torch.set_num_threads(args.threads)
    print(f"{args.folder.name}: engine {ours.engine.isa}, {ours.engine.threads} threads")
    compare_greedy(ours, theirs, tokenizer, prompt, args.new_tokens)
    compare_perplexity(ours, theirs, ids, args.window)


if __name__ == "__main__":
    main()
