"""InspectJob on converted, dense and GGUF models."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_folders import edit_config, shard
from running import error_of, finish

from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.errors import UserError
from bitconverter.jobs.inspect import InspectJob
from bitconverter.jobs.job import Cancel, Event, Failed, Finished, Progress, run_job


@pytest.fixture(scope="session")
def converted(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model at 2 planes, by the real converter."""
    out = tmp_path_factory.mktemp("inspect") / "tiny-2"
    last = run_job(ConvertJob(str(tiny_model), str(out), planes=2), lambda _: None, Cancel())
    assert isinstance(last, Finished), last
    return out


def test_a_converted_model_shows_forms_bits_and_hashes(converted: Path, tiny_model: Path) -> None:
    result = finish(InspectJob(str(converted)))
    assert result.kind == "converted"
    assert result.file_bytes == (converted / "model.safetensors").stat().st_size
    by_name = {tensor.name: tensor for tensor in result.tensors}
    up = by_name["model.layers.0.mlp.up_proj.weight"]
    rows, cols = up.shape
    assert (up.form, up.n_planes) == ("planes", 2)
    assert up.bytes == 2 * -(-rows // 5) * cols + 2 * rows
    assert 0 < (up.error or 0) < 0.1
    assert len(up.sha256) == 64
    assert by_name["model.embed_tokens.weight"].form == "int8"
    assert by_name["model.norm.weight"].form == "dense"
    matrices = [t for t in result.tensors if t.n_planes]
    weights = sum(t.shape[0] * t.shape[1] for t in matrices)
    assert result.bits_per_weight == pytest.approx(8 * sum(t.bytes for t in matrices) / weights)
    dense = finish(InspectJob(str(tiny_model)))
    assert dense.parameters == result.parameters
    assert len(dense.tensors) == len(result.tensors)


def test_verify_reads_everything_and_agrees(converted: Path) -> None:
    events: list[Event] = []
    result = finish(InspectJob(str(converted), verify=True), events)
    manifest = json.loads((converted / "manifest.json").read_text(encoding="utf-8"))
    assert result.verified == len(manifest["tensors"]) + len(manifest["files"])
    last = [event for event in events if isinstance(event, Progress)][-1]
    assert last.done == last.total


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_verify_names_what_was_changed(converted: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(converted, folder)
    data = bytearray((folder / name).read_bytes())
    data[-100 if name.endswith("safetensors") else 5] ^= 1
    (folder / name).write_bytes(data)
    error = error_of(InspectJob(str(folder), verify=True))
    assert error.code == "verify-failed"
    assert "model." in error.fields["item"] or error.fields["item"] == name


def test_a_dense_folder_has_its_own_bits(tiny_model: Path) -> None:
    result = finish(InspectJob(str(tiny_model)))
    assert result.kind == "safetensors"
    assert result.family == "llama"
    assert {t.form for t in result.tensors} == {"dense"}
    assert result.bits_per_weight in (16, 32)


def test_a_gguf_file_shows_its_types(smollm2_gguf: Path) -> None:
    result = finish(InspectJob(str(smollm2_gguf)))
    assert result.kind == "gguf"
    assert result.parameters == 134_515_008
    assert "Q4_1" in {t.form for t in result.tensors}
    assert 4.5 < result.bits_per_weight < 6


def test_what_is_not_a_model_is_refused_with_a_reason(tiny_model: Path, tmp_path: Path) -> None:
    assert error_of(InspectJob(str(tmp_path / "none"))).code == "model-missing"
    assert error_of(InspectJob(str(tmp_path))).code == "config-missing"
    assert error_of(InspectJob(str(tiny_model), verify=True)).code == "verify"


def damaged(converted: Path, folder: Path, manifest: str) -> Path:
    shutil.copytree(converted, folder, dirs_exist_ok=True)
    (folder / "manifest.json").write_text(manifest, encoding="utf-8")
    return folder


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize(
    "manifest",
    [
        "{", "[1]", "5", "{}", "null", "[" * 100_000,
        '{"tensors": 5, "files": {}}',
        '{"tensors": {"x": 5}, "files": {}}',
        '{"tensors": {}, "files": [1]}',
        '{"tensors": {}, "files": {"a": {"bytes": "1", "sha256": "x"}}}',
        '{"tensors": {}, "files": {"a": {"bytes": true, "sha256": "SHA"}}}',
        '{"tensors": {}, "files": {"../a": {"bytes": 1, "sha256": "SHA"}}}',
        '{"tensors": {}, "files": {"/etc/hostname": {"bytes": 1, "sha256": "SHA"}}}',
        '{"tensors": {}, "files": {}, "source": 5}',
        '{"tensors": {}, "files": {}, "tool": 5}',
        '{"tensors": {"x": {"sha256": "SHA", "relative_squared_error": 1ZEROS}}, "files": {}}',
    ],
)  # fmt: skip
def test_a_damaged_manifest_is_one_sentence(
    manifest: str, verify: bool, converted: Path, tmp_path: Path
) -> None:
    manifest = manifest.replace("SHA", "0" * 64).replace("ZEROS", "0" * 400)
    error = error_of(InspectJob(str(damaged(converted, tmp_path / "m", manifest)), verify))
    assert error.code == "manifest-damaged"
    assert "manifest.json" in str(error) and len(str(error)) < 500 and "\n" not in str(error)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.sampled_from(["tensors", "files", "source", "tool", "totals", "tensor", "file"]), value=json_values
)
def test_any_json_in_a_manifest_is_an_error_in_words_or_shown(
    key: str, value: object, converted: Path, tmp_path: Path
) -> None:
    manifest = json.loads((converted / "manifest.json").read_text(encoding="utf-8"))
    if key in ("tensor", "file"):
        entries = manifest[f"{key}s"]
        entries[sorted(entries)[0]] = value
    else:
        manifest[key] = value
    folder = damaged(converted, tmp_path / "m", json.dumps(manifest))
    for verify in (False, True):
        last = run_job(InspectJob(str(folder), verify), lambda _: None, Cancel())
        assert isinstance(last, Finished) or (
            isinstance(last, Failed) and isinstance(last.error, UserError)
        ), last


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_type": "gemma2", "architectures": ["Gemma2ForCausalLM"]}, "gemma2"),
        ({"model_type": "mixtral", "num_local_experts": 8}, "mixtral"),
        ({"rope_parameters": None, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "yarn"),
        ({"quantization_config": {"quant_method": "gptq"}}, "gptq"),
        ({"quantization_config": 5}, "already quantized"),
        ({"architectures": 5}, "architectures"),
        ({"model_type": ["x"]}, "model_type"),
    ],
)
def test_a_model_that_cannot_run_here_is_shown_with_the_reason(
    changes: dict[str, object], reason: str, tiny_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "m"
    shutil.copytree(tiny_model, folder)
    edit_config(folder, **changes)
    result = finish(InspectJob(str(folder)))
    assert result.kind == "safetensors" and result.tensors
    assert reason in result.unsupported
    assert finish(InspectJob(str(tiny_model))).unsupported == ""


def test_sizes_are_those_of_the_files_that_are_read(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(tiny_model, folder)
    whole = (folder / "model.safetensors").read_bytes()
    shard(folder, 2)
    (folder / "model.safetensors").write_bytes(whole)
    assert finish(InspectJob(str(folder))).file_bytes == len(whole)
    assert finish(InspectJob(str(folder / "config.json"))).file_bytes == len(whole)
    converted = tmp_path / "c"
    assert isinstance(
        run_job(ConvertJob(str(tiny_model), str(converted)), lambda _: None, Cancel()), Finished
    )
    (converted / "older.safetensors").write_bytes(b"no weights of this model")
    assert finish(InspectJob(str(converted))).file_bytes == (converted / "model.safetensors").stat().st_size
