"""The demo's model is unpacked once, also when several processes want it at the same time."""

from pathlib import Path
from typing import Any

import demo_model
import pytest


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty .demo, and a package of a few bytes."""
    gguf = tmp_path / "x.gguf"
    gguf.write_bytes(b"GGUF")
    monkeypatch.setattr(demo_model, "packaged_gguf", lambda: gguf)
    monkeypatch.setattr(demo_model, "FOLDER", tmp_path / "demo")
    return tmp_path / "demo"


def write(into: Path, text: str) -> None:
    into.mkdir(parents=True)
    (into / "config.json").write_text(text, encoding="utf-8")


def test_a_partial_folder_that_another_process_moves_away_is_no_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "partial-other").mkdir(parents=True)
    monkeypatch.setattr(demo_model.gguf_source, "expand", lambda _, into, ctx: write(into, "mine"))
    glob = Path.glob

    def glob_while_it_moves(self: Path, pattern: str) -> list[Path]:
        found = list(glob(self, pattern))
        for path in found:
            path.rename(folder / "moved")
        return found

    monkeypatch.setattr(Path, "glob", glob_while_it_moves)
    assert (demo_model.unpacked_folder() / "config.json").read_text(encoding="utf-8") == "mine"


def test_who_comes_second_uses_what_the_first_has_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []

    def expand(gguf: Path, into: Path, ctx: Any) -> None:
        calls.append(into)
        if len(calls) == 1:  # meanwhile another process does all of it
            demo_model.unpacked_folder()
            write(into, "late")
        else:
            write(into, "first")

    monkeypatch.setattr(demo_model.gguf_source, "expand", expand)
    made = demo_model.unpacked_folder()
    assert (made / "config.json").read_text(encoding="utf-8") == "first"
    assert len({path.parent for path in calls}) == 2
    assert [path.name for path in folder.iterdir()] == [made.parent.name]
