"""LogitsJob: a .npy file that is whole or not there."""

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
