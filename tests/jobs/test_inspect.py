"""InspectJob on converted, dense and GGUF models."""

import json
import shutil
from pathlib import Path

import pytest

from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.errors import UserError
from bitconverter.jobs.inspect import InspectJob, InspectResult
from bitconverter.jobs.job import Cancel, Event, Failed, Finished, Progress, run_job


@pytest.fixture(scope="session")
def converted(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model at 2 planes, by the real converter."""
    out = tmp_path_factory.mktemp("inspect") / "tiny-2"
    last = run_job(ConvertJob(str(tiny_model), str(out), planes=2), lambda _: None, Cancel())
    assert isinstance(last, Finished), last
    return out


def result_of(job: InspectJob, events: list[Event] | None = None) -> InspectResult:
    last = run_job(job, (events if events is not None else []).append, Cancel())
    assert isinstance(last, Finished), last
    return last.result


def error_of(job: InspectJob) -> UserError:
    last = run_job(job, lambda _: None, Cancel())
    assert isinstance(last, Failed), last
    assert isinstance(last.error, UserError), last.error
    return last.error


def test_a_converted_model_shows_forms_bits_and_hashes(converted: Path, tiny_model: Path) -> None:
    result = result_of(InspectJob(str(converted)))
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
    dense = result_of(InspectJob(str(tiny_model)))
    assert dense.parameters == result.parameters
    assert len(dense.tensors) == len(result.tensors)


def test_verify_reads_everything_and_agrees(converted: Path) -> None:
    events: list[Event] = []
    result = result_of(InspectJob(str(converted), verify=True), events)
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
    result = result_of(InspectJob(str(tiny_model)))
    assert result.kind == "safetensors"
    assert result.family == "llama"
    assert {t.form for t in result.tensors} == {"dense"}
    assert result.bits_per_weight in (16, 32)


def test_a_gguf_file_shows_its_types(smollm2_gguf: Path) -> None:
    result = result_of(InspectJob(str(smollm2_gguf)))
    assert result.kind == "gguf"
    assert result.parameters == 134_515_008
    assert "Q4_1" in {t.form for t in result.tensors}
    assert 4.5 < result.bits_per_weight < 6


def test_what_is_not_a_model_is_refused_with_a_reason(tiny_model: Path, tmp_path: Path) -> None:
    assert error_of(InspectJob(str(tmp_path / "none"))).code == "model-missing"
    assert error_of(InspectJob(str(tmp_path))).code == "config-missing"
    assert error_of(InspectJob(str(tiny_model), verify=True)).code == "verify"
