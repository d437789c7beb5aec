"""The main job on a real model: convert SmolLM2-135M-Instruct, measure it, ask it something.

`python tools/dev.py demo` prepares everything and runs this. Options: --terminal (no window),
--planes N, --prompt TEXT, --benchmark (only the speed). Results are kept in .demo/.
"""

import argparse
import sys
import time
from pathlib import Path

import demo_model

from bitconverter.cli.main import window
from bitconverter.cli.running import Ended, run
from bitconverter.cli.terminal import ProgressLine, make_streams_safe, size
from bitconverter.jobs.benchmark import BenchmarkJob
from bitconverter.jobs.chat import AnswerJob, LoadChatJob, Message, Sampling
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.evaluate import EvaluateJob
from bitconverter.jobs.inspect import InspectJob

TEXT = Path(__file__).with_name("demo_text.txt")
PROMPT = "What is the capital of France, and what is it known for? Answer in two sentences."
LINE = ProgressLine()


def main() -> int:
    make_streams_safe()
    parser = argparse.ArgumentParser(prog="demo")
    parser.add_argument("--terminal", action="store_true")
    parser.add_argument("--benchmark", action="store_true")
    # Measured on this model: 3 planes keep it close to the original, 2 planes cost it much more.
    parser.add_argument("--planes", type=int, choices=(1, 2, 3, 4), default=3)
    parser.add_argument("--prompt", default=PROMPT)
    args = parser.parse_args()
    try:
        model = convert(args.planes)
        if args.benchmark:
            benchmark(model)
            return 0
        if args.terminal:
            measure(model)
            answer(model, args.prompt)
            print(f"\nTalk to it:  {Path(sys.executable).with_name('bitconverter')} chat {model}")
            return 0
    except Ended as ended:
        return ended.status
    return window(str(model))


def convert(planes: int) -> Path:
    """The converted model, made once."""
    gguf = demo_model.packaged_gguf()
    out = demo_model.FOLDER / f"{demo_model.NAME}-{planes}-planes"
    if out.exists():
        print(f"Using {out} (converted before; remove it to convert again).", flush=True)
    else:
        demo_model.FOLDER.mkdir(exist_ok=True)
        print(f"Converting {gguf.name} with {planes} ternary planes per weight ...", flush=True)
        start = time.monotonic()
        run(ConvertJob(str(gguf), str(out), planes), LINE)
        print(f"Converted in {time.monotonic() - start:.1f} s.", flush=True)
    return out


def measure(model: Path) -> None:
    """Sizes, and perplexity before and after, on a short text."""
    print("Unpacking the original to 16 bits to compare with (once) ...", flush=True)
    original = demo_model.unpacked_folder()
    before, after = (run(InspectJob(str(path)), LINE) for path in (original, model))
    print(f"Predicting {TEXT.name} with both ...", flush=True)
    result = run(EvaluateJob(str(model), str(TEXT), str(original)), LINE)
    speed = run(BenchmarkJob(str(model), prompt_tokens=256, new_tokens=48, repeat=2), LINE)
    print()
    print(f"{'':24}{'original':>12}{'converted':>12}")
    print(f"{'weight files':24}{size(before.file_bytes):>12}{size(after.file_bytes):>12}")
    print(f"{'bits per weight':24}{before.bits_per_weight:12.2f}{after.bits_per_weight:12.2f}")
    print(f"{'perplexity':24}{result.reference_perplexity:12.3f}{result.perplexity:12.3f}")
    print(
        f"KL divergence {result.kl:.4f} nats, same top token {result.top1:.1%}, over {result.tokens} tokens"
    )
    print(
        f"prefill {speed.prefill_tok_s:.0f} tok/s, decode {speed.decode_tok_s:.0f} tok/s "
        f"({speed.isa}, {speed.threads} threads)",
        flush=True,
    )


def answer(model: Path, prompt: str) -> None:
    """One answer, streamed."""
    chat = run(LoadChatJob(str(model)), LINE)
    print(f"\n> {prompt}", flush=True)

    def show(text: str) -> None:
        print(text, end="", flush=True)

    sampling = Sampling(
        temperature=0.0, top_p=1.0, top_k=0, min_p=0.0, repeat_penalty=1.0, seed=1, max_tokens=120
    )
    try:
        done = run(AnswerJob(chat, (Message("user", prompt),), sampling), LINE, show)
        print(f"\n[{done.tokens} tokens, {done.tokens_per_second:.1f} tok/s]")
    finally:
        chat.close()


def benchmark(model: Path) -> None:
    """The same figures as `bitconverter benchmark`."""
    result = run(BenchmarkJob(str(model)), LINE)
    print(f"prefill {result.prefill_tok_s:.1f} tok/s, decode {result.decode_tok_s:.1f} tok/s, ", end="")
    print(
        f"{result.decode_gb_s:.1f} GB/s, {result.isa}, {result.threads} threads, result {result.logits_hash}"
    )
    print(result.machine)


if __name__ == "__main__":
    sys.exit(main())
