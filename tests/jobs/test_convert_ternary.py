"""Models that are ternary already: recognised and kept exactly, as planes without a rotation."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_folders import edit_tensors, golden_copy, tensors_of
from reference.model import ReferenceModel, read_tensors, unpack_planes

from bitconverter.engine import Engine, Model, Session
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.errors import UserError
from bitconverter.jobs.inspect import InspectJob
from bitconverter.jobs.job import Cancel, Event, Failed, Finished, Note, run_job
from bitconverter.jobs.plan import PlanJob, PlanResult
from bitconverter.model.ternary import split

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def ternary(rows: int, cols: int, seed: int, scales: Any, dtype: Any = np.float32) -> np.ndarray:
    q = np.random.default_rng(seed).integers(-1, 2, size=(rows, cols))
    return (q * np.broadcast_to(np.asarray(scales, np.float32), (rows,))[:, None]).astype(dtype)


def ternary_model(folder: Path, kinds: tuple[str, ...] = LINEAR, dtype: Any = np.float32) -> Path:
    """A golden model whose matrices of `kinds` are -a, 0, a with one bf16 value a each, as BitNet's are."""
    golden_copy("llama3.1", folder)

    def edit(tensors: dict[str, np.ndarray]) -> None:
        for k, (name, w) in enumerate(sorted(tensors.items())):
            if w.ndim == 2 and any(f".{kind}.weight" in name for kind in kinds):
                scale = np.abs(w.astype(np.float32)).mean()
                scale = (np.float32(scale).view(np.uint32) & 0xFFFF0000).view(np.float32)
                tensors[name] = ternary(*w.shape, k, scale, dtype)

    edit_tensors(folder, edit)
    return folder


def card(folder: Path) -> str:
    return (folder / "MODEL_CARD.md").read_text(encoding="utf-8")


def convert(source: Path, out: Path, **more: Any) -> list[Event]:
    events: list[Event] = []
    last = run_job(ConvertJob(str(source), str(out), **{"threads": 1, **more}), events.append, Cancel())
    assert isinstance(last, Finished), last
    return events


def manifest_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "manifest.json").read_text(encoding="utf-8")))


def logits(folder: Path, tokens: np.ndarray) -> np.ndarray:
    session = Session(Model(Engine(threads=1), folder), n_ctx=len(tokens), kv="f32")
    got = session.forward(tokens, all_positions=True)
    assert got is not None
    return got


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("method", ["fast", "full"])
def test_a_ternary_model_is_kept_exactly(method: str, dtype: Any, tmp_path: Path) -> None:
    source = ternary_model(tmp_path / "m", dtype=dtype)
    events = convert(source, tmp_path / "out", method=method, planes=3)
    assert [e.fields for e in events if isinstance(e, Note) and e.code == "ternary"] == [{"matrices": 14}]
    before, after = tensors_of(source), read_tensors(tmp_path / "out")
    linear = [name for name in before if any(kind in name for kind in LINEAR)]
    assert len(linear) == 14
    for name in linear:
        stem = name.removesuffix(".weight")
        scales = after[stem + ".scales"].astype(np.float32)
        q = unpack_planes(after[stem + ".direct_planes"], len(scales))
        assert np.array_equal(q * scales[:, None], before[name].astype(np.float32))
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["totals"]["relative_squared_error"] == 0.0
    text = card(tmp_path / "out")
    assert "stored exactly" in text and "rotated (seed" not in text
    assert "The linear weights are those of the source." in text


def test_its_logits_are_the_dense_ones_but_for_the_rounded_inputs(tmp_path: Path) -> None:
    source = ternary_model(tmp_path / "m")
    convert(source, tmp_path / "out")
    tokens = np.load(source / "tokens.npy")
    dense, ours = logits(source, tokens), logits(tmp_path / "out", tokens)
    np.testing.assert_allclose(ours, ReferenceModel(tmp_path / "out").forward(tokens), rtol=0.02, atol=0.02)
    assert np.corrcoef(ours.ravel(), dense.ravel())[0, 1] > 0.995


@pytest.mark.parametrize("kinds", [("q_proj", "up_proj"), ("k_proj",), ("v_proj", "gate_proj", "down_proj")])
@pytest.mark.parametrize("method", ["fast", "full"])
def test_matrices_of_one_input_may_be_rotated_or_not(
    method: str, kinds: tuple[str, ...], tmp_path: Path
) -> None:
    source = ternary_model(tmp_path / "m", kinds)
    convert(source, tmp_path / "out", planes=4, method=method, calibration_windows=2)
    after = read_tensors(tmp_path / "out")
    direct = {name.split(".")[-2] for name in after if name.endswith(".direct_planes")}
    assert direct == set(kinds)
    text = card(tmp_path / "out")
    assert f"Of the 14 linear maps of the decoder layers {2 * len(kinds)} were ternary in the source" in text
    assert "from -40 to 40, written in 4 ternary digits" in text
    tokens = np.load(source / "tokens.npy")
    for count in (1, len(tokens)):  # one token and a batch take different paths
        ours = logits(tmp_path / "out", tokens[:count])
        reference = ReferenceModel(tmp_path / "out").forward(tokens[:count])
        # an input between two int8 steps may fall either way, which moves what comes later a little
        assert np.abs(ours - reference).mean() < 0.03  # logits have a spread of 2


@pytest.mark.parametrize("method", ["fast", "diag", "full"])
def test_the_bits_that_ternary_matrices_save_go_to_the_others(method: str, tmp_path: Path) -> None:
    kinds = ("q_proj", "up_proj", "gate_proj")
    for name, source in (
        ("plain", golden_copy("llama3.1", tmp_path / "m")), ("exact", ternary_model(tmp_path / "t", kinds)),
    ):  # fmt: skip
        convert(source, tmp_path / name, bits=4.0, method=method, calibration_windows=2)
    planes = {
        name: {
            key: entry["n_planes"]
            for key, entry in manifest_of(tmp_path / name)["tensors"].items() if entry.get("form") == "planes"
        }
        for name in ("plain", "exact")
    }  # fmt: skip
    exact = planes["exact"]
    assert len(exact) == 8
    assert sum(exact.values()) > sum(planes["plain"][key] for key in exact)
    assert manifest_of(tmp_path / "exact")["totals"]["bits_per_weight"] <= 4.0
    assert "ternary digits, as many as each map needs" in card(tmp_path / "plain")


def bitnet_model(folder: Path, kinds: tuple[str, ...] = LINEAR, **more: Any) -> Path:
    ternary_model(folder, kinds)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {"quantization_config": {"quant_method": "bitnet", **more}}
    path.write_text(json.dumps(config), encoding="utf-8")
    return folder


def refused(source: Path, out: Path) -> UserError:
    last = run_job(ConvertJob(str(source), str(out), threads=1), lambda _: None, Cancel())
    assert isinstance(last, Failed) and isinstance(last.error, UserError), last
    return last.error


@pytest.mark.parametrize("method", ["fast", "full"])
def test_a_bitnet_source_with_unpacked_weights_is_converted(method: str, tmp_path: Path) -> None:
    convert(bitnet_model(tmp_path / "m"), tmp_path / "out", method=method)
    convert(ternary_model(tmp_path / "plain"), tmp_path / "same", method=method)
    ours, same = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "same"))
    assert ours == same
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert config["quantization_config"]["quant_method"] == "ternary_planes"
    assert logits(tmp_path / "out", np.arange(4)).shape[0] == 4


def test_bitnet_weights_that_are_not_ternary_are_refused(tmp_path: Path) -> None:
    error = refused(bitnet_model(tmp_path / "m", ("q_proj",)), tmp_path / "out")
    assert error.code == "bitnet-not-ternary" and "_proj.weight" in error.fields["tensor"]
    assert not (tmp_path / "out").exists()


def test_packed_bitnet_weights_and_inner_norms_are_refused_with_the_reason(tmp_path: Path) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    source = bitnet_model(tmp_path / "m")
    edit_tensors(
        source, lambda t: t.__setitem__(name, np.zeros((t[name].shape[0] // 4, t[name].shape[1]), np.uint8))
    )
    error = refused(source, tmp_path / "out")
    assert error.code == "preflight" and "are packed" in str(error) and "U8" in str(error)
    error = refused(bitnet_model(tmp_path / "n", use_rms_norm=True), tmp_path / "out")
    assert error.code == "preflight" and "norms inside" in str(error)


def test_the_plan_knows_what_is_ternary_already(tmp_path: Path) -> None:
    def plan(source: Path) -> PlanResult:
        last = run_job(PlanJob(str(source), threads=1), lambda _: None, Cancel())
        assert isinstance(last, Finished), last
        assert isinstance(last.result, PlanResult)
        return last.result

    best = plan(ternary_model(tmp_path / "m")).choices[-1]
    result = run_job(
        ConvertJob(str(tmp_path / "m"), str(tmp_path / "out"), preset="best"), lambda _: None, Cancel()
    )
    assert isinstance(result, Finished), result
    assert best.bits == pytest.approx(
        result.result.bits_per_weight, rel=0.3
    )  # exact scales may be f16 or f32
    assert best.kl == best.kl_fast == 0.0
    some = plan(ternary_model(tmp_path / "some", ("up_proj",))).choices[-1]
    none = plan(golden_copy("llama3.1", tmp_path / "none")).choices[-1]
    assert best.bits < some.bits < none.bits and 0 < some.kl < none.kl


def test_the_result_is_inspected_and_counted(tmp_path: Path) -> None:
    convert(ternary_model(tmp_path / "m"), tmp_path / "out")
    last = run_job(InspectJob(str(tmp_path / "out"), True), lambda _: None, Cancel())
    assert isinstance(last, Finished), last
    assert {t.n_planes for t in last.result.tensors if ".mlp." in t.name} == {1}
    assert 1.6 < last.result.bits_per_weight < 3


def test_levels_of_rows_are_recognised_to_the_last_bit() -> None:
    scales = np.array([0.5, 0.0, 3e-6, 7.25, 1.1], np.float32)
    w = ternary(5, 40, 0, scales)
    found = split(w)
    assert found is not None
    assert np.array_equal(found[0] * found[1][:, None], w) and found[0].dtype == np.int8
    w[3, 7] = np.nextafter(np.float32(7.25), np.float32(8))
    assert split(w) is None
    bf16 = (ternary(4, 8, 1, 0.75).view(np.uint32) >> 16).astype(np.uint16)
    assert split(bf16) is not None
    assert split(np.random.default_rng(0).normal(size=(4, 8)).astype(np.float16)) is None
