"""TrainJob: it learns, it says what it does, and broken off anywhere it ends in the same bytes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from reference.converted import write_converted

from bitconverter.format.errors import UserError
from bitconverter.format.soul_file import read_soul, weights_hash
from bitconverter.jobs import train_run, train_state
from bitconverter.jobs.job import Cancel, Event, Failed, Finished, Metric, Note, Progress, Stopped, run_job
from bitconverter.jobs.prepare import PrepareJob
from bitconverter.jobs.train import TrainJob
from bitconverter.jobs.train_run import TrainResult

TEXT = "the quick brown fox jumps over the lazy dog and runs back home. " * 12


@pytest.fixture(scope="module")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train") / "モデル 2"
    write_converted(tiny_model, folder, 2, seed=3)
    return folder


@pytest.fixture
def job(model: Path, tmp_path: Path) -> TrainJob:
    (tmp_path / "lesson.txt").write_text(TEXT, encoding="utf-8")
    return make_job(model, tmp_path)


def make_job(model: Path, folder: Path, **changes: object) -> TrainJob:
    settings = {"layers": 1, "steps": 8, "batch": 4, "window": 24, "rate": 0.03, "threads": 2} | changes
    return TrainJob(str(model), str(folder / "lesson.txt"), str(folder / "魂.soul"), **settings)  # type: ignore[arg-type]


def finish(job: TrainJob, events: list[Event] | None = None) -> TrainResult:
    last = run_job(job, (events if events is not None else []).append, Cancel())
    assert isinstance(last, Finished), last
    return last.result


def error_of(job: TrainJob) -> UserError:
    last = run_job(job, lambda _: None, Cancel())
    assert isinstance(last, Failed) and isinstance(last.error, UserError), last
    return last.error


def test_it_learns_and_leaves_a_soul(job: TrainJob, model: Path) -> None:
    events: list[Event] = []
    result = finish(job, events)
    assert result.after < 0.95 * result.before
    soul = read_soul(Path(job.out))
    assert soul.base_name == model.name and soul.base_sha256 == weights_hash(model.glob("*.safetensors"))
    assert sum(len(gain) for gain in soul.gains.values()) == result.parameters
    assert all(".layers.1." in name for name in soul.gains)  # of two layers, the last
    assert any((gain != 1).any() for gain in soul.gains.values())
    assert float(soul.notes["loss_after"]) == result.after
    losses = [event for event in events if isinstance(event, Metric) and event.name == "loss"]
    checks = [event for event in events if isinstance(event, Metric) and event.name == "validation"]
    assert [event.step for event in losses] == list(range(1, 9))
    assert [event.step for event in checks] == list(range(9))
    assert checks[0].value == result.before and min(c.value for c in checks) == result.after
    assert [e.done for e in events if isinstance(e, Progress) and e.unit == "step"] == list(range(1, 9))
    assert "train-began" in [e.code for e in events if isinstance(e, Note)]
    assert not job.work_dir.exists()


def test_examples_are_learned_too(model: Path, tmp_path: Path) -> None:
    rows = [
        f'{{"prompt": "the number {n} is", "answer": " {"odd" if n % 2 else "even"}"}}' for n in range(20)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(rows), encoding="utf-8")
    job = TrainJob(str(model), str(path), str(tmp_path / "a.soul"), 2, 6, 8, 64, 0.03)
    result = finish(job)
    assert result.after < result.before


def test_a_pack_is_learned_and_its_own_share_is_held_back(model: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"number {n}", "answer": " odd" if n % 2 else " even"} for n in range(20)]
    (tmp_path / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    pack = tmp_path / "教材.u32"
    prepared = run_job(
        PrepareJob(str(model), (str(tmp_path / "rows.json"),), str(pack), share=0.25),
        lambda _: None,
        Cancel(),
    )
    assert isinstance(prepared, Finished), prepared
    events: list[Event] = []
    result = finish(TrainJob(str(model), str(pack), str(tmp_path / "a.soul"), 2, 6, 8, 256, 0.03), events)
    assert result.after < result.before
    (began,) = [event for event in events if isinstance(event, Note) and event.code == "train-began"]
    assert (began.fields["windows"], began.fields["checks"]) == (15, 5)


def test_labels_are_told_apart(model: Path, tmp_path: Path) -> None:
    """Always the same one: the least that can be learned, also about examples held back."""
    rows = [f'{{"prompt": "the number {n} is", "answer": "o"}}' for n in range(20)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(rows), encoding="utf-8")
    job = TrainJob(str(model), str(path), str(tmp_path / "a.soul"), 2, 6, 8, 64, 0.03, labels=("o", "e"))
    result = finish(job)
    assert result.learned_tokens == 6 * 8 and result.after < result.before < 12
    assert (
        error_of(TrainJob(str(model), str(path), str(tmp_path / "b.soul"), labels=("o",))).code
        == "train-setting"
    )
    assert (
        error_of(TrainJob(str(model), str(path), str(tmp_path / "b.soul"), labels=("odd", "e"))).code
        == "lesson-label"
    )


@pytest.mark.parametrize("stop_at", [1, 3, 7])
def test_cancelled_and_continued_it_ends_in_the_same_bytes(model: Path, tmp_path: Path, stop_at: int) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
        (folder / "lesson.txt").write_text(TEXT, encoding="utf-8")
    finish(make_job(model, whole))
    job, cancel = make_job(model, parts), Cancel()

    def emit(event: Event) -> None:
        if isinstance(event, Metric) and event.name == "loss" and event.step == stop_at:
            cancel.request()

    assert isinstance(run_job(job, emit, cancel), Stopped)
    assert job.work_dir.exists()
    events: list[Event] = []
    finish(make_job(model, parts, threads=1), events)  # the number of threads may change
    assert Note("resumed-training", {"step": stop_at}) in events
    assert Path(job.out).read_bytes() == Path(make_job(model, whole).out).read_bytes()
    assert not job.work_dir.exists()


def test_killed_and_started_again_it_ends_in_the_same_bytes(model: Path, tmp_path: Path) -> None:
    """SIGKILL at any moment; at most SAVE_SECONDS are lost (here: none are saved but the steps' own)."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
        (folder / "lesson.txt").write_text(TEXT, encoding="utf-8")
    finish(make_job(model, whole))
    job = make_job(model, parts)
    program = (
        "import sys; from bitconverter.jobs import train_run; train_run.SAVE_SECONDS = 0.0\n"
        "from bitconverter.jobs.job import Cancel, run_job; from bitconverter.jobs.train import TrainJob\n"
        f"run_job({job!r}, lambda event: print(event, flush=True), Cancel())"
    )
    for lines in (2, 6, 13):
        with subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
        ) as child:
            assert child.stdout is not None
            for _ in range(lines):
                child.stdout.readline()
            child.kill()
    assert not Path(job.out).exists()
    finish(job)
    assert Path(job.out).read_bytes() == Path(make_job(model, whole).out).read_bytes()


def test_a_damaged_state_is_set_aside(job: TrainJob, monkeypatch: pytest.MonkeyPatch) -> None:
    cancel = Cancel()
    run_job(job, lambda e: cancel.request() if isinstance(e, Metric) and e.step == 2 else None, cancel)
    state = job.work_dir / train_state.STATE
    state.write_bytes(state.read_bytes()[:-100])
    events: list[Event] = []
    finish(job, events)
    assert not any(isinstance(e, Note) and e.code == "resumed-training" for e in events)


def test_a_changed_lesson_or_setting_is_noticed(job: TrainJob, model: Path, tmp_path: Path) -> None:
    cancel = Cancel()
    run_job(job, lambda e: cancel.request() if isinstance(e, Metric) and e.step == 2 else None, cancel)
    assert error_of(make_job(model, tmp_path, rate=0.02)).code == "work-folder-taken"
    (tmp_path / "lesson.txt").write_text(TEXT.upper(), encoding="utf-8")
    assert error_of(job).code == "lesson-changed"
    (tmp_path / "lesson.txt").write_text(TEXT, encoding="utf-8")
    finish(job)


def test_a_jump_of_the_loss_goes_back_to_the_best(
    job: TrainJob, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., train_run.Step] = train_run.GainTrainer.step
    calls = 0

    def step(self: train_run.GainTrainer, *args: object) -> train_run.Step:
        nonlocal calls
        calls += 1
        good = real(self, *args)
        return train_run.Step(np.nan, good.tokens, good.gradient) if calls in (3, 5) else good

    monkeypatch.setattr(train_run.GainTrainer, "step", step)
    events: list[Event] = []
    result = finish(job, events)
    slower = [
        event.fields["step"] for event in events if isinstance(event, Note) and event.code == "train-slower"
    ]
    assert slower == [2, 4] and result.after < result.before
    Path(job.out).unlink()
    monkeypatch.setattr(
        train_run.GainTrainer, "step", lambda self, *a: train_run.Step(np.inf, 1, np.zeros(self.size))
    )
    assert error_of(job).code == "train-diverged"


def test_when_nothing_helps_it_says_so(model: Path, tmp_path: Path) -> None:
    (tmp_path / "lesson.txt").write_text(TEXT, encoding="utf-8")
    events: list[Event] = []
    result = finish(make_job(model, tmp_path, rate=0.0), events)
    assert result.best_step == 0 and result.after == result.before
    assert Note("train-no-gain") in events


@pytest.mark.parametrize(
    "changes, code",
    [
        ({"steps": 0}, "train-setting"),
        ({"batch": 0}, "train-setting"),
        ({"window": 1}, "train-setting"),
        ({"rate": float("nan")}, "train-setting"),
        ({"rate": -1.0}, "train-setting"),
        ({"decay": 11.0}, "train-setting"),
        ({"seed": -1}, "train-setting"),
        ({"layers": 9}, "train-layers"),
        ({"threads": -1}, "threads"),
    ],
)
def test_bad_settings_are_named(
    job: TrainJob, model: Path, tmp_path: Path, changes: dict[str, object], code: str
) -> None:
    bad = make_job(model, tmp_path, **changes)
    assert error_of(bad).code == code
    assert not bad.work_dir.exists()  # nothing was begun


def test_what_is_there_is_not_overwritten(job: TrainJob, tiny_model: Path, tmp_path: Path) -> None:
    Path(job.out).write_text("mine")
    assert error_of(job).code == "output-exists"
    assert Path(job.out).read_text() == "mine"
    Path(job.out).unlink()
    assert error_of(make_job(tiny_model, tmp_path)).code == "train-dense"
