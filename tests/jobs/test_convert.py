"""The conversion end to end on tiny models: what it writes, and that no end of it leaves half a model."""

import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOLDEN
from model_folders import edit_tensors, golden_copy, hashes, shard, tensor_bytes, write_gguf
from reference.model import ReferenceModel, unpack_planes

from bitconverter import engine
from bitconverter.format import weight_file
from bitconverter.format.errors import UserError
from bitconverter.format.lock import FolderLock
from bitconverter.format.size_text import at_least
from bitconverter.jobs.check_conversion import CheckConversionJob
from bitconverter.jobs.convert import ConvertJob, ConvertResult
from bitconverter.jobs.convert_work import SPARE_BYTES
from bitconverter.jobs.job import Cancel, Event, Failed, Finished, Note, Progress, Stopped, run_job
from bitconverter.jobs.preflight import PreflightJob

FAMILIES = sorted(path.parent.name for path in GOLDEN.glob("*/logits.npy"))


def convert(source: Path, out: Path, planes: int = 3, **more: Any) -> tuple[ConvertResult, list[Event]]:
    events: list[Event] = []
    last = run_job(ConvertJob(str(source), str(out), planes, threads=1, **more), events.append, Cancel())
    assert isinstance(last, Finished), last
    return last.result, events


def failure(source: Path, out: Path, **more: Any) -> UserError:
    last = run_job(ConvertJob(str(source), str(out), threads=1, **more), lambda _: None, Cancel())
    assert isinstance(last, Failed)
    assert isinstance(last.error, UserError), last.error
    return last.error


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = golden_copy("llama3.1", tmp_path / "モデル 😀 src")
    (folder / "LICENSE").write_text("A licence.", encoding="utf-8")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n", encoding="utf-8")
    (folder / "generation_config.json").write_text('{"eos_token_id": 2}', encoding="utf-8")
    (folder / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_converts_and_runs(family: str, tmp_path: Path) -> None:
    source = golden_copy(family, tmp_path / "source")
    result, _ = convert(source, tmp_path / "out", planes=4)
    model = engine.Model(engine.Engine(threads=1), tmp_path / "out")
    assert model.info.ternary
    assert result.bits_per_weight == pytest.approx(8 * model.info.linear_bytes / model.info.linear_weights)
    tokens = np.load(source / "tokens.npy")
    logits = engine.Session(model, n_ctx=len(tokens), kv="f32").forward(tokens, all_positions=True)
    assert logits is not None
    golden = np.load(source / "logits.npy")
    assert np.corrcoef(logits.ravel(), golden.ravel())[0, 1] > 0.97  # four digits: close to the original


def test_the_folder_is_what_the_format_document_says(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "出力 🎉"
    result, events = convert(source, out, planes=3, seed=5)
    assert not Path(f"{out}.partial").exists()
    assert {path.name for path in out.iterdir()} == {
        "config.json", "model.safetensors", "manifest.json", "MODEL_CARD.md", "tokenizer.json", "LICENSE",
        "SOURCE_README.md", "generation_config.json", "chat_template.jinja",
    }  # fmt: skip
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    original = json.loads((source / "config.json").read_text(encoding="utf-8"))
    assert config.pop("quantization_config") == {
        "quant_method": "ternary_planes", "format_version": 1,
        "rotation": {"kind": "permute_sign_hadamard", "seed": 5},
    }  # fmt: skip
    assert config == original
    stored = tensor_bytes(out / "model.safetensors")
    assert stored["model.layers.1.mlp.down_proj.planes"] == ("U8", (3, 7, 56))
    assert stored["model.layers.1.mlp.down_proj.scales"] == ("F16", (32,))
    assert stored["model.embed_tokens.int8"] == ("I8", (101, 32))
    assert stored["model.norm.weight"] == ("F32", (32,))
    assert result.file_bytes == (out / "model.safetensors").stat().st_size
    notes = [event.code for event in events if isinstance(event, Note)]
    assert notes == ["verified"]
    progress = [event for event in events if isinstance(event, Progress)]
    assert progress[-1].done == progress[-1].total == result.source_bytes
    assert all(a.done <= b.done for a, b in itertools.pairwise(progress))


def test_the_manifest_tells_the_truth(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result, _ = convert(source, out)
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    for name, entry in manifest["files"].items():
        data = (out / name).read_bytes()
        assert entry == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert set(manifest["files"]) == {path.name for path in out.iterdir()} - {
        "manifest.json",
        "model.safetensors",
    }
    dense = ReferenceModel(source).tensors
    for name, digest in manifest["source"]["tensors"].items():
        assert digest == hashlib.sha256(dense[name].astype(np.float32).tobytes()).hexdigest()
    stored = manifest["tensors"]
    assert {name: (e["dtype"], tuple(e["shape"])) for name, e in stored.items()} == tensor_bytes(
        out / "model.safetensors"
    )
    q = stored["model.layers.0.self_attn.q_proj.planes"]
    assert (q["form"], q["n_planes"]) == ("planes", 3)
    assert 0.001 < q["relative_squared_error"] < 0.01
    assert manifest["totals"]["bits_per_weight"] == result.bits_per_weight
    card = (out / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "**mit**" in card and "`LICENSE`" in card and f"{result.bits_per_weight:.2f} bits" in card


@pytest.mark.parametrize("planes", [1, 2, 3, 4])
def test_the_weights_approximate_the_source_by_the_error_the_manifest_names(
    planes: int, source: Path, tmp_path: Path
) -> None:
    convert(source, tmp_path / "out", planes=planes)
    name = "model.layers.1.mlp.up_proj"
    tensors = ReferenceModel(source).tensors
    weights = tensors[f"{name}.weight"].astype(np.float32)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    with weight_reader(tmp_path / "out") as read:
        q = unpack_planes(read(f"{name}.planes"), weights.shape[0])
        fitted = q * read(f"{name}.scales").astype(np.float32)[:, None]
    rotated = engine.rotate(engine.Engine(threads=1), weights, seed=0)
    error = ((rotated - fitted) ** 2).sum() / (weights**2).sum()
    named = manifest["tensors"][f"{name}.planes"]["relative_squared_error"]
    assert error == pytest.approx(named, rel=1e-3)
    assert error < (0.35, 0.06, 0.01, 0.002)[planes - 1]


class weight_reader:  # noqa: N801 - reads like the function it stands for
    """Tensors of a converted folder, by the safetensors library."""

    def __init__(self, folder: Path) -> None:
        import safetensors

        self._file = safetensors.safe_open(folder / "model.safetensors", "np")

    def __enter__(self) -> Any:
        return self._file.__enter__().get_tensor

    def __exit__(self, *error: Any) -> None:
        self._file.__exit__(*error)


def test_threads_shards_and_runs_do_not_change_a_byte(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "one")
    events: list[Event] = []
    last = run_job(ConvertJob(str(source), str(tmp_path / "two"), threads=2), events.append, Cancel())
    assert isinstance(last, Finished)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
    shard(source, 3)
    convert(source, tmp_path / "three")
    assert hashes(tmp_path / "one") == hashes(tmp_path / "three")


def test_a_gguf_file_converts_to_the_same_weights_as_its_folder(source: Path, tmp_path: Path) -> None:
    write_gguf(source, tmp_path / "m.gguf")
    convert(source, tmp_path / "a")
    convert(tmp_path / "m.gguf", tmp_path / "b")
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (
        tmp_path / "b" / "model.safetensors"
    ).read_bytes()


# Kills the conversion just before its N-th call that makes something durable (all of them go through these three).
KILLER = """
import os, signal, sys
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.job import Cancel, run_job
source, out, last = sys.argv[1], sys.argv[2], int(sys.argv[3])
count = 0
def guard(name):
    real = getattr(os, name)
    def wrapper(*args, **more):
        global count
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1
        return real(*args, **more)
    setattr(os, name, wrapper)
for name in ("fsync", "replace", "rename", "unlink", "rmdir"):
    guard(name)
print(type(run_job(ConvertJob(source, out, threads=1), lambda e: None, Cancel())).__name__, count)
"""


def run_killer(source: Path, out: Path, last: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", KILLER, str(source), str(out), str(last)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_killed_at_any_moment_and_run_again_it_is_the_same_folder(source: Path, tmp_path: Path) -> None:
    done = run_killer(source, tmp_path / "whole", -1)
    assert done.returncode == 0, done.stderr
    word, count = done.stdout.split()
    assert word == "Finished"
    expected = hashes(tmp_path / "whole")
    steps = int(count)
    moments = sorted({*range(0, 5), *range(5, steps - 12, max(1, steps // 9)), *range(steps - 12, steps)})
    for moment in moments:
        out = tmp_path / f"killed {moment}"
        killed = run_killer(source, out, moment)
        assert killed.returncode == -signal.SIGKILL, (moment, killed)
        if not out.exists():  # nothing half-made looks whole
            assert Path(f"{out}.partial").is_dir() or moment == 0
        else:
            assert hashes(out) == expected
        again = run_job(ConvertJob(str(source), str(out), threads=1), lambda _: None, Cancel())
        if isinstance(again, Failed):  # killed after all was done, while the work folder was removed
            assert isinstance(again.error, UserError) and again.error.code == "output-exists"
            assert moment > steps - 5
        else:
            assert isinstance(again, Finished)
        assert hashes(out) == expected, moment
        assert not Path(f"{out}.partial").exists(), moment


def test_cancelled_and_continued_it_is_the_same_folder(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "whole")
    cancel = Cancel()

    def emit(event: Event) -> None:
        if isinstance(event, Progress) and event.done > event.total // 3:
            cancel.request()

    out = tmp_path / "out"
    assert isinstance(run_job(ConvertJob(str(source), str(out), threads=1), emit, cancel), Stopped)
    assert not out.exists()
    result, events = convert(source, out)
    assert result.resumed_tensors > 0
    assert Note("resumed", {"tensors": result.resumed_tensors}) in events
    assert hashes(out) == hashes(tmp_path / "whole")


def stop_early(source: Path, out: Path) -> None:
    cancel = Cancel()

    def emit(event: Event) -> None:
        if isinstance(event, Progress) and event.done > event.total // 2:
            cancel.request()

    assert isinstance(run_job(ConvertJob(str(source), str(out), threads=1), emit, cancel), Stopped)


def test_a_damaged_unfinished_weight_file_is_made_again(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    stop_early(source, out)
    path = Path(f"{out}.partial") / "model" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    path.write_bytes(data)
    convert(source, out)
    convert(source, tmp_path / "whole")
    assert hashes(out) == hashes(tmp_path / "whole")


@pytest.mark.parametrize("journal", [None, b"", b"\x00" * 100])
def test_a_lost_journal_is_said_and_nothing_is_trusted(
    journal: bytes | None, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    stop_early(source, out)
    path = tmp_path / "out.partial" / "journal.jsonl"
    path.unlink()
    if journal is not None:
        path.write_bytes(journal)
    error = failure(source, out)
    assert error.code == "journal-lost"
    assert "journal.jsonl" in str(error) and str(path.parent) in str(error)
    assert not out.exists()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_target_that_is_taken_meanwhile_is_left_alone_and_nothing_is_lost(
    kind: str, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def emit(event: Event) -> None:
        if isinstance(event, Note) and event.code == "verified":  # just before the rename
            if kind == "folder":
                out.mkdir()
            (out / "mine" if kind == "folder" else out).write_text("mine", encoding="utf-8")

    last = run_job(ConvertJob(str(source), str(out), method="fast"), emit, Cancel())
    assert isinstance(last, Failed) and isinstance(last.error, UserError) and last.error.code == "output-came"
    assert (out / "mine" if kind == "folder" else out).read_text(encoding="utf-8") == "mine"
    out.rename(tmp_path / "moved")
    last = run_job(ConvertJob(str(source), str(out), method="fast"), lambda _: None, Cancel())
    assert isinstance(last, Finished) and last.result.resumed_tensors > 0
    assert not (tmp_path / "out.partial").exists()


def test_temporary_files_of_a_killed_process_get_into_no_result(source: Path, tmp_path: Path) -> None:
    out, name = tmp_path / "out", ".0123456789abcdef.bitconverter-tmp"
    stop_early(source, out)
    for folder in (tmp_path / "out.partial", tmp_path / "out.partial" / "model"):
        (folder / name).write_bytes(b"half")
    convert(source, out)
    convert(source, tmp_path / "whole")
    assert hashes(out) == hashes(tmp_path / "whole")
    assert not (tmp_path / "out.partial").exists()


def test_a_work_folder_that_was_moved_goes_on(source: Path, tmp_path: Path) -> None:
    stop_early(source, tmp_path / "out")
    told = tmp_path / "out.partial" / "job.json"
    values = json.loads(told.read_text(encoding="utf-8"))
    told.write_text(json.dumps({**values, "out": "as an earlier version kept it"}), encoding="utf-8")
    (tmp_path / "out.partial").rename(tmp_path / "moved.partial")
    assert convert(source, tmp_path / "moved")[0].resumed_tensors > 0
    convert(source, tmp_path / "whole")
    assert hashes(tmp_path / "moved") == hashes(tmp_path / "whole")


def test_what_was_begun_under_a_relative_name_goes_on_there(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As versions kept it that did not make it absolute."""
    out = tmp_path / "out"
    stop_early(source, out)
    told = tmp_path / "out.partial" / "job.json"
    values = json.loads(told.read_text(encoding="utf-8"))
    monkeypatch.chdir(source.parent)
    told.write_text(json.dumps({**values, "source": source.name}), encoding="utf-8")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert failure(source, out).code == "work-folder-taken"
    monkeypatch.chdir(source.parent)
    assert convert(source / ".." / source.name, out)[0].resumed_tensors > 0


def test_other_settings_or_another_source_do_not_go_on_in_the_same_work_folder(
    source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    stop_early(source, out)
    error = failure(source, out, planes=2, calibration_windows=4)
    assert error.code == "work-folder-taken"
    assert "(there -> now: planes 3 -> 2, calibration-windows none -> 4)" in str(error)
    shutil.copytree(source, tmp_path / "copy")
    assert failure(tmp_path / "copy", out).fields["differ"] == f"source {source} -> {tmp_path / 'copy'}"
    told = tmp_path / "out.partial" / "job.json"
    kept = told.read_bytes()
    told.write_bytes(kept[:-5])
    assert failure(source, out).fields["differ"] == "job.json damaged -> ConvertJob"
    assert failure(source, out).code == "work-folder-damaged"
    values = json.loads(kept)
    told.write_text(json.dumps({**values, "surprise": 1}), encoding="utf-8")  # of a later version
    error = failure(source, out)
    assert (error.code, error.fields["differ"]) == ("work-folder-version", "surprise 1 -> -")
    del values["own_chat"]  # as before there was such a field: it is what it is by default
    told.write_text(json.dumps(values), encoding="utf-8")
    assert failure(source, out, own_chat=True).fields["differ"] == "own-chat False -> True"
    job = ConvertJob(str(source), str(out))
    last = run_job(PreflightJob(str(source), str(out), wanted=job), lambda _: None, Cancel())
    assert isinstance(last, Finished) and last.result.ok
    told.write_bytes(kept)
    for planes, ok in ((2, False), (3, True)):  # the checks before tell it too
        job = ConvertJob(str(source), str(out), planes=planes, threads=planes)
        for check in (PreflightJob(str(source), str(out), planes, wanted=job), CheckConversionJob(job)):
            last = run_job(check, lambda _: None, Cancel())
            assert isinstance(last, Finished) and last.result.ok is ok
            codes = {item.code for item in last.result.items}
            assert ("work-folder-taken" in codes, "unfinished" in codes) == (not ok, ok)
    edit_tensors(source, lambda tensors: tensors["model.norm.weight"].fill(2))
    assert failure(source, out).code == "source-changed"


def test_two_conversions_cannot_share_a_work_folder(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    stop_early(source, out)
    lock = FolderLock(Path(f"{out}.partial"))
    try:
        assert failure(source, out).code == "work-folder-busy"
        assert (
            failure(source, out, planes=2).code == "work-folder-busy"
        )  # nothing to be removed, as for others
    finally:
        lock.release()
    convert(source, out)


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_disk_that_fills_up_leaves_work_that_can_go_on(source: Path, tmp_path: Path) -> None:
    """A limit on the size of files makes the writes fail as a full disk does."""
    script = """
import resource, signal, sys
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.job import Cancel, run_job
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
last = run_job(ConvertJob(sys.argv[1], sys.argv[2], threads=1), lambda e: None, Cancel())
print(last.error.code, last.error)
"""
    out = tmp_path / "out"
    command = [sys.executable, "-c", script, str(source), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.stdout.startswith("disk-full The disk of"), done
    assert Path(f"{out}.partial").is_dir() and not out.exists()
    result, _ = convert(source, out)
    assert result.resumed_tensors > 0
    convert(source, tmp_path / "whole")
    assert hashes(out) == hashes(tmp_path / "whole")


def test_too_little_space_on_the_way_is_noticed_before_a_tensor_is_written(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    stop_early(source, out)
    before = (Path(f"{out}.partial") / "journal.jsonl").read_bytes()
    usage = weight_file.shutil.disk_usage(tmp_path)
    calls = []

    def less_and_less(path: Any) -> Any:
        calls.append(path)
        return usage if len(calls) == 1 else usage._replace(free=1000)  # enough when it begins

    monkeypatch.setattr("shutil.disk_usage", less_and_less)
    error = failure(source, out)
    assert error.code == "disk-full"
    assert error.fields["needed"] > SPARE_BYTES  # all that has to be free, not what lacks
    assert f"{at_least(error.fields['needed'])} are needed, 0.00 MB are free" in str(error)
    assert (Path(f"{out}.partial") / "journal.jsonl").read_bytes() == before


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "name", ["model.layers.1.mlp.up_proj.weight", "model.norm.weight", "model.embed_tokens.weight"]
)
def test_a_weight_that_is_not_a_number_names_its_tensor(
    value: float, name: str, source: Path, tmp_path: Path
) -> None:
    edit_tensors(source, lambda tensors: tensors[name].reshape(-1).__setitem__(7, value))
    error = failure(source, tmp_path / "out")
    assert error.code == "weight-not-finite"
    assert name in str(error)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["model.layers.1.mlp.up_proj.weight", "model.embed_tokens.weight"])
def test_finite_weights_that_are_too_large_name_their_tensor(name: str, source: Path, tmp_path: Path) -> None:
    """Rotated they are infinite; the result would be refused by everything that reads it."""
    edit_tensors(source, lambda tensors: tensors[name][3].__setitem__(slice(None), 3e38))
    error = failure(source, tmp_path / "out")
    assert (error.code, error.fields["tensor"]) == ("weight-too-large", name)
    assert not (tmp_path / "out").exists()


def test_scales_that_f16_cannot_hold_are_f32(source: Path, tmp_path: Path) -> None:
    def edit(tensors: dict[str, np.ndarray]) -> None:
        tensors["model.layers.0.mlp.up_proj.weight"][3] *= 1e-7
        tensors["model.layers.1.mlp.up_proj.weight"][3] *= 1e7
        tensors["model.layers.0.mlp.gate_proj.weight"][4] = 0

    edit_tensors(source, edit)
    convert(source, tmp_path / "out", planes=3)
    stored = tensor_bytes(tmp_path / "out" / "model.safetensors")
    assert stored["model.layers.0.mlp.up_proj.scales"][0] == "F32"
    assert stored["model.layers.1.mlp.up_proj.scales"][0] == "F32"
    assert stored["model.layers.0.mlp.gate_proj.scales"][0] == "F16"
    with weight_reader(tmp_path / "out") as read:
        assert (read("model.layers.0.mlp.up_proj.scales") > 0).all()


def test_tensors_that_are_not_needed_are_left_out_and_said(source: Path, tmp_path: Path) -> None:
    extra = "model.layers.0.self_attn.rotary_emb.inv_freq"
    edit_tensors(source, lambda tensors: tensors.update({extra: np.zeros(4, np.float32)}))
    _, events = convert(source, tmp_path / "out")
    assert Note("skipped-tensor", {"tensor": extra}) in events


def test_an_existing_result_is_never_touched(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    convert(source, out)
    before = hashes(out)
    assert failure(source, out).code == "output-exists"
    assert hashes(out) == before
    assert not Path(f"{out}.partial").exists()


def test_an_empty_folder_may_be_the_target(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    convert(source, tmp_path / "out")
    assert (tmp_path / "out" / "manifest.json").exists()


def test_a_folder_of_somebody_else_is_not_used_as_work_folder(source: Path, tmp_path: Path) -> None:
    mine = tmp_path / "out.partial" / "model" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine", encoding="utf-8")
    error = failure(source, tmp_path / "out")
    assert error.code == "journal-lost" and "If it is left from a conversion" in str(error)
    assert mine.read_text(encoding="utf-8") == "mine"
    assert {path.name for path in mine.parents[1].iterdir()} == {"model"}


@pytest.mark.parametrize(("more", "code"), [({"seed": -1}, "seed"), ({"seed": 2**53}, "seed")])
def test_a_seed_that_does_not_fit_is_refused(
    more: dict[str, int], code: str, source: Path, tmp_path: Path
) -> None:
    assert failure(source, tmp_path / "out", **more).code == code
    assert not (tmp_path / "out.partial").exists()


def test_a_source_without_a_tokenizer_is_converted_only_on_demand(tmp_path: Path) -> None:
    source = golden_copy("llama2", tmp_path / "source")
    (source / "tokenizer.json").unlink()
    error = failure(source, tmp_path / "out")
    assert error.code == "preflight" and "tokenizer.json is missing" in str(error)
    _, events = convert(source, tmp_path / "out", need_tokenizer=False)
    assert any(isinstance(e, Note) and e.fields.get("code") == "tokenizer" for e in events)
    session = engine.Session(engine.Model(engine.Engine(1), tmp_path / "out"))
    logits = session.forward([1, 2, 3])
    assert logits is not None and np.isfinite(logits).all()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse names that are not Unicode")
def test_names_that_are_no_unicode_are_no_obstacle(source: Path, tmp_path: Path) -> None:
    odd = source.rename(tmp_path / os.fsdecode(b"model-\xff"))
    out = tmp_path / os.fsdecode(b"out-\xfe")
    stop_early(odd, out)
    result, _ = convert(odd, out)
    assert result.resumed_tensors > 0
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["source"]["name"] == odd.name
    assert "model-?" in (out / "MODEL_CARD.md").read_text(encoding="utf-8")
