"""SweepJob: every row is there, threads do not change an answer, and a peer's program is asked as it must be."""

import math
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from model_folders import edit_config, write_byte_tokenizer
from python_program import write_program
from running import error_of, finish

from bitconverter.cli.main import main
from bitconverter.engine import Model, OutOfMemoryError, Session, check_config
from bitconverter.jobs import benchmark_sweep
from bitconverter.jobs.benchmark_sweep import SweepJob, markdown
from bitconverter.jobs.errors import UserError
from bitconverter.jobs.evaluate import EvaluateJob
from bitconverter.jobs.job import Cancel, Failed, Finished, run_job

FOX = "The quick brown fox jumps over the lazy dog. "
PEER = """\
import json, sys
words = sys.argv
n = {k: int(words[words.index(k) + 1]) for k in ("-t", "-p", "-n")}
print(json.dumps([{"n_gen": 0, "samples_ts": [n["-p"] * 10.0]}, {"n_gen": n["-n"], "samples_ts": [n["-t"] * 3.0]}]))
"""


def test_every_row_is_measured_and_threads_change_no_answer(tiny_model: Path) -> None:
    result = finish(SweepJob(str(tiny_model), threads=2, rounds=1, prompt_tokens=20, new_tokens=6))
    rows = {(row.what, row.threads): row for row in result.rows}
    for what in ("reading the weight files", "prefill 20", "decode 6"):
        assert rows[what, 1].value > 0 < rows[what, 2].value, what
    room = check_config((tiny_model / "config.json").read_bytes()).max_positions
    assert room < 8192 and rows[f"decode at {room - 6}", 2].value > 0
    assert rows["decode 6", 1].result == rows["decode 6", 2].result is not None
    assert all(("decode, 8 sequences", 2) in rows and row.value > 0 for row in result.rows)
    assert rows["load", 2].value <= rows["load and first token", 2].value
    assert 0 < result.weight_bytes < result.rss_limit_bytes
    text = markdown(result)
    assert len([line for line in text.splitlines() if line.startswith("|")]) == len(result.rows) + 3
    assert str(rows["decode 6", 2].result) in text


@pytest.fixture
def few(tiny_model: Path, tmp_path: Path) -> Callable[[int], str]:
    """Makes the tiny model with so many positions."""

    def make(positions: int) -> str:
        folder = tmp_path / f"{positions} positions"
        shutil.copytree(tiny_model, folder)
        edit_config(folder, max_position_embeddings=positions)
        return str(folder)

    return make


@pytest.mark.parametrize("positions", [2, 3, 5, 15, 16, 17, 20, 33, 34])
def test_a_model_of_few_positions_is_measured_with_what_fits(
    positions: int, few: Callable[[int], str], tmp_path: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text(FOX * 3, encoding="utf-8")
    result = finish(SweepJob(few(positions), threads=1, rounds=1, text=str(text)))
    rows = {row.what: row.value for row in result.rows}
    assert {f"prefill {positions}", f"decode {min(32, positions - 1)}", "load and first token"} <= set(rows)
    assert {"decode, 8 sequences", "decode, 32 sequences"} <= set(rows)
    assert f"perplexity, positions 0 to {positions - 1}" in rows
    deep = [what for what in rows if what.startswith("decode at")]
    assert deep == ([f"decode at {positions - 32}"] if positions > 33 else [])
    assert all(value > 0 for value in rows.values())


@pytest.mark.parametrize(
    "asked", [{}, {"sequences": (1, 4), "whole": False}, {"sequences": (), "whole": False, "text": "{text}"}]
)
def test_a_model_of_one_position_is_refused_with_the_reason(
    asked: dict[str, Any], few: Callable[[int], str], tmp_path: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text(FOX, encoding="utf-8")
    asked = {**asked, **({"text": str(text)} if "text" in asked else {})}
    error = error_of(SweepJob(few(1), threads=1, rounds=1, **asked))
    assert (error.code, error.fields) == ("benchmark-positions", {"room": 1, "least": 2})
    assert "1 position," in str(error)


@pytest.mark.parametrize(
    ("given", "whole", "sentence"),
    [
        ({"prompt_tokens": 91}, True, "--prompt-tokens 91 does not fit.*90 positions.*at most 90"),
        ({"new_tokens": 90}, True, "--new-tokens 90 does not fit.*90 positions.*at most 89"),
        ({"new_tokens": 90}, False, "--new-tokens 90 does not fit.*90 positions.*at most 89"),
    ],
)
def test_given_lengths_that_do_not_fit_are_refused(
    given: dict[str, int], whole: bool, sentence: str, few: Callable[[int], str]
) -> None:
    error = error_of(SweepJob(few(90), threads=1, rounds=1, sequences=(2,), whole=whole, **given))
    assert error.code == "benchmark-most" and re.search(sentence, str(error)), error


@pytest.mark.parametrize("name", ["prompt_tokens", "new_tokens", "rounds"])
def test_one_of_each_is_enough_and_none_is_refused(name: str, few: Callable[[int], str]) -> None:
    job = SweepJob(few(8), threads=1, rounds=1, sequences=(2,))
    assert error_of(replace(job, **{name: 0})).code == "benchmark-least"
    assert all(row.value > 0 for row in finish(replace(job, **{name: 1})).rows)


def test_a_folder_without_a_model_is_told_in_a_sentence(tmp_path: Path) -> None:
    last = run_job(SweepJob(str(tmp_path)), lambda _: None, Cancel())
    assert isinstance(last, Failed) and "is not a Hugging Face model folder" in str(last.error)


def test_the_tokens_that_are_asked_for_are_decoded_in_every_row(tiny_model: Path) -> None:
    def rows(**asked: Any) -> dict[str, str | None]:
        job = SweepJob(str(tiny_model), threads=1, rounds=1, sequences=(3,), **asked)
        return {row.what: row.result for row in finish(job).rows}

    usual, five = rows(), rows(new_tokens=5)
    assert "decode 32" in usual and "decode 5" in five
    alone = rows(new_tokens=5, whole=False)["decode, 3 sequences"]
    assert five["decode, 3 sequences"] == alone != usual["decode, 3 sequences"]


@pytest.mark.parametrize("sequences", [(0,), (-1, 2), (4097,), (8, 10**30)])
def test_numbers_of_texts_that_no_forward_pass_takes_are_refused(
    sequences: tuple[int, ...], tiny_model: Path
) -> None:
    error = error_of(SweepJob(str(tiny_model), sequences=sequences, whole=False))
    assert error.code == "benchmark-sequences" and "from 1 to 4096" in str(error)
    assert any(str(count) in str(error) for count in sequences)


def test_a_piece_of_a_text_that_predicts_nothing_is_refused_with_the_least(
    tiny_model: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text(FOX, encoding="utf-8")
    job = SweepJob(str(tiny_model), threads=1, text=str(text), text_tokens=1, sequences=(), whole=False)
    error = error_of(job)
    assert error.code == "benchmark-text-tokens" and "--max-tokens 1" in str(error)
    assert "at least 2" in str(error)
    assert [row.what for row in finish(replace(job, text_tokens=2)).rows][:1] == [
        "perplexity, positions 0 to 1"
    ]


@pytest.mark.skipif(
    sys.platform == "win32", reason="the stand-in for llama-bench is a script with a first line"
)
def test_a_peer_is_measured_in_the_same_rounds(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program, gguf = tmp_path / "llama-bench", tmp_path / "same.gguf"
    write_program(program, PEER)
    gguf.write_bytes(b"GGUF")
    words = ["--llama-bench", str(program), "--gguf", str(gguf), "--threads", "1", "--repeat", "1"]
    assert main(["benchmark", str(tiny_model), "--prompt-tokens", "16", *words, "--quiet"]) == 0
    table = capsys.readouterr().out
    assert "same.gguf" in table
    prefill = next(line for line in table.splitlines() if line.startswith("| prefill 16"))
    assert "| 160 |" in prefill and "x |" in prefill


def test_a_peer_that_fails_is_an_error(tiny_model: Path, tmp_path: Path) -> None:
    for job in (
        SweepJob(str(tiny_model), llama_bench=sys.executable),
        SweepJob(str(tiny_model), llama_bench=str(tmp_path / "none"), gguf=sys.executable),
        SweepJob(str(tiny_model), threads=1, rounds=1, llama_bench=sys.executable, gguf=sys.executable),
    ):
        last = run_job(job, lambda _: None, Cancel())
        assert isinstance(last, Failed) and isinstance(last.error, UserError), last


def test_a_long_context_is_looked_at_along_a_text(tiny_model: Path, tmp_path: Path) -> None:
    """The bands' perplexities together are what `evaluate` says of the same tokens in one window."""
    text = tmp_path / "a long text.txt"
    text.write_text(FOX * 40, encoding="utf-8")
    room = check_config((tiny_model / "config.json").read_bytes()).max_positions
    job = SweepJob(str(tiny_model), threads=1, sequences=(), text=str(text), kv="f32", whole=False)
    result = finish(job)
    found = {row.what: row.value for row in result.rows if row.what.startswith("perplexity")}
    ends = [int(what.split(" ")[-1]) + 1 for what in found]
    assert ends[-1] == room and ends[0] == min(512, room)
    tokens = [end - max(start, 1) for start, end in zip([0, *ends], ends, strict=False)]
    mean = sum(n * math.log(value) for n, value in zip(tokens, found.values(), strict=True)) / sum(tokens)
    whole = run_job(
        EvaluateJob(str(tiny_model), str(text), max_tokens=room, window=room, kv="f32"),
        lambda _: None,
        Cancel(),
    )
    assert isinstance(whole, Finished), whole
    assert whole.result.tokens == room - 1
    assert math.exp(mean) == pytest.approx(whole.result.perplexity, rel=1e-6)
    assert result.peak_rss_bytes is None and "peak memory" not in markdown(result)


def test_a_shorter_text_ends_sooner_and_decoding_behind_it_is_timed(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("abc " * 100, encoding="utf-8")
    words = ["--text", str(text), "--max-tokens", "20", "--threads", "1", "--quiet"]
    assert main(["benchmark", str(tiny_model), *words]) == 0
    table = capsys.readouterr().out
    assert "| perplexity, positions 0 to 19 |" in table and "| decode at 20 of the text |" in table
    text.write_text("", encoding="utf-8")
    assert main(["benchmark", str(tiny_model), *words]) == 1
    assert "too few" in capsys.readouterr().err


@pytest.mark.parametrize("count", [3, 40])
def test_so_many_texts_as_are_asked_for_are_one_batch(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """A session's batch is no larger than its context, so that of few tokens needs a longer one."""
    opened: list[tuple[int, int]] = []

    def session(sweep: object, model: Model, n_ctx: int, n_batch: int = 0) -> Session:
        opened.append((n_ctx, n_batch))
        return real(sweep, model, n_ctx, n_batch)  # type: ignore[arg-type]

    real = benchmark_sweep._Sweep._session
    monkeypatch.setattr(benchmark_sweep._Sweep, "_session", session)
    finish(SweepJob(str(tiny_model), threads=1, rounds=1, sequences=(count,), new_tokens=4, whole=False))
    assert len(opened) == count and all(n_ctx >= n_batch == count for n_ctx, n_batch in opened)


def test_a_tokenizer_of_another_model_is_told_before_anything_is_measured(
    few: Callable[[int], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, text = Path(few(90)), tmp_path / "text.txt"
    text.write_text(FOX, encoding="utf-8")
    write_byte_tokenizer(model)  # 256 tokens, the model has fewer
    monkeypatch.setattr(benchmark_sweep._Sweep, "_basic", lambda *_: pytest.fail("measured"))
    assert error_of(SweepJob(str(model), text=str(text))).code == "tokenizer-mismatch"


def test_more_texts_than_the_memory_holds_are_told_with_how_many_it_holds(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []

    def session(sweep: object, model: Model, n_ctx: int, n_batch: int = 0) -> Session:
        if len(opened) == 3:
            raise OutOfMemoryError("a session of 9 positions needs more; use a smaller context", -2)
        opened.append(n_ctx)
        return real(sweep, model, n_ctx, n_batch)  # type: ignore[arg-type]

    real = benchmark_sweep._Sweep._session
    monkeypatch.setattr(benchmark_sweep._Sweep, "_session", session)
    error = error_of(SweepJob(str(tiny_model), threads=1, rounds=1, sequences=(5,), whole=False))
    assert (error.code, error.fields) == ("benchmark-memory", {"count": 5, "opened": 3})
    assert "--sessions" in str(error) and "smaller context" not in str(error)


@pytest.mark.skipif(
    sys.platform == "win32", reason="the stand-in for llama-bench is a script with a first line"
)
@pytest.mark.parametrize("said", ["[0]", '["a"]', "[null]", "[NaN]", "[]"])
def test_a_peer_that_tells_no_speeds_is_an_error(tiny_model: Path, tmp_path: Path, said: str) -> None:
    program, gguf = tmp_path / "llama-bench", tmp_path / "same.gguf"
    rows = f'[{{"n_gen": 0, "samples_ts": {said}}}, {{"n_gen": 1, "samples_ts": [3.0]}}]'
    write_program(program, f"print('''{rows}''')")
    gguf.write_bytes(b"GGUF")
    job = SweepJob(str(tiny_model), threads=1, rounds=1, llama_bench=str(program), gguf=str(gguf))
    last = run_job(job, lambda _: None, Cancel())
    assert isinstance(last, Failed) and isinstance(last.error, UserError), last


def test_a_text_that_cannot_be_read_is_told_before_anything_is_measured(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_sweep._Sweep, "_basic", lambda *_: pytest.fail("measured"))
    last = run_job(SweepJob(str(tiny_model), text=str(tmp_path / "none.txt")), lambda _: None, Cancel())
    assert isinstance(last, Failed) and isinstance(last.error, UserError), last


@pytest.mark.parametrize("words", [["--repeat", "0"], ["--llama-bench", "x"]])
def test_what_cannot_be_measured_makes_no_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    out = tmp_path / "synthetic"
    assert main(["benchmark", str(out), "--synthetic", "135m", "--layers", "1", *words]) == 1
    assert not out.exists() and "Traceback" not in capsys.readouterr().err
