"""What several jobs do first: an engine, a model folder that the engine can map, a table of tokens."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bitconverter.engine import Engine
from bitconverter.format.errors import UserError
from bitconverter.format.size_text import at_least, at_most
from bitconverter.jobs.job import Context, Note
from bitconverter.jobs.scratch import scratch_folder, temporary_folder
from bitconverter.model.hf_source import CONFIG, INDEX, SINGLE, config_missing, lost_link
from bitconverter.model.open_source import open_source

SPARE_BYTES = 64 * 1024 * 1024  # of the disk of temporary files, left to others
MOST_THREADS = 256  # of the engine (native/src/engine.c)


@contextmanager
def model_folder(path: str, ctx: Context) -> Iterator[Path]:
    """The folder to open for `path`: itself, or a .gguf file written out as a folder for the time being.

    The temporary folder lies where the system keeps such (TMPDIR) and needs two bytes per weight, or four where the
    weights are quantized (model/gguf_source.py, expanded_bytes).
    Emits Note("expanding", file=...) before that.
    """
    given = Path(path)
    if not given.exists():
        raise UserError(
            "model-missing", f"There is no {given}. Check the path of the model.", path=str(given)
        )
    if given.is_dir():
        what = lost_link(given / SINGLE)  # the download cache is full of links
        if what and not (given / INDEX).is_file():
            raise UserError("weights-missing", f"{what}. Download it into {given}.", file=SINGLE)
        if not (given / CONFIG).exists():
            raise config_missing(given)
        yield given
        return
    if given.suffix.lower() != ".gguf":
        raise UserError(
            "model-kind",
            f"{given} is neither a model folder nor a .gguf file. Give the folder that holds config.json.",
            path=str(given),
        )
    from bitconverter.model.gguf_source import expand  # the gguf library takes a while to load

    with scratch_folder() as parent:
        ctx.emit(Note("expanding", {"file": given.name}))
        folder = parent / given.stem
        expand(given, folder, ctx)
        yield folder


def check_unpacking(path: str) -> None:
    """Whether model_folder() has room for a .gguf file: rather none than a disk that is filled to its end.

    Raises UserError("unpacking").
    """
    if Path(path).is_dir():
        return
    from bitconverter.model.gguf_source import expanded_bytes  # the gguf library takes a while to load

    opened = open_source(path)
    place = str(temporary_folder())
    needed = expanded_bytes(opened.tensors.values(), opened.config) + SPARE_BYTES
    free = shutil.disk_usage(place).free
    if free < needed:
        raise UserError(
            "unpacking",
            f"The .gguf file has to be unpacked into {place} for a while, for which {at_least(needed)} have to be "
            f"free; {at_most(free)} are.",
            place=place, needed=needed, free=free, needed_size=at_least(needed), free_size=at_most(free),
        )  # fmt: skip


def chunk_tokens(vocab: int, most: int = 512) -> int:
    """How many positions' logits are held at a time: about 32 MiB of float32, at least 16 positions."""
    return max(16, min(most, (32 << 20) // (4 * vocab)))


def open_engine(threads: int, cpu: str) -> Engine:
    """An engine; the number of threads is checked here because it comes from people."""
    if not 0 <= threads <= MOST_THREADS:
        raise UserError(
            "threads",
            f"{threads} threads are not possible: give 1 to {MOST_THREADS}, or 0 for one per core.",
            threads=threads,
        )
    return Engine(threads=threads, cpu=cpu)
