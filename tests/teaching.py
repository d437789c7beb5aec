"""What tests of the train page do with it."""

import json
from pathlib import Path

import pytest
from PySide6.QtCore import Qt

from bitconverter.gui.main_window import MainWindow
from bitconverter.gui.train_page import State, TrainPage

LONG = 120_000  # milliseconds; a bound for a broken program, not a promise


def rows(count: int = 24) -> str:
    return "\n".join(
        json.dumps({"prompt": f"the number {k}", "answer": "odd." if k % 2 else "even."})
        for k in range(count)
    )


def write(tmp_path: Path, text: str, name: str = "教材.jsonl") -> str:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return str(tmp_path / name)


def read(page: TrainPage, qtbot, *paths: str) -> None:
    page.add_material(list(paths))
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)


def choose_steps(page: TrainPage, steps: int) -> None:
    page.strengths.cards["custom"].click()
    page.steps.setValue(steps)
    page.layers.setValue(1)
    page.rate.setValue(0.03)


def start(page: TrainPage, qtbot, tmp_path: Path, steps: int) -> None:
    read(page, qtbot, write(tmp_path, rows()))
    choose_steps(page, steps)
    qtbot.mouseClick(page.train_button, Qt.MouseButton.LeftButton)
    assert page.state is State.WORKING


def until_steps(page: TrainPage, qtbot, count: int) -> None:
    qtbot.waitUntil(lambda: len(page.card.plot.losses) >= count, timeout=LONG)


def train_page(
    window: MainWindow, converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> TrainPage:
    """The page with its model chosen; souls go into a folder of the test. Nothing is estimated."""
    monkeypatch.setattr(TrainPage, "ESTIMATES", False)
    (tmp_path / "souls").mkdir()
    window.shell.settings["output_folder"] = str(tmp_path / "souls")
    window.show_page("train")
    window.train.choose_model(str(converted))
    return window.train
