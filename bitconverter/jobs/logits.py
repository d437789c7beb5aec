"""The raw logits of given token ids, as a file: for debugging, and for comparing with other programs."""

import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitconverter.engine import Model, Session
from bitconverter.format.atomic import replacing
from bitconverter.format.errors import UserError
from bitconverter.jobs.device_word import PROCESSOR, Device
from bitconverter.jobs.job import Context, Progress
from bitconverter.jobs.opening import chunk_tokens, model_folder, open_engine
from bitconverter.jobs.placement import Placed, Sessions, choose_device


@dataclass(frozen=True)
class LogitsResult:
    """What was written: `shape` is (tokens, vocabulary); `argmax` the most probable next token per position. `placed`:
    on what the model ran."""

    out: str
    shape: tuple[int, int]
    argmax: tuple[int, ...]
    placed: Placed


@dataclass(frozen=True)
class LogitsJob:
    """Writes `out`, a NumPy .npy file of f32 [tokens, vocabulary]: row i predicts token i + 1.

    Needs no tokenizer. The file is whole or not there; a link to a file is followed. A .npy file that is there,
    or an empty one, is replaced; anything else (another file, a folder, a device) is refused.
    Emits Progress(unit="token").
    """

    model: str
    ids: tuple[int, ...]
    out: str
    threads: int = 0
    cpu: str = "auto"
    kv: str = "f32"
    device: Device = PROCESSOR

    @property
    def work_dir(self) -> Path | None:
        return None

    def run(self, ctx: Context) -> LogitsResult:
        if not self.ids:
            raise UserError("ids", "There are no token ids. Give some, like --ids 1,2,3.")
        self.device.check()
        target = _target(self.out)
        with model_folder(self.model, ctx) as folder:
            model = Model(open_engine(self.threads, self.cpu), folder)
            vocab = model.info.vocab_size
            wrong = [token for token in self.ids if not 0 <= token < vocab]
            if wrong:
                raise UserError(
                    "ids",
                    f"Token id {wrong[0]} is not in this model's vocabulary: ids go from 0 to {vocab - 1}.",
                    id=wrong[0], vocab=vocab,
                )  # fmt: skip
            most = model.info.max_positions
            if len(self.ids) > most:
                raise UserError(
                    "ids",
                    f"--ids holds {len(self.ids)} token ids, but this model has positions for {most} at most. "
                    "Give fewer.",
                    count=len(self.ids), most=most,
                )  # fmt: skip
            placed = choose_device(model, self.device, Sessions(len(self.ids), self.kv))
            session = Session(model, n_ctx=len(self.ids), kv=self.kv)
            return LogitsResult(
                str(Path(self.out)), (len(self.ids), vocab), self._write(session, target, vocab, ctx), placed
            )

    def _write(self, session: Session, target: Path, vocab: int, ctx: Context) -> tuple[int, ...]:
        best: list[int] = []
        try:
            with replacing(target) as file:
                header = {"descr": "<f4", "fortran_order": False, "shape": (len(self.ids), vocab)}
                np.lib.format.write_array_header_1_0(file, header)
                start = time.monotonic()
                step = chunk_tokens(vocab)
                for first in range(0, len(self.ids), step):
                    tokens = self.ids[first : first + step]
                    logits = session.forward(tokens, all_positions=True, cancel=ctx.cancel)
                    assert logits is not None
                    file.write(np.ascontiguousarray(logits, "<f4").data)
                    best += [int(token) for token in logits.argmax(axis=1)]
                    left = len(self.ids) - len(best)
                    eta = (time.monotonic() - start) / len(best) * left
                    ctx.emit(Progress(len(best), len(self.ids), "token", eta=eta))
        except OSError as error:
            raise _unwritable(self.out, error) from error
        return tuple(best)


def _target(out: str) -> Path:
    """The file to write: `out`, or what a link there leads to. Raises UserError when something else than a .npy file
    is there."""
    try:
        kind = os.stat(out).st_mode
    except FileNotFoundError:
        return Path(os.path.realpath(out))
    except OSError as error:
        raise _unwritable(out, error) from error
    if not stat.S_ISREG(kind):
        raise UserError(
            "out-kind",
            f"{out} is there and is not a regular file, so it is left alone. Choose another name for --out.",
            path=out,
        )
    try:
        with open(out, "rb") as file:
            begins = file.read(len(np.lib.format.MAGIC_PREFIX))
    except OSError as error:
        raise _unwritable(out, error) from error
    if begins not in (b"", np.lib.format.MAGIC_PREFIX):
        raise UserError(
            "out-kind",
            f"{out} is there and is no .npy file, so it is not replaced. Choose another name for --out.",
            path=out,
        )
    return Path(os.path.realpath(out))


def _unwritable(out: str, error: OSError) -> UserError:
    return UserError("out-unwritable", f"{out} cannot be written: {error.strerror or error}.", path=out)
