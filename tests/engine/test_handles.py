"""Handles are closed when nobody has them, each before what it lives on, whatever Python lets go of first."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from bitconverter import engine
from bitconverter.engine import _handles, _native

ORDER = ["bc_session_close", "bc_model_close", "bc_engine_close"]


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the closing functions as they are called."""
    names: list[str] = []

    class Recorded:
        def __getattr__(self, name: str) -> object:
            found = getattr(_native.lib, name)
            if not name.endswith("_close"):
                return found
            return lambda handle: (names.append(name), found(handle))

    for module in ("engine", "model", "session"):
        monkeypatch.setattr(f"bitconverter.engine.{module}.lib", Recorded())
    gc.collect()
    return names


def opened(folder: Path) -> engine.Session:
    return engine.Session(engine.Model(engine.Engine(threads=1), folder), n_ctx=8)


def test_the_last_to_be_let_go_of_closes_all(tiny_model: Path, closed: list[str]) -> None:
    before = set(_handles._open)
    session = opened(tiny_model)
    assert closed == [] and len(set(_handles._open) - before) == 3
    del session
    assert closed == ORDER and set(_handles._open) == before


def test_the_order_is_kept_where_the_engine_is_let_go_of_first(tiny_model: Path, closed: list[str]) -> None:
    session = opened(tiny_model)
    model = session.model
    del model.engine.handle, model.handle
    assert closed == []
    del session, model
    assert closed == ORDER


def test_the_order_is_kept_in_a_cycle(tiny_model: Path, closed: list[str]) -> None:
    for _ in range(3):
        session = opened(tiny_model)
        for part in (session, session.model, session.model.engine):
            part.circle = session  # type: ignore[attr-defined]
        del session, part
    assert closed == []
    gc.collect()
    assert len(closed) == 9 and all(closed.count(name) == 3 for name in ORDER)
    for number in range(3):  # no model before its session, no engine before its model
        places = [[i for i, name in enumerate(closed) if name == wanted][number] for wanted in ORDER]
        assert places == sorted(places)


def test_a_model_outlives_one_of_its_sessions(tiny_model: Path, closed: list[str]) -> None:
    first = opened(tiny_model)
    second = engine.Session(first.model, n_ctx=8)
    del first
    assert closed == ["bc_session_close"]
    assert second.forward([1]) is not None
    del second
    assert closed == ["bc_session_close", *ORDER]


def test_a_program_may_end_with_everything_open(tiny_model: Path) -> None:
    """Workers still wait in the library's code then."""
    program = (
        "import sys; from pathlib import Path; from bitconverter.engine import Engine, Model, Session\n"
        "engine = Engine(threads=3); model = Model(engine, Path(sys.argv[1]))\n"
        "session = Session(model, n_ctx=8); session.forward([0]); print('ready')"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tiny_model)], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout.strip(), ended.stderr) == (0, "ready", "")
