"""Does this installation work? Each part is tried for real, in a folder of its own with a difficult name.

The window's part of the self-test is gui/self_test.py, which runs this one first.
"""

import hashlib
import platform
import shutil
import sqlite3
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from bitconverter import __version__
from bitconverter.engine import (
    CPU_MASKS,
    Cancel,
    Engine,
    NoBackendError,
    UnsupportedError,
    devices,
    open_backend,
)
from bitconverter.jobs.chat import AnswerJob, LoadChatJob, Message, Sampling
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.device_word import Device
from bitconverter.jobs.errors import UserError
from bitconverter.jobs.job import Event, Failed, Finished, Token, run_job
from bitconverter.jobs.long_path import reachable
from bitconverter.jobs.needing import need
from bitconverter.jobs.self_test_model import SENTENCE, pieces, write_model

BROKEN_LIBRARY = "the device library "  # so begins what native/src/devices.c says of one that it cannot use
NOT_TAKEN = ("device-unsupported", "device-small")  # what a sound card may say of a model
PACKAGES = (
    "numpy",
    "cffi",
    "tokenizers",
    "gguf",
    "jinja2",
    "markdown-it-py",
    "Pygments",
    "psutil",
    "platformdirs",
    "pypdfium2",
    "python-docx",
    "charset-normalizer",
    "PySide6-Essentials",
    "wakepy",
    "pyqtgraph",
)  # all that pyproject.toml names


@dataclass(frozen=True)
class Installation:
    """What runs here."""

    program: str
    python: str
    system: str
    frozen: bool
    executable: str
    packages: dict[str, str]


def installation() -> dict[str, Any]:
    """Versions of all that the program is made with; a package without one is not whole."""
    packages = {name: version(name) for name in PACKAGES}
    packages["numpy"], packages["sqlite"] = np.__version__, sqlite3.sqlite_version
    frozen = bool(getattr(sys, "frozen", False))
    return asdict(
        Installation(
            __version__, platform.python_version(), platform.platform(), frozen, sys.executable, packages
        )
    )


def engine() -> dict[str, Any]:
    """The best instruction set, those below it, threads and memory."""
    sets = list[str]()
    for name in CPU_MASKS:
        try:
            sets.append(Engine(threads=1, cpu=name).isa)
        except UnsupportedError:
            continue
    best = Engine()
    return {
        "isa": best.isa, "instruction_sets": sets[1:], "threads": best.threads,
        "memory_bytes": psutil.virtual_memory().total,
    }  # fmt: skip


def graphics_cards() -> dict[str, Any]:
    """The names of those that can be used, or the sentence why there are none. The library for them must be there and
    load where it belongs to the program; a card or a driver need not."""
    try:
        found = devices(Engine(threads=1))
    except NoBackendError as error:
        need(not _has_backend(), str(error))
        return {"cards": [], "why": str(error)}
    except UnsupportedError as error:
        need(not str(error).startswith(BROKEN_LIBRARY), str(error))
        return {"cards": [], "why": str(error)}
    return {"cards": [card.name for card in found], "why": ""}


def _card_words() -> list[str]:
    """As --device takes them; why there are none is graphics_cards()' part."""
    try:
        return [f"cuda:{number}" for number in range(open_backend(Engine(threads=1)))]
    except UnsupportedError:
        return []


def _has_backend() -> bool:
    """Whether the library is made for a system as this one (native/CMakeLists.txt)."""
    return sys.platform in ("linux", "win32") and platform.machine().lower() in ("x86_64", "amd64")


def convert(folder: Path) -> dict[str, Any]:
    """Make a model and convert it, in `folder`; "model" of the result is the converted one."""
    source, out = folder / "モデル", folder / "converted モデル 3"
    write_model(source)
    result = _run(ConvertJob(str(source), str(out), planes=3))[0]
    return {"model": str(out), "file_bytes": result.file_bytes, "source_bytes": result.source_bytes}


def chat(model: str) -> dict[str, Any]:
    """The converted model must say its sentence, in whole characters, on every instruction set, and on every graphics
    card that takes it. "why": what the others say, which are too old, or full."""
    by_cpu, by_card, others = dict[str, Any](), dict[str, Any](), list[str]()
    for cpu in CPU_MASKS:
        try:
            Engine(threads=1, cpu=cpu)
        except UnsupportedError:
            continue
        by_cpu[cpu] = _says_its_sentence(LoadChatJob(model, cpu=cpu), cpu)
    for word in _card_words():
        try:
            by_card[word] = _says_its_sentence(LoadChatJob(model, device=Device(word)), word)
        except UserError as error:
            if error.code not in NOT_TAKEN:
                raise
            others.append(str(error))
    return {
        "text": SENTENCE, "pieces": len(pieces(SENTENCE)), "by_cpu": by_cpu, "by_card": by_card,
        "why": " ".join(others),
    }  # fmt: skip


def _says_its_sentence(load: LoadChatJob, what: str) -> dict[str, Any]:
    """`what` it runs on, for the error."""
    session, _ = _run(load)
    try:
        job = AnswerJob(session, (Message("user", "こんにちは"),), Sampling(temperature=0, max_tokens=64))
        answer, events = _run(job)
    finally:
        session.close()
    parts = [event.text for event in events if isinstance(event, Token)]
    need(answer.text == SENTENCE, f"with {what} the model said {answer.text!r} instead of {SENTENCE!r}")
    need("".join(parts) == SENTENCE and len(parts) > 10, f"with {what} the answer came in {parts}")
    need(answer.finish == "stop", f"with {what} the answer ended by {answer.finish}")
    return {"tokens": answer.tokens, "tokens_per_second": round(answer.tokens_per_second)}


def _run(job: Any) -> tuple[Any, list[Event]]:
    events = list[Event]()
    last = run_job(job, events.append, Cancel())
    if isinstance(last, Failed):
        raise last.error
    assert isinstance(last, Finished)
    return last.result, events


def database(folder: Path) -> dict[str, Any]:
    """SQLite with full-text search that finds parts of Japanese words."""
    store = sqlite3.connect(folder / "探す.sqlite")
    try:
        store.execute("CREATE VIRTUAL TABLE words USING fts5(text, tokenize='trigram')")
        store.execute("INSERT INTO words VALUES (?), (?)", (SENTENCE, "something else"))
        found = store.execute("SELECT text FROM words WHERE words MATCH ?", ("日本語",)).fetchall()
        store.commit()
    finally:
        store.close()
    need(found == [(SENTENCE,)], f"the search for 日本語 found {found}")
    return {"version": sqlite3.sqlite_version}


def files(folder: Path) -> dict[str, Any]:
    """A path of more than 320 characters, written, hashed and read back."""
    names = [("長い名前 " * 8).strip()] * 8
    deep = Path(reachable(str(folder.joinpath(*names))))  # as whatever the user names or chooses
    deep.mkdir(parents=True)
    data = bytes(range(256)) * 16
    path = deep / "ファイル.bin"
    path.write_bytes(data)
    need(path.read_bytes() == data, f"{path} was read back differently")
    shutil.rmtree(deep.parents[len(names) - 2])  # what clears the rest away knows it by its short name
    need(len(str(path)) > 320, f"{path} is not long")
    return {"longest_path": len(str(path)), "sha256": hashlib.sha256(data).hexdigest()}
