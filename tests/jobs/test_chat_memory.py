"""The memory of a chat is looked at when its model is opened: with numbers, and a context that fits."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from model_folders import edit_config, golden_copy, read_config

from bitconverter.engine import Engine, Model, OutOfMemoryError, Session
from bitconverter.format.errors import UserError
from bitconverter.jobs import chat_memory
from bitconverter.jobs.chat import LoadChatJob
from bitconverter.jobs.job import Cancel, Event, Failed, Finished, Note, run_job
from bitconverter.model.budget import session_bytes

CONTEXT = 32768


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with a long context and a chat template."""
    folder = golden_copy("llama2", tmp_path_factory.mktemp("chat") / "長い文脈 model")
    edit_config(folder, max_position_embeddings=1 << 20)
    (folder / "chat_template.jinja").write_text("{{ messages[-1].content }}", encoding="utf-8")
    return folder


def load(folder: Path, n_ctx: int = CONTEXT) -> tuple[Event, list[Event]]:
    events: list[Event] = []
    last = run_job(LoadChatJob(str(folder), threads=1, n_ctx=n_ctx), events.append, Cancel())
    if isinstance(last, Finished):
        last.result.close()
    return last, events


def needed(folder: Path, n_ctx: int) -> int:
    return session_bytes(Model(Engine(threads=1), folder).info, n_ctx, "f16")


def test_too_large_a_context_is_refused_with_numbers_and_one_that_fits(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = (needed(folder, CONTEXT // 4) + needed(folder, CONTEXT // 2)) // 2
    monkeypatch.setattr(chat_memory, "free_memory", lambda: free)
    last, _ = load(folder)
    assert isinstance(last, Failed) and isinstance(last.error, UserError)
    fields = last.error.fields
    assert last.error.code == "memory-context" and fields["fits"] == CONTEXT // 4
    assert fields["needed"] == needed(folder, CONTEXT) and fields["free"] == free
    assert fields["needs"] in str(last.error) and fields["left"] in str(last.error)
    assert isinstance(load(folder, fields["fits"])[0], Finished)
    assert isinstance(load(folder, fields["fits"] * 2)[0], Failed)


def test_where_no_context_fits_none_is_offered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_memory, "free_memory", lambda: 1000)
    last, _ = load(folder)
    assert isinstance(last, Failed) and isinstance(last.error, UserError)
    assert last.error.fields["fits"] == 0 and "smaller context" not in str(last.error)


def test_weights_that_will_not_stay_in_memory_are_told_and_opened(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_memory, "free_memory", lambda: needed(folder, CONTEXT) + 1000)
    last, events = load(folder)
    assert isinstance(last, Finished)
    assert [event.code for event in events if isinstance(event, Note)].count("memory-tight") == 1
    monkeypatch.setattr(chat_memory, "free_memory", lambda: 1 << 40)
    assert not [event for event in load(folder)[1] if getattr(event, "code", "") == "memory-tight"]


def test_it_is_this_machines_memory_that_is_asked_for() -> None:
    assert 0 < chat_memory.free_memory() < 1 << 46


@pytest.mark.parametrize("positions", [100, 1 << 20])
def test_the_usual_context_is_the_engines(folder: Path, positions: int, tmp_path: Path) -> None:
    other = golden_copy("llama2", tmp_path / "m")
    edit_config(other, max_position_embeddings=positions)
    assert read_config(other)["max_position_embeddings"] == positions
    session = Session(Model(Engine(threads=1), other))
    assert session.n_ctx == min(positions, chat_memory.USUAL_CONTEXT)


# With so little address space, there is enough free memory, and the system does not give it.
LIMITED = """
import json, resource, sys
import psutil
from bitconverter.jobs.chat import LoadChatJob
from bitconverter.jobs.job import Cancel, run_job
limit = psutil.Process().memory_info().vms + (80 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
last = run_job(LoadChatJob(sys.argv[1], threads=1, n_ctx=int(sys.argv[2])), lambda event: None, Cancel())
error = getattr(last, "error", None)
print(json.dumps([type(last).__name__, getattr(error, "code", repr(error)), getattr(error, "fields", {})]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs RLIMIT_AS")
def test_memory_that_the_system_refuses_is_told_with_what_was_needed_and_free(folder: Path) -> None:
    context = 1 << 20
    assert 100 << 20 < needed(folder, context) < 2 << 30
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(folder), str(context)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    kind, code, fields = json.loads(done.stdout)
    assert (kind, code) == ("Failed", "memory-refused")
    assert fields["needed"] == needed(folder, context) and fields["free"] > 0
    assert 0 < fields["fits"] < context


def test_after_a_refusal_half_the_memory_or_less_is_offered(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **more: object) -> Session:
        raise OutOfMemoryError("no")

    monkeypatch.setattr(chat_memory, "Session", refuse)
    last, _ = load(folder)
    assert isinstance(last, Failed) and isinstance(last.error, UserError)
    fits = last.error.fields["fits"]
    assert last.error.code == "memory-refused"
    assert needed(folder, fits) <= needed(folder, CONTEXT) // 2 < needed(folder, 2 * fits)
