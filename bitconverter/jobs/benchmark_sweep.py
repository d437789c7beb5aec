"""The wider benchmark: threads, depth of context, sequences at once, against the memory's limit and a peer."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitconverter.engine import DeviceMemory, Model, OutOfMemoryError, Session
from bitconverter.format.errors import UserError
from bitconverter.jobs.benchmark import answer_hash, decode, peak_rss_bytes, prompt_ids
from bitconverter.jobs.benchmark import machine as this_machine
from bitconverter.jobs.benchmark_lengths import RowLengths, check_counts, check_text_tokens, row_lengths_in
from bitconverter.jobs.benchmark_together import decode_together
from bitconverter.jobs.device_word import PROCESSOR, Device
from bitconverter.jobs.job import Context, Progress
from bitconverter.jobs.opening import model_folder, open_engine
from bitconverter.jobs.peer import Peer
from bitconverter.jobs.placement import Placed, Sessions, choose_device, memory_of
from bitconverter.model.budget import BATCH

DEPTHS = (512, 2048, 8192)
SEQUENCES = (8, 32)
MOST_SEQUENCES = 4096  # in one forward pass of the engine (BC_MAX_BATCH)
LOADED = 16  # positions of a session that gives a first token


@dataclass(frozen=True)
class SweepRow:
    """One line. `unit` tok/s, GB/s, s, or none of a perplexity. share: of the bandwidth read in the same sitting, None
    where it says nothing. peer: the same of llama.cpp; ratio: the median of the rounds' ratios. `result`: a hash
    of the tokens and logits, so that a wrong answer cannot look fast."""

    what: str
    threads: int
    value: float
    unit: str
    share: float | None = None
    peer: float | None = None
    ratio: float | None = None
    result: str | None = None


@dataclass(frozen=True)
class SweepResult:
    """peak_rss_bytes: of this process before a text is gone through, whose logits count for nothing in a chat (its
    tokenizer is there by then, 14 MB of SmolLM2's); None where nothing else was done. rss_limit_bytes: 1.05 of the
    weight files, the largest session, 40 MB. placed: on what the model with the largest sessions ran; device_memory:
    of the card then, None on the processor."""

    model: str
    rows: tuple[SweepRow, ...]
    isa: str
    machine: str
    peer: str | None
    weight_bytes: int
    peak_rss_bytes: int | None
    rss_limit_bytes: int
    placed: Placed
    device_memory: DeviceMemory | None


@dataclass(frozen=True)
class SweepJob:
    """`rounds` times every row in turn, medians. With llama_bench (a program) and gguf (a file of the same
    shape) the peer's prefill and decode are measured in the same rounds. prompt_tokens: of the prefill; new_tokens:
    decoded in each row, by each text (behind a depth one of them is what comes before); None: the usual, or what
    fits. `sequences`: how many texts at once. text: a file along which a long context is looked at, up to the model's
    limit or `text_tokens` (0: no other limit). `whole` False: nothing but these two. On a graphics card the
    processor's threads and memory say nothing, so those rows are left out. Emits Progress(unit="run")."""

    model: str
    threads: int = 0
    cpu: str = "auto"
    rounds: int = 3
    kv: str = "f16"
    llama_bench: str | None = None
    gguf: str | None = None
    prompt_tokens: int | None = None
    new_tokens: int | None = None
    sequences: tuple[int, ...] = SEQUENCES
    text: str | None = None
    text_tokens: int = 0
    whole: bool = True
    device: Device = PROCESSOR

    @property
    def work_dir(self) -> Path | None:
        return None

    def run(self, ctx: Context) -> SweepResult:
        peer = self.check()
        with model_folder(self.model, ctx) as folder:
            return _Sweep(self, folder, ctx, peer).run()

    def check(self) -> Peer | None:
        """Raise UserError for settings that no model can be measured with; the peer, if one is asked for."""
        if (self.llama_bench is None) != (self.gguf is None):
            raise UserError(
                "benchmark-peer",
                "--llama-bench is the program that measures the model of --gguf, and one of the two is missing. "
                "Give both, or neither.",
            )
        self.device.check()
        check_counts(prompt_tokens=self.prompt_tokens, new_tokens=self.new_tokens, repeat=self.rounds)
        check_text_tokens(self.text_tokens)
        self._check_sequences()
        return None if self.llama_bench is None or self.gguf is None else Peer(self.llama_bench, self.gguf)

    def _check_sequences(self) -> None:
        along_a_text_only = self.text is not None and not self.whole
        wrong = [str(count) for count in self.sequences if not 1 <= count <= MOST_SEQUENCES]
        if wrong or not (self.sequences or along_a_text_only):
            raise UserError(
                "benchmark-sequences",
                f"Not so many texts can be decoded at once: {', '.join(wrong) or 'none'}. "
                f"Give numbers from 1 to {MOST_SEQUENCES}.",
                wrong=", ".join(wrong) or "0", most=MOST_SEQUENCES,
            )  # fmt: skip

    def lengths(self, room: int) -> RowLengths:
        """In a model of `room` positions. Raises UserError for what it has no room for."""
        return row_lengths_in(room, self.prompt_tokens, self.new_tokens, self.whole)


class _Sweep:
    def __init__(self, job: SweepJob, folder: Path, ctx: Context, peer: Peer | None) -> None:
        self.job, self.folder, self.ctx, self.peer = job, folder, ctx, peer
        engine = open_engine(job.threads, job.cpu)
        self.most, self.isa = engine.threads, engine.isa
        info = Model(engine, folder).info  # the model itself is let go
        self.room, self.vocab = info.max_positions, info.vocab_size
        self.lengths = job.lengths(self.room)
        self.behind = max(2, self.lengths.new)  # positions after a depth: a token, and those decoded
        self.session_bytes = 0
        self.done = 0
        self.placed = Placed()
        self.device_memory: DeviceMemory | None = None

    def run(self) -> SweepResult:
        rows: list[SweepRow] = []
        ids = self._ids(self.job.text) if self.job.text is not None else []
        if self.job.whole:
            rows += self._basic(self.most)
            if not self.placed.on_device and self.most > 1:
                rows = [*self._basic(1), *rows]
        if self.job.whole or self.job.sequences:
            rows += self._on_all_threads()
        if self.job.whole:
            rows += self._load()
        peak = peak_rss_bytes() if rows else None
        if ids:
            rows += self._along(ids)
        weights = sum(path.stat().st_size for path in self.folder.glob("*.safetensors"))
        return SweepResult(
            model=Path(self.job.model).name,
            rows=tuple(rows),
            isa=self.isa,
            machine=this_machine(),
            peer=self.peer.name if self.peer else None,
            weight_bytes=weights,
            peak_rss_bytes=peak,
            rss_limit_bytes=int(1.05 * weights) + self.session_bytes + 40 * 10**6,
            placed=self.placed,
            device_memory=self.device_memory,
        )

    def _on_all_threads(self) -> list[SweepRow]:
        """One model at a time: two mappings of a file would count twice in the process's memory."""
        job = self.job
        deepest = max((depth + self.behind for depth in self._depths_that_fit()), default=1)
        steps, most = self.lengths.together, max(job.sequences, default=1)
        sessions = Sessions(deepest, job.kv)
        if deepest < most * (steps + 1):  # many short ones take more memory than a long one
            n_ctx = self._context_together(steps, most)
            sessions = Sessions(n_ctx, job.kv, 0 if most <= BATCH else most, most)
        model = self._model(self.most, sessions)
        rows = [*self._depths(model), *self._together(model, steps)]
        self.device_memory = memory_of(model, self.placed)
        return rows

    def _model(self, threads: int, sessions: Sessions) -> Model:
        """Opened anew, with room on the card for such sessions."""
        model = Model(open_engine(threads, self.job.cpu), self.folder)
        self.placed = choose_device(model, self.job.device, sessions)
        return model

    def _step(self) -> None:
        self.ctx.cancel.check()
        self.done += 1
        self.ctx.emit(Progress(self.done, self.done + 1, "run"))

    def _session(self, model: Model, n_ctx: int, n_batch: int = 0) -> Session:
        session = Session(model, n_ctx=n_ctx, n_batch=n_batch, kv=self.job.kv)
        self.session_bytes = max(self.session_bytes, session.bytes)
        return session

    def _basic(self, threads: int) -> Iterator[SweepRow]:
        """Bandwidth, prefill and decode from an empty context, one after the other in every round."""
        job = self.job
        n, new = self.lengths.prompt, self.lengths.new
        model = self._model(threads, Sessions(max(n, new + 1), job.kv))
        session = self._session(model, max(n, new + 1))
        prompt = prompt_ids(n, model.info.vocab_size)
        read, prefill, decode, peers = [], [], [], []
        session.forward([0])
        for _ in range(job.rounds):
            self._step()
            if not self.placed.on_device:
                read.append(_reading_speed(model))
            session.rewind(0)
            start = time.perf_counter()
            session.forward(prompt, cancel=self.ctx.cancel)
            prefill.append(n / (time.perf_counter() - start))
            session.rewind(0)
            speed, answer = _decode(session, prompt[:1], new, self.ctx)
            decode.append(speed)
            if self.peer is not None:
                peers.append(self.peer.measure(threads, n, new, self.ctx.cancel))
        share = None
        if read:
            band = statistics.median(read)
            share = statistics.median(decode) * model.info.decode_bytes / 1e9 / band
            yield SweepRow("reading the weight files", threads, band, "GB/s")
        yield _paired(f"prefill {n}", threads, prefill, [p["prefill"] for p in peers], None, None)
        yield _paired(f"decode {new}", threads, decode, [p["decode"] for p in peers], share, answer)

    def _depths(self, model: Model) -> Iterator[SweepRow]:
        """Decoding after a long prompt. The context is filled once, by tokens that cost no logits."""
        for depth in self._depths_that_fit():
            model.engine.let_go()  # what the rows before have freed: this is the largest
            session = self._session(model, depth + self.behind)
            session.forward(
                prompt_ids(depth, model.info.vocab_size), want_logits=False, cancel=self.ctx.cancel
            )
            speeds = []
            for _ in range(self.job.rounds):
                self._step()
                session.rewind(depth)
                speed, answer = _decode(session, np.zeros(1, np.int32), self.behind - 1, self.ctx)
                speeds.append(speed)
            del session  # before the next one is opened: a card holds one of them
            yield SweepRow(f"decode at {depth}", self.most, statistics.median(speeds), "tok/s", result=answer)

    def _depths_that_fit(self) -> list[int]:
        """A model with fewer positions than the deepest one is also looked at where its own end."""
        if not self.job.whole:
            return []
        most = self.room - self.behind
        depths = [depth for depth in DEPTHS if depth <= most]
        if len(depths) < len(DEPTHS) and most > max(depths, default=1):  # at 1 it is the usual row
            depths.append(most)
        return depths

    def _context_together(self, steps: int, count: int) -> int:
        """Of one of `count` sessions: a batch is not larger than a context."""
        return min(max(steps + 1, count), self.room)

    def _together(self, model: Model, steps: int) -> Iterator[SweepRow]:
        for count in self.job.sequences:
            n_ctx = self._context_together(steps, count)
            sessions = self._sessions(model, n_ctx, count)
            self.session_bytes = max(self.session_bytes, sum(session.bytes for session in sessions))
            speeds, answer = decode_together(sessions, steps, self.job.rounds, self._step, self.ctx.cancel)
            sessions.clear()
            what = f"decode, {count} sequence{'s' if count > 1 else ''}"
            yield SweepRow(what, self.most, statistics.median(speeds), "tok/s", result=answer)

    def _sessions(self, model: Model, n_ctx: int, count: int) -> list[Session]:
        sessions: list[Session] = []
        try:
            while len(sessions) < count:
                sessions.append(self._session(model, n_ctx, count))
        except OutOfMemoryError as error:
            opened = len(sessions)
            raise UserError(
                "benchmark-memory",
                f"{count} texts at once need more memory than this computer has free: it was enough for {opened}. "
                "Give smaller numbers to --sessions, or --kv int8.",
                count=count, opened=opened,
            ) from error  # fmt: skip
        return sessions

    def _ids(self, text: str) -> list[int]:
        from bitconverter.jobs.benchmark_context import text_ids  # with the tokenizers

        most = min(self.room, self.job.text_tokens or self.room)
        return text_ids(self.folder, self.vocab, text, most, self.ctx)

    def _along(self, ids: list[int]) -> Iterator[SweepRow]:
        """A long context on a real text: perplexity by position, and decoding behind it."""
        from bitconverter.jobs.benchmark_context import bands_along, context_for

        job = self.job
        model = self._model(self.most, Sessions(context_for(ids, self.room), job.kv))
        for band in bands_along(model.engine, model, ids, job.kv, self._step, self.ctx):
            what = f"perplexity, positions {band.first} to {band.end - 1}"
            yield SweepRow(what, self.most, band.perplexity, "")
            if band.decode_tok_s is not None:
                yield SweepRow(f"decode at {band.end} of the text", self.most, band.decode_tok_s, "tok/s")

    def _load(self) -> Iterator[SweepRow]:
        """From nothing to an open model, and to its first token; the files are in the page cache."""
        loads, firsts = [], []
        n_ctx = min(LOADED, self.room)
        for _ in range(self.job.rounds):
            self._step()
            start = time.perf_counter()
            model = Model(open_engine(self.most, self.job.cpu), self.folder)
            choose_device(model, self.job.device, Sessions(n_ctx, self.job.kv))
            loads.append(time.perf_counter() - start)
            self._session(model, n_ctx).forward([0])
            firsts.append(time.perf_counter() - start)
            del model  # before the next one: a card holds one of them
        yield SweepRow("load", self.most, statistics.median(loads), "s")
        yield SweepRow("load and first token", self.most, statistics.median(firsts), "s")


def _reading_speed(model: Model) -> float:
    """GB/s of reading the mapped weight files in order, as decoding reads them."""
    model.read()  # maps the pages
    start = time.perf_counter()
    model.read()
    return model.info.mapped_bytes / (time.perf_counter() - start) / 1e9


def _decode(session: Session, start_ids: np.ndarray, new: int, ctx: Context) -> tuple[float, str]:
    """tok/s of `new` greedy tokens after start_ids, appended to the session; and the hash of the answer."""
    session.forward(start_ids, want_logits=False, cancel=ctx.cancel)
    start = time.perf_counter()
    tokens, logits = decode(session, new, ctx)
    seconds = time.perf_counter() - start
    return new / seconds, answer_hash(tokens, logits)


def _paired(
    what: str, threads: int, ours: list[float], theirs: list[float], share: float | None, answer: str | None
) -> SweepRow:
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True)) if theirs else None
    peer = statistics.median(theirs) if theirs else None
    return SweepRow(what, threads, statistics.median(ours), "tok/s", share, peer, ratio, answer)


def markdown(result: SweepResult) -> str:
    """The result as a table for a README."""
    lines = [
        f"| {result.model} | threads | ours | {result.peer or 'peer'} | ratio | share of reading | result |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result.rows:
        peer = "" if row.peer is None else f"{row.peer:.4g}"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}x"
        share = "" if row.share is None else f"{100 * row.share:.0f} %"
        value = f"{row.value:.4g} {row.unit}".strip()
        lines.append(
            f"| {row.what} | {row.threads} | {value} | {peer} | {ratio} | {share} | {row.result or ''} |"
        )
    mb = 1e6
    if result.peak_rss_bytes is not None:
        lines.append(
            f"| peak memory | {result.rows[-1].threads} | {result.peak_rss_bytes / mb:.0f} MB | | | "
            f"limit {result.rss_limit_bytes / mb:.0f} MB | files {result.weight_bytes / mb:.0f} MB |"
        )
    placed, memory = result.placed, result.device_memory
    if memory is not None:
        head = " and the head" if placed.head else ""
        lines.append(
            f"| memory of the card | | {memory.used_bytes / mb:.0f} MB, at most {memory.peak_bytes / mb:.0f} MB | | | "
            f"{memory.total_bytes / mb:.0f} MB in all | {placed.layers} of {placed.all_layers} layers{head} |"
        )
    where = f"{placed.device} ({placed.where}); " if placed.on_device else ""
    return "\n".join([*lines, "", f"{where}{result.isa}; {result.machine}"])
