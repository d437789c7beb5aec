"""What is measured before the rounding is there until it is done, whatever happens to the files meanwhile."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_folders import golden_copy

from bitconverter.engine import Cancel, Cancelled, Engine, check_config
from bitconverter.jobs import sensitivity_state
from bitconverter.jobs.job import Context
from bitconverter.jobs.layer_reader import LayerReader
from bitconverter.jobs.measured import Measured
from bitconverter.jobs.sensitivity import Sensitivity
from bitconverter.jobs.sensitivity_state import MeasuringState
from bitconverter.model.open_source import open_source
from bitconverter.model.output_curvature import HEADS, WIDE, OutputCurvature, output_moments

WINDOWS, WINDOW = 3, 40


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return golden_copy("llama3.1", tmp_path / "source")


def measured(source: Path, work: Path, seed: int = 5) -> tuple[Measured, list[float]]:
    work.mkdir(exist_ok=True)
    opened, engine = open_source(str(source)), Engine(threads=2)
    info = check_config((source / "config.json").read_bytes())
    ids = np.random.default_rng(4).integers(0, info.vocab_size, (WINDOWS, WINDOW), np.int32)
    ctx = Context(lambda _event: None, Cancel())
    reader, told = LayerReader(opened, info, engine, ctx.cancel), list[float]()
    return Measured(ctx, work, "a source", reader, engine, ids, seed, told.append), told


def equal(a: dict[str, OutputCurvature], b: dict[str, OutputCurvature]) -> bool:
    return a.keys() == b.keys() and all(
        a[key].mean == b[key].mean
        and all(np.array_equal(x, y) for x, y in zip(a[key].u, b[key].u, strict=True))
        for key in a
    )


def test_outputs_are_those_of_the_gradients_of_drawn_tokens(
    source: Path, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    """Beside one pass back over all windows at once."""
    found, _ = measured(source, tmp_path / "work")
    state = found._state()
    x, dy = state.input(1), state.gradient(2)
    assert x is not None and dy is not None
    block, _ = found._reader.block(1, WINDOW)
    gradients = block.gradients(("dy",), WINDOWS * WINDOW)
    block.backward(x, dy.copy(), gradients)
    below = state.gradient(1)
    curvatures = found.outputs(1, pool)
    assert set(curvatures) == {*HEADS, *WIDE}
    for key, curvature in curvatures.items():
        sums = output_moments(key, block.shapes[key][0], found._reader.info.head_dim)
        gradients.dy[key][::WINDOW] = 0
        sums.add(gradients.dy[key], pool)
        wanted = sums.curvature()
        assert curvature.edges == wanted.edges
        np.testing.assert_allclose(curvature.costs, wanted.costs, rtol=1e-4)
    after = state.gradient(1)
    assert below is not None and after is not None and np.array_equal(below, after)


def test_known_again_nothing_is_measured_twice(
    source: Path, tmp_path: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, told = measured(source, tmp_path / "work")
    outputs = first.outputs(0, pool)
    assert told[-1] == 1.0 and len(told) > 4
    monkeypatch.delattr(Sensitivity, "measure")
    again, told = measured(source, tmp_path / "work")
    assert again.costs == first.costs and told == [1.0]
    assert equal(again.outputs(0, pool), outputs)


@pytest.mark.parametrize("name", ["input-1.state", "gradient-2.state", "measured.json", "all"])
def test_what_is_damaged_before_a_layer_is_rounded_is_measured_again(
    name: str, source: Path, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    found, _ = measured(source, tmp_path / "work")
    wanted = [found.outputs(layer, pool) for layer in (0, 1)]
    folder = tmp_path / "work" / sensitivity_state.FOLDER
    if name == "all":
        sensitivity_state.remove(tmp_path / "work")
    else:
        path = folder / name
        path.write_bytes(path.read_bytes()[:-3] + b"000")
    assert equal(found.outputs(1, pool), wanted[1])
    assert equal(found.outputs(0, pool), wanted[0])


def test_without_the_file_of_costs_they_are_those_of_the_states(source: Path, tmp_path: Path) -> None:
    first, _ = measured(source, tmp_path / "work")
    (tmp_path / "work" / "sensitivity.json").write_text("{}", encoding="utf-8")
    again, told = measured(source, tmp_path / "work")
    assert again.costs == first.costs and len(told) < 5  # the numbers were in the folder still


def test_measured_again_and_stopped_it_goes_on_where_it_was(
    source: Path, tmp_path: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = measured(source, tmp_path / "work")
    wanted = found.outputs(0, pool)
    sensitivity_state.remove(tmp_path / "work")
    saved: list[str] = []
    save_input, save_gradient = MeasuringState.save_input, MeasuringState.save_gradient

    def stop_at_the_fourth(name: str, save: Any) -> Any:
        def counted(state: MeasuringState, layer: int, x: np.ndarray) -> None:
            if len(saved) == 4:
                raise Cancelled("stopped")
            save(state, layer, x)
            saved.append(f"{name} {layer}")

        return counted

    monkeypatch.setattr(MeasuringState, "save_input", stop_at_the_fourth("input", save_input))
    monkeypatch.setattr(MeasuringState, "save_gradient", stop_at_the_fourth("gradient", save_gradient))
    with pytest.raises(Cancelled):
        found.outputs(0, pool)
    first = saved.copy()
    saved.clear()
    again, _ = measured(source, tmp_path / "work")
    assert equal(again.outputs(0, pool), wanted)
    assert first == ["input 0", "input 1", "input 2", "gradient 2"] and saved == ["gradient 1", "gradient 0"]
