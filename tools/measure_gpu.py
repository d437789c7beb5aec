"""Measure a model on a graphics card: load, decode, prefill, many sessions, memory, and perplexity beside the CPU's.

    python tools/measure_gpu.py FOLDER [--text FILE] [--limit 4e9] [--kv int8] [--ctx 4096] [--kernels] ...

FOLDER is a converted model; with --synthetic SHAPE it is made first if it is not there. Every figure is a median of
--repeat runs. Prints one JSON object. docs/SPEED.md says what was measured, when and where.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bitconverter.engine import Engine, Model, Session, forward_together, logits_score
from bitconverter.engine import device as devices

WINDOW = 512  # tokens of a window of perplexity


def median(run: Callable[[], Any], repeat: int) -> float:
    """Seconds of `run`, the median of `repeat` after one that is not counted."""
    run()
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def decode(session: Session, tokens: int, position: int, repeat: int) -> float:
    """Tokens per second from `position` on, as a chat makes them: the logits stay in the session."""

    def run() -> None:
        session.rewind(position)
        for i in range(tokens):
            session.forward([i % 100 + 10], want_logits=False)

    return tokens / median(run, repeat)


def prefill(session: Session, tokens: int, repeat: int) -> float:
    words = [i % 1000 + 10 for i in range(tokens)]

    def run() -> None:
        session.rewind(0)
        session.forward(words)

    return tokens / median(run, repeat)


def together(model: Model, count: int, tokens: int, kv: str, repeat: int) -> float:
    """Tokens per second of `count` sessions that decode together; logits as in decode()."""
    sessions = [Session(model, n_ctx=tokens + 8, kv=kv) for _ in range(count)]

    def run() -> None:
        for session in sessions:
            session.rewind(0)
        for i in range(tokens):
            forward_together(sessions, [i % 100 + 10] * count, want_logits=False)

    return count * tokens / median(run, repeat)


def kernels(engine: Engine, device: int, run: Callable[[], Any], repeat: int) -> dict[str, list[float]]:
    """By kernel: how often it is launched in `run`, and microseconds of all its launches, medians."""
    found: dict[str, list[devices.KernelTime]] = {}
    run()
    for _ in range(repeat):
        for kernel in devices.kernel_times(engine, device, run):
            found.setdefault(kernel.name, []).append(kernel)
    each = {
        name: [times[0].launches, round(statistics.median(time.seconds for time in times) * 1e6, 1)]
        for name, times in found.items()
    }
    return {"all": [sum(part) for part in zip(*each.values(), strict=True)], **each}


def first_step(sessions: list[Session]) -> None:
    for session in sessions:
        session.rewind(0)
    forward_together(sessions, [11] * len(sessions))


def kernels_of_steps(engine: Engine, model: Model, words: argparse.Namespace) -> dict[str, Any]:
    """One token behind others, one of each of many sessions, a prompt."""
    session = Session(model, n_ctx=words.ctx, n_batch=words.batch, kv=words.kv)
    out = {}

    def timed(name: str, run: Callable[[], Any]) -> None:
        out[name] = kernels(engine, words.device, run, words.repeat)

    def at(position: int, tokens: list[int]) -> None:
        session.rewind(position)
        session.forward(tokens)

    prompt = [i % 1000 + 10 for i in range(words.prefill)]
    timed(f"prefill_{words.prefill}", lambda: at(0, prompt))
    for position in (words.prefill, 0):  # a session only goes back
        timed(f"one_token_at_{position}", partial(at, position, [11]))
    for count in words.sessions:
        many = [Session(model, n_ctx=16, kv=words.kv) for _ in range(count)]
        timed(f"{count}_sessions", partial(first_step, many))
    return out


def perplexity(model: Model, tokens: np.ndarray, kv: str) -> float:
    """exp of the mean negative log-likelihood of the second half of every window."""
    session = Session(model, n_ctx=WINDOW, kv=kv)
    total, count = 0.0, 0
    for first in range(0, len(tokens) - WINDOW + 1, WINDOW):
        window = tokens[first : first + WINDOW]
        session.rewind(0)
        logits = session.forward(window, all_positions=True)
        assert logits is not None
        half = WINDOW // 2
        nll, _ = logits_score(model.engine, np.ascontiguousarray(logits[half:-1]), window[half + 1 :])
        total += float(nll.sum())
        count += len(nll)
    return float(np.exp(total / count))


def read_time(folder: Path) -> float:
    """Seconds to read the weights once, from the cache of files: what copying them takes at least."""
    began = time.perf_counter()
    room = bytearray(16 << 20)
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb", buffering=0) as stream:
            while stream.readinto(room):
                pass
    return time.perf_counter() - began


def make_synthetic(folder: Path, shape: str | None, planes: int, layers: int | None) -> None:
    """A model of that shape with random weights, unless the folder is there or no shape is given."""
    if not shape or folder.exists():
        return
    from bitconverter.jobs.job import Cancel, Context
    from bitconverter.jobs.synthetic import SyntheticJob

    SyntheticJob(str(folder), shape, planes, layers).run(Context(lambda event: None, Cancel(), None))


def measure(words: argparse.Namespace) -> dict[str, Any]:
    folder = Path(words.folder)
    make_synthetic(folder, words.synthetic, words.planes, words.layers)
    engine = Engine()
    devices.open_backend(engine)
    info = devices.device_info(engine, words.device)
    out: dict[str, Any] = {"model": folder.name, "device": info.name, "driver": info.driver_version}
    out["taken_before_mb"] = (info.total_bytes - info.free_bytes) / 1e6
    read_time(folder)
    out["read_s"] = read_time(folder)
    began = time.perf_counter()
    model = Model(engine, folder)
    params = devices.PlacementParams(
        device=words.device, n_ctx=words.ctx, n_batch=words.batch, kv=words.kv, memory_limit=int(words.limit)
    )
    placement = devices.place(model, params)
    session = Session(model, n_ctx=words.ctx, n_batch=words.batch, kv=words.kv)
    out["load_s"] = time.perf_counter() - began
    session.forward([11])
    out["first_token_s"] = time.perf_counter() - began
    out["layers"] = f"{placement.n_layers} of {model.info.n_layers}, head {placement.head}"
    out["decode_tok_s"] = decode(session, words.tokens, 0, words.repeat)
    if words.deep:
        prefill(session, words.deep, 1)
        out[f"decode_at_{words.deep}_tok_s"] = decode(session, words.tokens, words.deep, words.repeat)
    out[f"prefill_{words.prefill}_tok_s"] = prefill(session, words.prefill, words.repeat)
    memory = devices.device_memory(engine, words.device)
    out["used_mb"] = memory.used_bytes / 1e6
    out["driver_counts_mb"] = (memory.total_bytes - memory.free_bytes) / 1e6
    if not words.limit:
        out["copy_gb_s"] = devices.copy_speed(engine, words.device, 1 << 30) / 1e9
        bytes_per_s = model.info.decode_bytes * out["decode_tok_s"] / 1e9
        out["decode_reads_gb_s"] = bytes_per_s
        out["share_of_copy"] = bytes_per_s / out["copy_gb_s"]
    for count in words.sessions:
        out[f"decode_{count}_sessions_tok_s"] = together(model, count, 32, words.kv, words.repeat)
    if words.kernels:
        out["kernels_us"] = kernels_of_steps(engine, model, words)
    if words.text:
        from tokenizers import Tokenizer

        text = Path(words.text).read_text(encoding="utf-8")
        ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text[: 8 * words.text_tokens]).ids
        tokens = np.asarray(ids[: words.text_tokens], np.int32)
        out["perplexity"] = perplexity(model, tokens, words.kv)
        out["perplexity_cpu"] = perplexity(Model(Engine(), folder), tokens, words.kv)
        out["perplexity_ratio"] = out["perplexity"] / out["perplexity_cpu"]
    return out


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("--synthetic", metavar="SHAPE", help="make the model first, in this shape")
    parser.add_argument("--planes", type=int, default=2)
    parser.add_argument("--layers", type=int)
    parser.add_argument("--device", type=int, default=0)
    parser.add_argument("--kv", default="int8")
    parser.add_argument("--ctx", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--limit", type=float, default=0, help="bytes, as if the card had no more")
    parser.add_argument("--tokens", type=int, default=128, help="of one run of decoding")
    parser.add_argument("--prefill", type=int, default=512)
    parser.add_argument("--deep", type=int, default=0, help="decode behind so many tokens too")
    parser.add_argument("--sessions", type=int, nargs="*", default=[])
    parser.add_argument("--kernels", action="store_true", help="microseconds of each kernel, of single steps")
    parser.add_argument("--text", help="perplexity on this file, here and on the CPU")
    parser.add_argument("--text-tokens", type=int, default=8192)
    parser.add_argument("--repeat", type=int, default=5)
    return parser.parse_args(words)


def main() -> None:
    print(json.dumps(measure(parse()), indent=1), flush=True)


if __name__ == "__main__":
    main()
