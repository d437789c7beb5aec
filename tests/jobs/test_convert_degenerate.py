"""Matrices that give a calibration nothing to go by: a note, a finite result, never a crash."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_folders import edit_tensors, golden_copy, tensor_bytes
from reference.model import read_tensors

from bitconverter.engine import Engine, Model, Session
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.errors import UserError
from bitconverter.jobs.job import Cancel, Event, Failed, Finished, Note, run_job

METHODS = ("fast", "diag", "full")
LAYER = "model.layers.1."


def source_with(folder: Path, **changes: Any) -> Path:
    """A golden model with tensors of layer 1 replaced: name=function of the old values."""
    golden_copy("llama3.1", folder)

    def edit(tensors: dict[str, np.ndarray]) -> None:
        for name, change in changes.items():
            full = (
                LAYER + name.replace("__", ".") + ".weight"
                if name != "embedding"
                else "model.embed_tokens.weight"
            )
            tensors[full] = change(tensors[full]).astype(tensors[full].dtype)

    edit_tensors(folder, edit)
    return folder


def convert(source: Path, out: Path, method: str, **more: Any) -> list[Note]:
    events: list[Event] = []
    job = ConvertJob(str(source), str(out), planes=2, method=method, threads=1, calibration_windows=2, **more)
    last = run_job(job, events.append, Cancel())
    assert isinstance(last, Finished), last
    tokens = np.load(source / "tokens.npy")
    logits = Session(Model(Engine(threads=1), out), n_ctx=len(tokens)).forward(tokens, all_positions=True)
    assert logits is not None and np.isfinite(logits).all()
    return [event for event in events if isinstance(event, Note)]


def zero(w: np.ndarray) -> np.ndarray:
    return np.zeros_like(w)


@pytest.mark.parametrize("method", METHODS)
def test_a_matrix_of_zeros_stays_one(method: str, tmp_path: Path) -> None:
    notes = convert(source_with(tmp_path / "m", self_attn__v_proj=zero), tmp_path / "out", method)
    assert [note.fields for note in notes if note.code == "ternary"] == [{"matrices": 1}]


def test_scales_beyond_f16_are_stored_without_a_word_of_warning(tmp_path: Path) -> None:
    source = source_with(tmp_path / "m", embedding=lambda w: w * np.float32(1e30))
    convert(source, tmp_path / "out", "fast")
    assert tensor_bytes(tmp_path / "out" / "model.safetensors")["model.embed_tokens.scales"][0] == "F32"


@pytest.mark.parametrize("method", ["diag", "full"])
def test_inputs_that_are_always_zero_are_told(method: str, tmp_path: Path) -> None:
    """A gate of zeros leaves nothing for down_proj to read."""
    notes = convert(source_with(tmp_path / "m", mlp__gate_proj=zero), tmp_path / "out", method)
    dead = [note.fields for note in notes if note.code == "dead-inputs"]
    assert [fields["matrix"] for fields in dead] == [LAYER + "mlp.down_proj"]


def test_one_input_that_is_always_zero_is_told_though_the_rotation_hides_it(tmp_path: Path) -> None:
    def dead_channel(w: np.ndarray) -> np.ndarray:
        w = w.copy()
        w[5] = 0
        return w

    notes = convert(source_with(tmp_path / "m", mlp__gate_proj=dead_channel), tmp_path / "out", "full")
    dead = [note.fields for note in notes if note.code == "dead-inputs"]
    assert dead == [{"matrix": LAYER + "mlp.down_proj", "inputs": 1}]


def test_a_matrix_of_zeros_does_not_keep_the_others_from_the_polish(tmp_path: Path) -> None:
    source = source_with(tmp_path / "m", self_attn__v_proj=zero)
    notes = convert(source, tmp_path / "out", "full", polish=4)
    codes = {note.code for note in notes}
    assert codes & {"polished", "polish-no-gain"} and "polish-left-out" not in codes
    stored = read_tensors(tmp_path / "out")
    assert not stored[LAYER + "self_attn.v_proj.scales"].any()


def test_a_polish_that_does_not_take_place_says_why(tmp_path: Path) -> None:
    ternary = source_with(tmp_path / "m", self_attn__v_proj=np.sign)
    for more in ({"polish": 4}, {}):  # asked for, and by default
        notes = convert(ternary, tmp_path / f"out {len(more)}", "full", **more)
        told = [note.fields for note in notes if note.code == "polish-left-out"]
        assert told == [{"matrices": 1}]
    for k, (method, more) in enumerate((("full", {"polish": 0}), ("diag", {}))):
        notes = convert(ternary, tmp_path / f"quiet {k}", method, **more)
        assert "polish-left-out" not in {note.code for note in notes}


@pytest.mark.parametrize("method", METHODS)
def test_inputs_that_are_all_the_same_are_no_trouble(method: str, tmp_path: Path) -> None:
    """One embedding for all tokens: every H has rank one in the first layer."""
    source = source_with(tmp_path / "m", embedding=lambda w: np.repeat(w[:1], len(w), axis=0))
    convert(source, tmp_path / "out", method)


@pytest.mark.parametrize("method", METHODS)
def test_one_huge_weight_and_rows_of_zeros(method: str, tmp_path: Path) -> None:
    def spoil(w: np.ndarray) -> np.ndarray:
        w = w.copy()
        w[0] = 0
        w[1] = 1e-30
        w[2, 3] = 3e4
        return w

    convert(
        source_with(tmp_path / "m", mlp__up_proj=spoil, self_attn__q_proj=spoil), tmp_path / "out", method
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_refused_by_name(method: str, value: float, tmp_path: Path) -> None:
    def spoil(w: np.ndarray) -> np.ndarray:
        w = w.copy()
        w[3, 1] = value
        return w

    source = source_with(tmp_path / "m", mlp__down_proj=spoil)
    job = ConvertJob(str(source), str(tmp_path / "out"), method=method, threads=1, calibration_windows=2)
    last = run_job(job, lambda _: None, Cancel())
    assert isinstance(last, Failed) and isinstance(last.error, UserError)
    assert last.error.code == "weight-not-finite"
    assert last.error.fields["tensor"] == LAYER + "mlp.down_proj.weight"


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = (x.astype(np.float64) - x.mean(dtype=np.float64) for x in (a, b))
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [1e-8, 1e6], ids=str)
def test_scales_that_f16_cannot_hold_are_kept_in_f32(method: str, factor: float, tmp_path: Path) -> None:
    """The same function, with a matrix's weights very small and the next one's very large, or the other way round."""
    source = source_with(
        tmp_path / "m",
        mlp__up_proj=lambda w: w.astype(np.float32) * np.float32(factor),
        mlp__down_proj=lambda w: w.astype(np.float32) / np.float32(factor),
    )
    job = ConvertJob(
        str(source),
        str(tmp_path / "out"),
        planes=4,
        method=method,
        threads=1,
        calibration_windows=2,
        polish=0,
    )
    assert isinstance(run_job(job, lambda _: None, Cancel()), Finished)
    tokens = np.load(source / "tokens.npy").astype(np.int32)
    sides = []
    for folder in (source, tmp_path / "out"):
        session = Session(Model(Engine(threads=1), folder), n_ctx=len(tokens), kv="f32")
        logits = session.forward(tokens, all_positions=True)
        assert logits is not None
        sides.append(logits)
    assert correlation(*sides) > 0.99


@pytest.mark.parametrize("wish", [{"planes": 2}, {"bits": 3.4}], ids=str)
@pytest.mark.parametrize("method", ["diag", "full"])
@pytest.mark.parametrize("value", [1e19, 6e36, 3e38], ids=str)
def test_a_weight_that_makes_sums_overflow_is_told_with_its_layer(
    value: float, method: str, wish: dict[str, Any], tmp_path: Path
) -> None:
    def flipped(w: np.ndarray) -> np.ndarray:
        w = w.astype(np.float32)
        w[3, 5] = value
        return w

    source = golden_copy("llama3.1", tmp_path / "m")

    def edit(tensors: dict[str, np.ndarray]) -> None:
        name = LAYER + "mlp.up_proj.weight"
        tensors[name] = flipped(tensors[name])

    edit_tensors(source, edit)
    job = ConvertJob(
        str(source), str(tmp_path / "out"), method=method, threads=1, calibration_windows=2, polish=0, **wish
    )
    last = run_job(job, lambda _: None, Cancel())
    assert isinstance(last, Failed), last
    assert isinstance(last.error, UserError) and last.error.code == "calibration-overflow"
    assert "Layer 1" in str(last.error)
