"""Gains on an opened model: those of the file whose scales are multiplied, and gone without a trace."""

from pathlib import Path

import numpy as np
import pytest
from golden_blocks import GOLDEN
from reference.converted import write_converted
from safetensors.numpy import load_file, save_file

from bitconverter.engine import Engine, InvalidError, Model, Session

TOKENS = [5, 17, 3, 60, 9]


def logits(model: Model) -> np.ndarray:
    result = Session(model, n_ctx=8).forward(TOKENS, all_positions=True)
    assert result is not None
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gains") / "model"
    write_converted(GOLDEN / "smollm2", folder, 2, seed=3)
    return folder


@pytest.mark.parametrize("matrix, name", [("k", "self_attn.k"), ("o", "self_attn.o"), ("down", "mlp.down")])
def test_a_gain_is_a_factor_of_the_scales(folder: Path, matrix: str, name: str, tmp_path: Path) -> None:
    model = Model(Engine(2), folder)
    before = logits(model)
    gain = np.exp(np.random.default_rng(1).normal(0, 0.5, model.rows(matrix))).astype(np.float32)
    model.set_gain(1, matrix, gain[::-1].copy())
    model.set_gain(1, matrix, gain)  # in place of the other, not on top of it
    tensors = load_file(folder / "model.safetensors")
    key = f"model.layers.1.{name}_proj.scales"
    tensors[key] = tensors[key].astype(np.float32) * gain
    merged = tmp_path / "merged"
    merged.mkdir()
    (merged / "config.json").write_bytes((folder / "config.json").read_bytes())
    save_file(tensors, merged / "model.safetensors")
    np.testing.assert_array_equal(logits(model), logits(Model(Engine(1), merged)))
    assert np.abs(logits(model) - before).max() > 1e-3
    model.set_gain(1, matrix, None)
    np.testing.assert_array_equal(logits(model), before)
    model.set_gain(1, matrix, None)
    np.testing.assert_array_equal(logits(model), before)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_gains_that_make_no_sense_change_nothing(folder: Path, bad: float) -> None:
    model = Model(Engine(1), folder)
    before = logits(model)
    gain = np.ones(model.rows("up"), np.float32)
    gain[7] = bad
    with pytest.raises(InvalidError, match="gain 7"):
        model.set_gain(0, "up", gain)
    np.testing.assert_array_equal(logits(model), before)


def test_places_that_are_not_there_are_refused(folder: Path) -> None:
    model = Model(Engine(1), folder)
    ones = np.ones(model.rows("q"), np.float32)
    for layer, matrix, gain in ((2, "q", ones), (-1, "q", ones), (0, "x", ones), (0, "q", ones[1:])):
        with pytest.raises(InvalidError):
            model.set_gain(layer, matrix, gain)
    with pytest.raises(InvalidError, match="not planes"):
        Model(Engine(1), GOLDEN / "smollm2").set_gain(0, "q", ones)
