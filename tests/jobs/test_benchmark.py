"""BenchmarkJob: figures that are there, and a hash that only the answer moves."""

from pathlib import Path

import pytest

from bitconverter.jobs.benchmark import BenchmarkJob, BenchmarkResult
from bitconverter.jobs.errors import UserError
from bitconverter.jobs.job import Cancel, Failed, Finished, run_job


def result_of(job: BenchmarkJob) -> BenchmarkResult:
    last = run_job(job, lambda _: None, Cancel())
    assert isinstance(last, Finished), last
    return last.result


def test_every_figure_is_measured(tiny_model: Path) -> None:
    result = result_of(BenchmarkJob(str(tiny_model), prompt_tokens=20, new_tokens=4, threads=2, repeat=2))
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
    hashes = [result_of(job).logits_hash for job in (base, same, other)]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("name", ["prompt_tokens", "new_tokens", "repeat"])
def test_nothing_to_measure_is_refused(tiny_model: Path, name: str) -> None:
    last = run_job(BenchmarkJob(str(tiny_model), **{name: 0}), lambda _: None, Cancel())
    assert isinstance(last, Failed)
    assert isinstance(last.error, UserError)
    assert name in str(last.error)
