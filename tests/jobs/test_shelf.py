"""What lies in folders of models, also when it is damaged."""

import json
import shutil
from pathlib import Path

import pytest

from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.hardware import HardwareJob, bits_that_fit, fit, sample_model
from bitconverter.jobs.job import Cancel, Context, Finished, Progress, run_job
from bitconverter.jobs.shelf import CONVERTED, GGUF, ORIGINAL, UNFINISHED, ScanJob, entry_of


def _scan(*folders: Path) -> dict[str, object]:
    result = ScanJob(folders=tuple(str(folder) for folder in folders)).run(Context(lambda _: None, Cancel()))
    return {entry.path: entry for entry in result}


def _convert(source: Path, out: Path) -> None:
    last = run_job(ConvertJob(source=str(source), out=str(out), planes=2), lambda _: None, Cancel())
    assert isinstance(last, Finished), last


def test_originals_conversions_and_files_are_found_and_told_apart(tiny_model, tmp_path):
    place = tmp_path / "モデル"
    source = Path(shutil.copytree(tiny_model, place / "deep" / "down" / "original"))
    _convert(source, place / "small")
    (place / "other.GGUF").write_bytes(b"GGUF")
    (place / "notes").mkdir()
    (place / "notes" / "config.json").write_text("{}", encoding="utf-8")  # of something else
    found = _scan(place, place / "small")
    assert {e.name: e.kind for e in found.values()} == {
        "original": ORIGINAL, "small": CONVERTED, "other": GGUF,
    }  # fmt: skip
    small, original = found[str(place / "small")], found[str(source)]
    manifest = json.loads((place / "small" / "manifest.json").read_text(encoding="utf-8"))
    assert small.source == "original" and 0 < small.source_bytes <= original.bytes
    assert small.bits == pytest.approx(manifest["totals"]["bits_per_weight"])
    assert original.parameters == manifest["totals"]["parameters"] and small.perplexity is None


def test_an_unfinished_conversion_says_how_far_it_is(tiny_model, tmp_path):
    source, cancel = Path(shutil.copytree(tiny_model, tmp_path / "m")), Cancel()

    def stop(event):
        if isinstance(event, Progress) and event.done > event.total // 2:
            cancel.request()

    run_job(ConvertJob(source=str(source), out=str(tmp_path / "out")), stop, cancel)
    entry = _scan(tmp_path)[str(tmp_path / "out.partial")]
    assert entry.kind == UNFINISHED and entry.source == str(source) and entry.name == "out"
    assert 0 < entry.share < 1


@pytest.mark.parametrize("where", [0.05, 0.5, 0.9])
def test_what_was_stopped_is_as_far_as_it_said(tiny_model, tmp_path, where):
    """Also while it measures or polishes, when no matrix is committed or all are."""
    source, cancel, told = Path(shutil.copytree(tiny_model, tmp_path / "m")), Cancel(), []

    def stop(event):
        if isinstance(event, Progress):
            told.append(event.done / event.total)
            if event.done >= where * event.total:
                cancel.request()

    job = ConvertJob(
        str(source), str(tmp_path / "out"), method="full", calibration_windows=2, polish=20, bits=2.5
    )
    run_job(job, stop, cancel)
    assert where <= told[-1] < 1
    assert entry_of(job.work_dir).share == pytest.approx(told[-1])
    for content in ("", '{"share": 0.', "[]", '{"share": true}', '{"share": 7}', '{"share": NaN}'):
        (job.work_dir / "share.json").write_text(content, encoding="utf-8")
        assert 0 <= entry_of(job.work_dir).share <= 1
    run_job(job, lambda _: None, Cancel())
    assert not job.work_dir.exists() and (tmp_path / "out").is_dir()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"quantization_config": 1}']
)
def test_what_cannot_be_read_is_on_the_shelf_as_damaged_or_bare(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    (tmp_path / "model.safetensors").write_bytes(b"short")
    entry = entry_of(tmp_path)
    assert entry.damaged and entry.there and entry.path == str(tmp_path)


def test_files_that_were_cut_short_are_damaged(tiny_model, tmp_path):
    out = tmp_path / "out"
    _convert(Path(shutil.copytree(tiny_model, tmp_path / "m")), out)
    assert not entry_of(out).damaged
    weights = out / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    entry = entry_of(out)
    assert (entry.name, entry.kind, entry.source) == ("out", CONVERTED, "m")
    assert "model.safetensors" in entry.damaged
    for content in (b"", b"GGUFxxxx", b"PK" * 100):
        (tmp_path / "file.gguf").write_bytes(content)
        entry = entry_of(tmp_path / "file.gguf")
        assert (entry.name, entry.kind) == ("file", GGUF) and "file.gguf" in entry.damaged
    (tmp_path / "file.gguf").write_bytes(b"GGUF" + bytes(100))
    assert not entry_of(tmp_path / "file.gguf").damaged


def test_a_hostile_manifest_gives_no_numbers(tiny_model, tmp_path):
    out = tmp_path / "out"
    _convert(Path(shutil.copytree(tiny_model, tmp_path / "m")), out)
    hostile = '{"totals": {"bits_per_weight": "x", "parameters": true}, "source": [], '
    hostile += '"report": {"all": {"perplexity": NaN}}}'
    (out / "manifest.json").write_text(hostile, encoding="utf-8")
    entry = entry_of(out)
    assert (entry.bits, entry.parameters, entry.source, entry.perplexity) == (0.0, 0, "", None)


def test_the_download_cache_shows_names_not_hashes(tiny_model, tmp_path):
    folder = tmp_path / "models--Some--Model-1B" / "snapshots" / "0123abcd"
    shutil.copytree(tiny_model, folder)
    assert _scan(tmp_path)[str(folder)].name == "Model-1B"


def test_folders_that_are_not_there_are_no_error(tmp_path):
    assert _scan(tmp_path / "nothing") == {}


def test_fit_grows_with_memory_and_needs_what_the_weights_take():
    levels = [fit(4_500_000_000, gb * 10**9).level for gb in (4, 8, 16)]
    assert levels == ["no", "tight", "good"]
    assert fit(10**9).needed > 10**9 and fit(10**9).total > 0
    assert bits_that_fit(8 * 10**9, 4 * 10**9) < bits_that_fit(8 * 10**9, 8 * 10**9) < 16
    assert bits_that_fit(10**8, 64 * 10**9) == 16


def test_this_pc_is_described(tmp_path):
    pc = HardwareJob(folder=str(tmp_path / "not" / "there")).run(Context(lambda _: None, Cancel()))
    assert pc.memory > pc.memory_free > 0 and pc.cores >= 1 and pc.isa and pc.disk_free > 0


def test_the_sample_is_a_model_or_nothing():
    path = sample_model()
    assert path == "" or Path(path).exists()
