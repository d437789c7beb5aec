"""What a conversion is expected to give, told before it."""

from pathlib import Path

import pytest
from model_folders import golden_copy

from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.errors import UserError
from bitconverter.jobs.job import Cancel, Event, Failed, Finished, Progress, Stopped, run_job
from bitconverter.jobs.plan import PlanJob, PlanResult
from bitconverter.jobs.probe import Speeds
from bitconverter.model.budget import PRESETS
from bitconverter.model.expected_quality import MEASURED, expected_kl


def planned(source: Path) -> PlanResult:
    last = run_job(PlanJob(str(source), threads=2), lambda _: None, Cancel())
    assert isinstance(last, Finished), last
    assert isinstance(last.result, PlanResult)
    return last.result


@pytest.mark.parametrize("family", ["llama3.1", "qwen2", "qwen3"])
def test_every_preset_has_size_quality_time_and_memory(family: str, tmp_path: Path) -> None:
    result = planned(golden_copy(family, tmp_path / "m"))
    assert [choice.preset for choice in result.choices] == list(PRESETS)
    for choice in result.choices:
        if choice.problem:
            assert choice.preset == "tiny"  # scales weigh more than 2 bits in a model as tiny as this
            continue
        assert 1.6 < choice.bits < 9
        assert choice.chat_bytes > choice.file_bytes > 0
        assert choice.fits and choice.context > 0
        assert 0 < choice.kl < choice.kl_fast
        assert choice.seconds_full > choice.seconds_fast > 0
        assert choice.peak_full >= choice.peak_fast > 0 and choice.tokens_per_second > 0
        assert choice.cost("full").kl == choice.kl and choice.cost("fast").seconds == choice.seconds_fast
    assert list(tmp_path.iterdir()) == [tmp_path / "m"]  # nothing is written
    bits = [choice.bits for choice in result.averages]
    assert bits == sorted(bits) and len(bits) > 5
    nearest = result.nearest(4.0)
    assert nearest is not None and abs(nearest.bits - 4.0) < 0.3


def test_the_size_is_what_a_conversion_writes(tmp_path: Path) -> None:
    source = golden_copy("llama3.1", tmp_path / "m")
    choice = planned(source).choices[-1]
    last = run_job(ConvertJob(str(source), str(tmp_path / "out"), preset="best"), lambda _: None, Cancel())
    assert isinstance(last, Finished), last
    assert last.result.bits_per_weight == pytest.approx(choice.bits, rel=0.05)  # f32 scales may take more
    assert last.result.file_bytes <= choice.file_bytes * 1.05


def test_a_bad_source_is_refused(tmp_path: Path) -> None:
    source = golden_copy("llama3.1", tmp_path / "m")
    (source / "model.safetensors").unlink()
    last = run_job(PlanJob(str(source)), lambda _: None, Cancel())
    assert isinstance(last, Failed) and isinstance(last.error, UserError)
    assert last.error.code == "preflight"


def test_it_can_be_stopped(tmp_path: Path) -> None:
    cancel = Cancel()

    def stop(event: Event) -> None:
        if isinstance(event, Progress):
            cancel.request()

    job = PlanJob(str(golden_copy("llama3.1", tmp_path / "m")))
    assert isinstance(run_job(job, stop, cancel), Stopped)


SPEEDS = Speeds(
    token=0.001, forward=0.0004, measured=0.0008, backward=0.002, student=0.003, student_forward=0.0005, factor=1.0,
    measured_factor=0.5, outputs=0.0003, outputs_factor=0.7, round_full=2.0,
    round_fast=0.5, head=0.01, divergence=0.02, int8=3.0, read=4.0, decode=0.001, decode_plane=0.002, memory=1e9,
    layers=10,
)  # fmt: skip


def test_times_add_up() -> None:
    assert SPEEDS.seconds("fast", 1000) == pytest.approx(7 + 5)
    assert SPEEDS.seconds("full", 1000) == pytest.approx(7 + 10 * 4)
    assert SPEEDS.measuring(1000) == pytest.approx(12 + 10 * (2.8 + 0.5 + 2.3 + 0.7) + 10)
    teach = 4 + 10 * 100 * 10 * 0.0004
    look = 2 * 4 * 10 * (10 * 0.0005 + 0.02)
    assert SPEEDS.polishing(3, 10) == pytest.approx(teach + look + 3 * 4 * 10 * (10 * 0.003 + 0.02))


def test_an_answer_is_as_slow_as_reading_the_weights_at_least() -> None:
    assert SPEEDS.tokens_per_second(2, 1e6, 10e6) == pytest.approx(1 / (10 * 0.005 + 0.01))
    assert SPEEDS.tokens_per_second(2, 1e8, 10e6) == pytest.approx(1 / (10 * 0.1 + 0.01))


@pytest.mark.parametrize("method", MEASURED)
def test_expected_quality_goes_through_what_was_measured(method: str) -> None:
    for bits, kl in MEASURED[method]:
        assert expected_kl(bits, 135_000_000, method) == pytest.approx(kl)
    assert expected_kl(3.5, 135_000_000) > expected_kl(3.6, 135_000_000) > expected_kl(3.6, 8_000_000_000)
    least = MEASURED["full"][0][0]
    assert expected_kl(1.0, 135_000_000) == expected_kl(least, 135_000_000)
