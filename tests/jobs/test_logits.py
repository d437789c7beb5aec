"""LogitsJob: a .npy file that is whole or not there."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from bitconverter.jobs import logits
from bitconverter.jobs.errors import UserError
from bitconverter.jobs.job import Cancel, Event, Failed, Finished, Progress, Stopped, run_job
from bitconverter.jobs.logits import LogitsJob

GOLDEN = Path(__file__).parents[1] / "golden"


def golden_ids(family: str) -> tuple[int, ...]:
    return tuple(int(token) for token in np.load(GOLDEN / family / "tokens.npy").ravel())


@pytest.mark.parametrize("family", ["smollm2", "qwen3"])
def test_the_file_holds_the_golden_logits_and_no_tokenizer_is_needed(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logits, "chunk_tokens", lambda _vocab: 7)
    out = tmp_path / "結果.npy"
    ids = golden_ids(family)
    last = run_job(LogitsJob(str(GOLDEN / family), ids, str(out)), lambda _: None, Cancel())
    assert isinstance(last, Finished), last
    written, expected = np.load(out), np.load(GOLDEN / family / "logits.npy")
    assert written.dtype == np.float32
    assert written.shape == last.result.shape == expected.shape
    np.testing.assert_allclose(written, expected, atol=1e-3)
    assert last.result.argmax == tuple(written.argmax(axis=1))
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


@pytest.mark.parametrize("ids", [(), (-1,), (1, 149)])
def test_ids_outside_the_vocabulary_are_refused(ids: tuple[int, ...], tmp_path: Path) -> None:
    last = run_job(LogitsJob(str(GOLDEN / "smollm2"), ids, str(tmp_path / "x.npy")), lambda _: None, Cancel())
    assert isinstance(last, Failed)
    assert isinstance(last.error, UserError)
    assert last.error.code == "ids"
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    out = tmp_path / "missing" / "x.npy"
    last = run_job(LogitsJob(str(GOLDEN / "smollm2"), (1,), str(out)), lambda _: None, Cancel())
    assert isinstance(last, Failed)
    assert isinstance(last.error, UserError)
    assert last.error.code == "out-unwritable"
    assert str(out) in str(last.error)


def test_a_stopped_job_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logits, "chunk_tokens", lambda _vocab: 1)
    cancel = Cancel()

    def cancel_at_progress(event: Event) -> None:
        if isinstance(event, Progress):
            cancel.request()

    job = LogitsJob(str(GOLDEN / "smollm2"), golden_ids("smollm2"), str(tmp_path / "x.npy"))
    assert run_job(job, cancel_at_progress, cancel) == Stopped()
    assert not list(tmp_path.iterdir())


def failure(out: Path, ids: tuple[int, ...] = (1, 2)) -> UserError:
    last = run_job(LogitsJob(str(GOLDEN / "smollm2"), ids, str(out)), lambda _: None, Cancel())
    assert isinstance(last, Failed), last
    assert isinstance(last.error, UserError), last.error
    return last.error


def test_a_neighbour_with_a_temporary_sounding_name_stays(tmp_path: Path) -> None:
    (tmp_path / "x.npy.tmp").write_bytes(b"mine")
    last = run_job(
        LogitsJob(str(GOLDEN / "smollm2"), (1,), str(tmp_path / "x.npy")), lambda _: None, Cancel()
    )
    assert isinstance(last, Finished), last
    assert (tmp_path / "x.npy.tmp").read_bytes() == b"mine"


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npy").mkdir()
    error = failure(tmp_path / "x.npy")
    assert error.code == "out-kind" and "x.npy" in str(error)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


def test_a_file_of_another_kind_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    out.write_bytes(b"not to be lost")
    error = failure(out)
    assert error.code == "out-kind" and str(out) in str(error)
    assert out.read_bytes() == b"not to be lost" and len(list(tmp_path.iterdir())) == 1
    out.write_bytes(b"")
    last = run_job(LogitsJob(str(GOLDEN / "smollm2"), (1,), str(out)), lambda _: None, Cancel())
    assert isinstance(last, Finished), last


@pytest.mark.skipif(os.name == "nt", reason="special files of POSIX")
def test_a_special_file_is_refused_and_stays_what_it_is(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for out in (pipe, link):
        assert failure(out).code == "out-kind"
    assert pipe.is_fifo() and link.is_symlink()


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed_and_stays_a_link(there: bool, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "real.npy", tmp_path / "link.npy"
    if there:
        np.save(target, np.zeros(3))
    link.symlink_to(target)
    last = run_job(LogitsJob(str(GOLDEN / "smollm2"), (1,), str(link)), lambda _: None, Cancel())
    assert isinstance(last, Finished), last
    assert link.is_symlink() and np.load(target).shape == last.result.shape
    assert [path.name for path in target.parent.iterdir()] == ["real.npy"]


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_link_to_itself_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert failure(tmp_path / "loop").code == "out-unwritable"


def test_more_ids_than_the_model_has_positions_are_refused_with_the_limit(tmp_path: Path) -> None:
    config = json.loads((GOLDEN / "smollm2" / "config.json").read_text(encoding="utf-8"))
    most = config["max_position_embeddings"]
    error = failure(tmp_path / "x.npy", (1,) * (most + 1))
    assert error.code == "ids"
    assert "--ids" in str(error) and str(most) in str(error) and str(most + 1) in str(error)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_weights_that_are_a_link_to_nothing_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "config.json").write_bytes((GOLDEN / "smollm2" / "config.json").read_bytes())
    (folder / "model.safetensors").symlink_to("blobs/0a1b")
    last = run_job(LogitsJob(str(folder), (1,), str(tmp_path / "x.npy")), lambda _: None, Cancel())
    assert isinstance(last, Failed) and isinstance(last.error, UserError), last
    assert "model.safetensors is a link that leads to" in str(last.error) and "0a1b" in str(last.error)
