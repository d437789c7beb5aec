"""Measure steps of training on a graphics card beside the same steps on the processor: seconds, memory, agreement.

    python tools/measure_gpu_training.py FOLDER [--text FILE] [--layers N] [--batch 16] [--window 256] ...

FOLDER is a converted model; with --synthetic SHAPE it is made first if it is not there. Without --text the tokens are
random. For each way to train (exact or MeZO, gains or low-rank additions) the same batch is looked at on both, without
moving anything: the median of --repeat looks after one that is not counted, of which `head_s` is the loss over the
vocabulary. `gradient_off` is the difference from the processor's as a share of its
size, `cosine` the angle. --no-cpu leaves the processor's side out. Prints one JSON object.
"""

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from measure_gpu import make_synthetic

from bitconverter.engine import Cancel, Engine, TowerParams
from bitconverter.engine import device as devices
from bitconverter.jobs.learners import AdapterKind
from bitconverter.model.block_trainer import Batch, BlockTrainer
from bitconverter.model.layer_stack import LayerStack
from bitconverter.model.mezo import Mezo

WAYS = (("exact", "gain"), ("exact", "lora"), ("mezo", "gain"), ("mezo", "lora"))
EPSILONS = {"gain": 4e-2, "lora": 2e-2}


@contextmanager
def timed_head(seconds: list[float]) -> Iterator[None]:
    """What the losses take inside the block is added up in seconds[0]."""
    usual = BlockTrainer._losses

    def head(*args: Any, **more: Any) -> Any:
        began = time.perf_counter()
        try:
            return usual(*args, **more)
        finally:
            seconds[0] += time.perf_counter() - began

    BlockTrainer._losses = head  # type: ignore[method-assign]
    try:
        yield
    finally:
        BlockTrainer._losses = usual  # type: ignore[method-assign]


def look_of(trainer: BlockTrainer, batch: Batch, way: str, adapter: str, words: argparse.Namespace) -> Any:
    """A function that looks at the batch once, and gives losses and, exactly, the gradient."""
    cancel, parameters = Cancel(), trainer.start(0)
    if adapter == "lora":  # B at 0 has no gradient for A
        parameters = parameters + 1e-3 * np.random.default_rng(1).standard_normal(parameters.size)
    if way == "exact":
        trainer.set_parameters(parameters)

        def step() -> tuple[Any, Any]:
            seen = trainer.step(batch, cancel)
            return seen.loss, seen.gradient

        return step
    mezo = Mezo(0, EPSILONS[adapter], words.directions, 100.0, trainer.reach(), one_sided=True)
    places = list(mezo.places(parameters, 0))
    trainer.together = min(len(places), trainer.most_together(len(batch.hidden)))

    def look() -> tuple[Any, Any]:
        scores = trainer.replicas(batch, places, cancel)
        return [score.loss / max(1, score.tokens) for score in scores], None

    return look


def timed(look: Callable[[], tuple[Any, Any]], repeat: int) -> tuple[dict[str, float], Any, Any]:
    times, heads = [], []
    for turn in range(repeat + 1):
        head = [0.0]
        began = time.perf_counter()
        with timed_head(head):
            loss, gradient = look()
        if turn:
            times.append(time.perf_counter() - began)
            heads.append(head[0])
    return {"s": statistics.median(times), "head_s": statistics.median(heads)}, loss, gradient


def measure(words: argparse.Namespace) -> dict[str, Any]:
    folder = Path(words.folder)
    make_synthetic(folder, words.synthetic, words.planes, words.model_layers)
    engine = Engine()
    devices.open_backend(engine)
    info = devices.device_info(engine, words.device)
    stack = LayerStack(engine, folder)
    layers = words.layers or stack.info.n_layers
    shape = words.batch, words.window + 1
    ids = np.random.default_rng(3).integers(0, stack.info.vocab_size, shape[0] * shape[1])
    if words.text:
        from tokenizers import Tokenizer

        text = Path(words.text).read_text(encoding="utf-8")
        ids = np.array(Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids)[: ids.size]
    tokens = np.ascontiguousarray(ids.reshape(shape)[:, :-1], np.int32)
    targets = np.ascontiguousarray(ids.reshape(shape)[:, 1:], np.int32)
    if words.learned:  # as of examples with short answers
        targets[:, : -words.learned] = -1
    out: dict[str, Any] = {
        "model": folder.name, "device": info.name, "driver": info.driver_version, "layers": layers,
        "batch": words.batch, "window": words.window, "directions": words.directions, "ways": {},
    }  # fmt: skip
    hidden = None
    for way, adapter in WAYS:
        trainer = AdapterKind(adapter, 8, ("q", "v")).trainer(stack, layers, words.window)
        if hidden is None:
            hidden = trainer.batch(tokens, targets)
        looks = words.directions + 1 if (way, adapter) == ("mezo", "gain") else 1
        found: dict[str, Any] = {}
        if not words.no_cpu:
            found["cpu"], loss_cpu, gradient_cpu = timed(
                look_of(trainer, hidden, way, adapter, words), words.cpu_repeat
            )
        tower = trainer.put_on_card(
            TowerParams(words.device, -1, tokens.size, looks, way == "exact", memory_limit=int(words.limit))
        )
        found["card"], loss, gradient = timed(look_of(trainer, hidden, way, adapter, words), words.repeat)
        memory = devices.device_memory(engine, words.device)
        found["on_card"] = f"{len(tower.blocks)} of {layers} layers, head {tower.head is not None}"
        found["card"]["tower_mb"] = tower.bytes / 1e6
        found["card"]["driver_counts_mb"] = (memory.total_bytes - memory.free_bytes) / 1e6
        found["loss"] = loss
        if not words.no_cpu:
            found["times_as_fast"] = found["cpu"]["s"] / found["card"]["s"]
            found["loss_off"] = float(np.abs(np.subtract(loss, loss_cpu)).max())
        if not words.no_cpu and gradient is not None:
            sizes = float(np.linalg.norm(gradient)), float(np.linalg.norm(gradient_cpu))
            found["gradient_off"] = float(np.linalg.norm(gradient - gradient_cpu)) / sizes[1]
            found["cosine"] = float(gradient @ gradient_cpu) / (sizes[0] * sizes[1])
        out["ways"][f"{way} {adapter}"] = found
        del trainer, tower
        gc.collect()
    return out


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("--synthetic", metavar="SHAPE", help="make the model first, in this shape")
    parser.add_argument("--planes", type=int, default=2)
    parser.add_argument("--model-layers", type=int, help="of a synthetic model")
    parser.add_argument("--text", help="its first tokens are learned")
    parser.add_argument("--layers", type=int, help="that learn (default: all)")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--learned", type=int, default=0, help="only so many tokens at each window's end")
    parser.add_argument("--directions", type=int, default=4, help="of a step of MeZO, one-sided")
    parser.add_argument("--device", type=int, default=0)
    parser.add_argument("--limit", type=float, default=0, help="bytes, as if the card had no more")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--cpu-repeat", type=int, default=3)
    parser.add_argument("--no-cpu", action="store_true")
    return parser.parse_args(words)


def main() -> None:
    print(json.dumps(measure(parse()), indent=1), flush=True)


if __name__ == "__main__":
    main()
