"""What rounding costs is measured once: after any stop and any damage to what was kept, the same numbers."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from model_folders import golden_copy

from bitconverter.engine import Cancel, Cancelled, Engine, check_config
from bitconverter.jobs import sensitivity_state
from bitconverter.jobs.layer_reader import LayerReader
from bitconverter.jobs.sensitivity import MOST_WINDOWS, Sensitivity, windows_for
from bitconverter.jobs.sensitivity_state import MeasuringState
from bitconverter.model.open_source import open_source

WINDOWS, WINDOW = 3, 40


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return golden_copy("llama3.1", tmp_path / "source")


def measure(source: Path, work: Path, stop_after: int = -1) -> tuple[dict[str, float], list[float]]:
    """The sensitivities and what was told; cancelled when that many steps were told."""
    work.mkdir(exist_ok=True)
    told: list[float] = []
    cancel = Cancel()

    def tell(part: float) -> None:
        told.append(part)
        if len(told) == stop_after:
            cancel.request()

    opened = open_source(str(source))
    engine = Engine(threads=1)
    info = check_config((source / "config.json").read_bytes())
    ids = np.random.default_rng(4).integers(0, info.vocab_size, (WINDOWS, WINDOW), np.int32)
    state = MeasuringState(work, "one", (WINDOWS, WINDOW, info.hidden_size))
    with ThreadPoolExecutor(1) as pool:
        reader = LayerReader(opened, info, engine, cancel)
        try:
            return Sensitivity(reader, engine, 5, cancel, pool, state).measure(ids, tell), told
        except Cancelled:
            return {}, told


def test_a_stop_after_any_step_changes_nothing_and_costs_no_step_twice(source: Path, tmp_path: Path) -> None:
    whole, steps = measure(source, tmp_path / "whole")
    assert whole and len(steps) >= 5
    for stop in range(1, len(steps)):
        work = tmp_path / f"stopped {stop}"
        nothing, first = measure(source, work, stop)
        assert not nothing
        again, second = measure(source, work)
        assert again == whole, stop
        assert first + second == steps, stop


@pytest.mark.parametrize(
    "name", ["input-0.state", "input-1.state", "gradient-2.state", "gradient-1.state", "measured.json"]
)
def test_what_is_damaged_is_measured_again(name: str, source: Path, tmp_path: Path) -> None:
    whole, steps = measure(source, tmp_path / "whole")
    for stop in (2, len(steps) - 1):
        work = tmp_path / f"stopped {stop}"
        measure(source, work, stop)
        path = work / sensitivity_state.FOLDER / name
        if path.exists():
            path.write_bytes(path.read_bytes()[:-3] + b"000")
        again, _ = measure(source, work)
        assert again == whole, stop


def test_a_changed_digit_is_damage(source: Path, tmp_path: Path) -> None:
    whole, _ = measure(source, tmp_path / "whole")
    work = tmp_path / "work"
    measure(source, work, 3)
    path = work / sensitivity_state.FOLDER / sensitivity_state.NUMBERS
    text = path.read_text(encoding="utf-8")
    at = text.index("0.")
    path.write_text(text[: at + 2] + ("1" if text[at + 2] != "1" else "2") + text[at + 3 :], encoding="utf-8")
    again, _ = measure(source, work)
    assert again == whole


def test_a_file_in_the_place_of_the_folder_is_damage(source: Path, tmp_path: Path) -> None:
    whole, _ = measure(source, tmp_path / "whole")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / sensitivity_state.FOLDER).write_text("not a folder", encoding="utf-8")
    assert measure(source, tmp_path / "work")[0] == whole
    (tmp_path / "work" / "other").mkdir()
    (tmp_path / "work" / "other" / sensitivity_state.FOLDER).write_text("", encoding="utf-8")
    sensitivity_state.remove(tmp_path / "work" / "other")
    assert not (tmp_path / "work" / "other" / sensitivity_state.FOLDER).exists()


def test_another_text_begins_anew_and_removing_leaves_nothing(source: Path, tmp_path: Path) -> None:
    measure(source, tmp_path, 3)
    kept = MeasuringState(tmp_path, "one", (WINDOWS, WINDOW, 32))
    assert kept.spread
    assert kept.input(1) is not None
    other = MeasuringState(tmp_path, "two", (WINDOWS, WINDOW, 32))
    assert not other.spread
    assert other.input(1) is None
    sensitivity_state.remove(tmp_path)
    assert not (tmp_path / sensitivity_state.FOLDER).exists()


def test_the_windows_are_taken_from_all_over_the_text() -> None:
    ids = np.repeat(np.arange(40, dtype=np.int32)[:, None], 8, axis=1)
    taken = windows_for(2, 64, ids)[:, 0].tolist()
    assert len(taken) == MOST_WINDOWS
    assert taken == [40 * k // MOST_WINDOWS for k in range(MOST_WINDOWS)]
