"""BenchmarkJob: figures that are there, and a hash that only the answer moves."""

import shutil
from pathlib import Path

import pytest
from model_folders import edit_config
from running import finish

from bitconverter.jobs.benchmark import BenchmarkJob
from bitconverter.jobs.errors import UserError
from bitconverter.jobs.job import Cancel, Failed, run_job


def test_every_figure_is_measured(tiny_model: Path) -> None:
    result = finish(BenchmarkJob(str(tiny_model), prompt_tokens=20, new_tokens=4, threads=2, repeat=2))
    for name in ("prefill_tok_s", "decode_tok_s", "load_s", "decode_gb_s"):
        assert getattr(result, name) > 0, name
    assert result.peak_rss_bytes > 10 << 20  # Python alone takes more
    assert (result.threads, result.repeats) == (2, 2)
    assert result.isa
    assert "GiB" in result.machine


def test_the_hash_does_not_depend_on_threads_or_repeats_but_on_the_work(tiny_model: Path) -> None:
    base = BenchmarkJob(str(tiny_model), prompt_tokens=20, new_tokens=4, threads=1, repeat=1)
    same = BenchmarkJob(str(tiny_model), prompt_tokens=20, new_tokens=4, threads=2, repeat=3)
    other = BenchmarkJob(str(tiny_model), prompt_tokens=21, new_tokens=4, threads=1, repeat=1)
    hashes = [finish(job).logits_hash for job in (base, same, other)]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("name", ["prompt_tokens", "new_tokens", "repeat"])
def test_nothing_to_measure_is_refused(tiny_model: Path, name: str) -> None:
    last = run_job(BenchmarkJob(str(tiny_model), **{name: 0}), lambda _: None, Cancel())
    assert isinstance(last, Failed)
    assert isinstance(last.error, UserError)
    assert f"--{name.replace('_', '-')} 0" in str(last.error)


def small(tiny_model: Path, folder: Path, positions: int) -> Path:
    shutil.copytree(tiny_model, folder)
    edit_config(folder, max_position_embeddings=positions)
    return folder


@pytest.mark.parametrize(
    ("positions", "given", "expected"),
    [
        (2, {}, (1, 1)),
        (3, {}, (2, 1)),
        (20, {}, (18, 2)),
        (90, {}, (80, 10)),
        (576, {}, (512, 64)),
        (90, {"prompt_tokens": 80}, (80, 10)),
        (90, {"new_tokens": 30}, (60, 30)),
        (90, {"prompt_tokens": 3, "new_tokens": 2}, (3, 2)),
    ],
)
def test_lengths_that_are_not_given_fit_into_the_model(
    positions: int, given: dict[str, int], expected: tuple[int, int], tiny_model: Path, tmp_path: Path
) -> None:
    folder = small(tiny_model, tmp_path / "m", positions)
    result = finish(BenchmarkJob(str(folder), repeat=1, **given))
    assert (result.prompt_tokens, result.new_tokens) == expected


@pytest.mark.parametrize(
    "given", [{"prompt_tokens": 90}, {"new_tokens": 90}, {"prompt_tokens": 60, "new_tokens": 31}]
)
def test_given_lengths_that_do_not_fit_are_refused_by_their_options(
    given: dict[str, int], tiny_model: Path, tmp_path: Path
) -> None:
    folder = small(tiny_model, tmp_path / "m", 90)
    last = run_job(BenchmarkJob(str(folder), **given), lambda _: None, Cancel())
    assert isinstance(last, Failed) and isinstance(last.error, UserError), last
    for name in ("prompt_tokens", "new_tokens"):
        option = f"--{name.replace('_', '-')}"
        assert (option in str(last.error)) == (name in given)
        assert name not in given or f"{option} {given[name]}" in str(last.error)
    assert "90" in str(last.error)


@pytest.mark.parametrize("given", [{}, {"prompt_tokens": 1}, {"new_tokens": 1}])
def test_a_model_of_one_position_is_refused_with_the_reason(
    given: dict[str, int], tiny_model: Path, tmp_path: Path
) -> None:
    last = run_job(BenchmarkJob(str(small(tiny_model, tmp_path / "m", 1)), **given), lambda _: None, Cancel())
    assert isinstance(last, Failed) and isinstance(last.error, UserError), last
    assert (last.error.code, last.error.fields) == ("benchmark-positions", {"room": 1, "least": 2})
    assert "1 position" in str(last.error) and "smaller" not in str(last.error)
