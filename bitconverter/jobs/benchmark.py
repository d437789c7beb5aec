"""How fast a model runs here: loading, prefill, decode, memory; with a hash that shows wrong answers."""

import hashlib
import os
import platform
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil

from bitconverter.engine import DeviceMemory, Model, Sampler, Session
from bitconverter.jobs.benchmark_lengths import check_counts, lengths_in
from bitconverter.jobs.device_word import PROCESSOR, Device
from bitconverter.jobs.job import Context, Progress
from bitconverter.jobs.opening import model_folder, open_engine
from bitconverter.jobs.placement import Placed, Sessions, choose_device, memory_of

GREEDY = Sampler(temperature=0)


@dataclass(frozen=True)
class BenchmarkResult:
    """Medians over the repeats. A "token per second" of prefill is one of the prompt's tokens.

    load_s: from nothing to a model that has answered one token, what is copied to a graphics card included.
    peak_rss_bytes: of this process, pages of the mapped model included. decode_gb_s: weight bytes read per second of
    decode / 1e9. logits_hash: of the last logits and of the tokens decoded; the same on every run of one build and
    ISA, and on a card of one kind. placed: on what it ran; device_memory: of the card, None on the processor.
    """

    prefill_tok_s: float
    decode_tok_s: float
    load_s: float
    peak_rss_bytes: int
    decode_gb_s: float
    prompt_tokens: int
    new_tokens: int
    repeats: int
    isa: str
    threads: int
    logits_hash: str
    machine: str
    placed: Placed
    device_memory: DeviceMemory | None


@dataclass(frozen=True)
class BenchmarkJob:
    """`kv` as in a session; lengths that are None are the usual ones, or what fits into a small model.

    Emits Progress(unit="run").
    """

    model: str
    prompt_tokens: int | None = None
    new_tokens: int | None = None
    threads: int = 0
    cpu: str = "auto"
    repeat: int = 3
    kv: str = "f16"
    device: Device = PROCESSOR

    @property
    def work_dir(self) -> Path | None:
        return None

    def run(self, ctx: Context) -> BenchmarkResult:
        self.check()
        with model_folder(self.model, ctx) as folder:
            return self._measure(folder, ctx)

    def check(self) -> None:
        self.device.check()
        check_counts(prompt_tokens=self.prompt_tokens, new_tokens=self.new_tokens, repeat=self.repeat)

    def lengths(self, room: int) -> tuple[int, int]:
        """Of the prompt and of the answer, in a model of `room` positions. Raises UserError for what it has no room
        for."""
        return lengths_in(room, self.prompt_tokens, self.new_tokens)

    def _measure(self, folder: Path, ctx: Context) -> BenchmarkResult:
        start = time.perf_counter()
        engine = open_engine(self.threads, self.cpu)
        model = Model(engine, folder)
        n_prompt, n_new = self.lengths(model.info.max_positions)
        placed = choose_device(model, self.device, Sessions(n_prompt + n_new, self.kv))
        session = Session(model, n_ctx=n_prompt + n_new, kv=self.kv)
        session.forward([0], cancel=ctx.cancel)  # touches every weight of a decode once
        load = time.perf_counter() - start
        prompt = prompt_ids(n_prompt, model.info.vocab_size)
        prefill, decode = [], []
        for number in range(self.repeat):
            ctx.emit(Progress(number, self.repeat, "run"))
            prefill_s, decode_s, answer_hash = self._once(session, prompt, n_new, ctx)
            prefill.append(n_prompt / prefill_s)
            decode.append(n_new / decode_s)
        ctx.emit(Progress(self.repeat, self.repeat, "run"))
        rate = statistics.median(decode)
        return BenchmarkResult(
            prefill_tok_s=statistics.median(prefill),
            decode_tok_s=rate,
            load_s=load,
            peak_rss_bytes=peak_rss_bytes(),
            decode_gb_s=rate * model.info.decode_bytes / 1e9,
            prompt_tokens=n_prompt,
            new_tokens=n_new,
            repeats=self.repeat,
            isa=engine.isa,
            threads=engine.threads,
            logits_hash=answer_hash,
            machine=machine(),
            placed=placed,
            device_memory=memory_of(model, placed),
        )

    def _once(
        self, session: Session, prompt: np.ndarray, n_new: int, ctx: Context
    ) -> tuple[float, float, str]:
        session.rewind(0)
        start = time.perf_counter()
        session.forward(prompt, want_logits=False, cancel=ctx.cancel)
        middle = time.perf_counter()
        tokens, logits = decode(session, n_new, ctx)
        end = time.perf_counter()
        return middle - start, end - middle, answer_hash(tokens, logits)


def decode(session: Session, count: int, ctx: Context) -> tuple[list[int], npt.NDArray[np.float32]]:
    """`count` greedy tokens appended to the session as a chat does it; and the logits behind the last."""
    tokens: list[int] = []
    logits = None
    for number in range(count):
        tokens.append(session.sample(GREEDY))
        last = number == count - 1
        logits = session.forward(tokens[-1:], want_logits=last, cancel=ctx.cancel)
    assert logits is not None
    return tokens, logits


def answer_hash(tokens: list[int], logits: np.ndarray) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of tokens and logits."""
    digest = hashlib.sha256(np.asarray(tokens, "<i4").tobytes())
    digest.update(np.ascontiguousarray(logits, "<f4").tobytes())
    return digest.hexdigest()[:16]


def prompt_ids(n: int, vocab: int) -> np.ndarray:
    """Token ids i32 [n] spread over the vocabulary, the same every time."""
    return (np.arange(n, dtype=np.int64) * 7919 % vocab).astype(np.int32)


def peak_rss_bytes() -> int:
    """The most physical memory this process has had, in bytes."""
    info = psutil.Process().memory_info()
    if sys.platform == "win32":
        return int(info.peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024


def machine() -> str:
    """The processor and system in one line, for people."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{name}, {os.cpu_count()} logical cores, {memory:.0f} GiB, {platform.system()} {platform.release()}"
    )
