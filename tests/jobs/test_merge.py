"""MergeJob: the merged model predicts what training measured, and only on the model it was made for."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from reference.converted import write_converted
from running import error_of, finish

from bitconverter.engine import Engine
from bitconverter.format.errors import UserError
from bitconverter.format.safetensors_file import SafetensorsFile
from bitconverter.format.soul_file import Soul, read_soul, soul_bytes, weights_hash
from bitconverter.format.weight_file import disk_full
from bitconverter.jobs import merge
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.inspect import InspectJob
from bitconverter.jobs.job import Cancel, Event, Failed, Finished, Progress, Stopped, run_job
from bitconverter.jobs.merge import MergeJob
from bitconverter.jobs.train import TrainJob
from bitconverter.model.gain_trainer import GainTrainer
from bitconverter.model.layer_stack import LayerStack
from bitconverter.model.lessons import read_lessons
from bitconverter.model.tokenizer import Tokenizer

TEXT = "the quick brown fox jumps over the lazy dog and runs back home. " * 12


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model/ (converted by the product), lesson.txt and a.soul."""
    folder = tmp_path_factory.mktemp("merge")
    (folder / "lesson.txt").write_text(TEXT, encoding="utf-8")
    finish(ConvertJob(str(tiny_model), str(folder / "model"), 2))
    finish(
        TrainJob(str(folder / "model"), str(folder / "lesson.txt"), str(folder / "a.soul"), 1, 8, 4, 24, 0.03)
    )
    return folder


def loss(model: Path, lesson: Path) -> float:
    """Of the whole lesson, nats per token."""
    stack = LayerStack(Engine(2), model)
    lessons = read_lessons(str(lesson), Tokenizer(model), 24, Cancel())
    trainer = GainTrainer(stack, 1, 24)
    score = trainer.score(trainer.batch(lessons.tokens, lessons.targets))
    return score.loss / score.tokens


def test_the_merged_model_has_learned(trained: Path, tmp_path: Path) -> None:
    out, model = tmp_path / "学んだ", trained / "model"
    events: list[Event] = []
    last = run_job(MergeJob(str(model), str(trained / "a.soul"), str(out)), events.append, Cancel())
    assert isinstance(last, Finished), last
    assert loss(out, trained / "lesson.txt") < 0.95 * loss(model, trained / "lesson.txt")
    soul = read_soul(trained / "a.soul")
    old, new = (SafetensorsFile(folder / "model.safetensors") for folder in (model, out))
    for name, entry in old.tensors.items():
        if name.removesuffix(".scales") in soul.gains:
            before, after = (f.read_rows(name, 0, entry.shape[0]).astype(np.float32) for f in (old, new))
            np.testing.assert_allclose(after, before * soul.gains[name.removesuffix(".scales")], rtol=2**-11)
        elif not name.startswith("__pad__."):
            a, b = ((f.path.read_bytes(), f.tensors[name]) for f in (old, new))
            assert a[0][a[1].offset :][: a[1].bytes] == b[0][b[1].offset :][: b[1].bytes]
    finish(InspectJob(str(out), verify=True))  # every hash of the manifest
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["soul"]["base_sha256"] == soul.base_sha256
    assert events[-2] == Progress(events[-2].total, events[-2].total, "byte", events[-2].item)  # type: ignore[union-attr]
    assert not Path(str(out) + ".partial").exists()


def test_another_model_is_refused(trained: Path, tiny_model: Path, tmp_path: Path) -> None:
    write_converted(tiny_model, tmp_path / "other", 2, seed=9)
    job = MergeJob(str(tmp_path / "other"), str(trained / "a.soul"), str(tmp_path / "out"))
    assert error_of(job).code == "soul-base"
    assert not (tmp_path / "out").exists() and not job.work_dir.exists()


def test_gains_of_matrices_that_are_not_there_are_refused(trained: Path, tmp_path: Path) -> None:
    base = weights_hash((trained / "model").glob("*.safetensors"))
    for name, rows in (("model.layers.9.mlp.up_proj", 3), ("model.layers.1.mlp.up_proj", 3)):
        (tmp_path / "b.soul").write_bytes(soul_bytes(Soul({name: np.ones(rows, np.float32)}, "x", base, {})))
        job = MergeJob(str(trained / "model"), str(tmp_path / "b.soul"), str(tmp_path / "out"))
        assert error_of(job).code == "soul-broken"


def test_scales_that_leave_f16_become_f32(trained: Path, tmp_path: Path) -> None:
    model, name = trained / "model", "model.layers.1.mlp.up_proj"
    rows = SafetensorsFile(model / "model.safetensors").tensors[name + ".scales"].shape[0]
    base = weights_hash(model.glob("*.safetensors"))
    gain = np.ones(rows, np.float32)
    gain[3] = 1e-6
    (tmp_path / "b.soul").write_bytes(soul_bytes(Soul({name: gain}, "x", base, {})))
    finish(MergeJob(str(model), str(tmp_path / "b.soul"), str(tmp_path / "out")))
    assert SafetensorsFile(tmp_path / "out" / "model.safetensors").tensors[name + ".scales"].dtype == "F32"
    finish(InspectJob(str(tmp_path / "out"), verify=True))


def test_what_is_missing_or_in_the_way_is_said(trained: Path, tmp_path: Path) -> None:
    model, soul, out = str(trained / "model"), str(trained / "a.soul"), tmp_path / "out"
    assert error_of(MergeJob(model, str(tmp_path / "no.soul"), str(out))).code == "soul-missing"
    shutil.copyfile(soul, tmp_path / "no.soul.aside")
    assert error_of(MergeJob(model, str(tmp_path / "no.soul"), str(out))).code == "soul-aside"
    assert error_of(MergeJob(model, str(tmp_path / "no.soul.aside"), str(out))).code == "soul-is-aside"
    assert error_of(MergeJob(str(tmp_path), soul, str(out))).code == "merge-shards"
    out.mkdir()
    (out / "mine").touch()
    assert error_of(MergeJob(model, soul, str(out))).code == "output-exists"
    assert (out / "mine").exists()
    if os.name != "nt":  # links need a privilege there
        (tmp_path / "link").symlink_to(tmp_path / "nowhere")
        assert error_of(MergeJob(model, soul, str(tmp_path / "link"))).code == "output-exists"


@pytest.mark.parametrize("text", ["{", "[]", '{"tensors": {}}', '{"tensors": {}, "files": {}, "totals": 1}'])
def test_a_manifest_that_says_nothing_is_named_or_left_out_of_account(
    text: str, trained: Path, tmp_path: Path
) -> None:
    model, out = tmp_path / "model", tmp_path / "out"
    shutil.copytree(trained / "model", model)
    (model / "manifest.json").write_text(text, encoding="utf-8")
    last = run_job(MergeJob(str(model), str(trained / "a.soul"), str(out)), lambda _: None, Cancel())
    if isinstance(last, Failed):
        assert isinstance(last.error, UserError) and last.error.code == "manifest-damaged", last
        assert not out.exists() and not (tmp_path / "out.partial").exists()
    else:
        assert json.loads((out / "manifest.json").read_text(encoding="utf-8"))["totals"]["file_bytes"] > 0


def test_a_target_inside_of_the_model_is_refused(trained: Path, tmp_path: Path) -> None:
    """It would copy its own work folder into itself."""
    model = tmp_path / "model"
    shutil.copytree(trained / "model", model)
    before = sorted(model.rglob("*"))
    error = error_of(MergeJob(str(model), str(trained / "a.soul"), str(model / "deep" / "merged")))
    assert error.code == "merge-inside" and sorted(p for p in model.rglob("*") if p.name != "deep") == before


@pytest.mark.parametrize("where", ["_copy_weights", "_copy_others"])
def test_a_full_disk_leaves_nothing_and_promises_nothing(
    where: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise (
            disk_full(tmp_path)
            if where == "_copy_weights"
            else OSError(errno.ENOSPC, "No space left on device")
        )

    monkeypatch.setattr(merge, where, full)
    error = error_of(MergeJob(str(trained / "model"), str(trained / "a.soul"), str(tmp_path / "out")))
    assert error.code == "merge-full" and "where it stopped" not in str(error)
    assert not any(tmp_path.iterdir())


def test_somebody_elses_files_in_the_work_folder_stay(trained: Path, tmp_path: Path) -> None:
    mine = tmp_path / "out.partial" / "model" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine", encoding="utf-8")
    finish(MergeJob(str(trained / "model"), str(trained / "a.soul"), str(tmp_path / "out")))
    assert mine.read_text(encoding="utf-8") == "mine"
    assert [path.name for path in (tmp_path / "out.partial").iterdir()] == ["model"]


def test_cancelled_it_leaves_nothing_and_can_be_done_again(trained: Path, tmp_path: Path) -> None:
    job, cancel = MergeJob(str(trained / "model"), str(trained / "a.soul"), str(tmp_path / "out")), Cancel()
    assert isinstance(run_job(job, lambda event: cancel.request(), cancel), Stopped)
    assert not job.work_dir.exists() and not (tmp_path / "out").exists()
    (job.work_dir / "model").mkdir(parents=True)  # as a killed process leaves it
    (job.work_dir / "model" / "model.safetensors").write_bytes(b"half")
    finish(job)
    again = MergeJob(str(trained / "model"), str(trained / "a.soul"), str(tmp_path / "again"))
    finish(again)
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (
        tmp_path / "again" / "model.safetensors"
    ).read_bytes()
    shutil.rmtree(tmp_path / "again")
