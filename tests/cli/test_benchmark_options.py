"""benchmark's options: those that mean nothing together are refused in a sentence, numbers that are none as well."""

import json
from pathlib import Path
from typing import Any

import pytest

from bitconverter.cli.main import main

SHORT = ["--repeat", "1", "--threads", "1"]


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog", encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--layers", "0"], ["--layers", "--synthetic"]),
        (["--layers", "3"], ["--layers", "--synthetic"]),
        (["--planes", "3", "--full"], ["--planes", "--synthetic"]),
        (["--max-tokens", "9"], ["--max-tokens", "--text"]),
        (["--max-tokens", "0", "--full"], ["--max-tokens", "--text"]),
        (["--text", "{text}", "--prompt-tokens", "9"], ["--prompt-tokens", "--text", "--full"]),
        (["--sessions", "2", "--prompt-tokens", "9"], ["--prompt-tokens", "--sessions", "--full"]),
        (["--text", "{text}", "--new-tokens", "9"], ["--new-tokens", "--text", "--sessions"]),
        (["--text", "{text}", "--repeat", "2"], ["--repeat", "--text", "once"]),
        (["--text", "{text}", "--synthetic", "135m"], ["--text", "--synthetic", "tokenizer"]),
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_options_without_a_meaning_are_refused(
    words: list[str],
    told: list[str],
    there: bool,
    text: str,
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = tiny_model if there else tmp_path / "none"
    assert main(["benchmark", str(model), *(word.format(text=text) for word in words)]) == 2
    streams = capsys.readouterr()
    assert streams.out == "" and streams.err.startswith("bitconverter: ") and streams.err.endswith(".\n")
    assert all(word in streams.err for word in told), streams.err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--text", "{text}", "--sessions", "2", "--new-tokens", "3"],
        ["--text", "{text}", "--max-tokens", "9"],
        ["--full", "--prompt-tokens", "9", "--new-tokens", "3", "--sessions", "1,2"],
        ["--full", "--text", "{text}", "--max-tokens", "9"],
    ],
)
def test_options_with_a_meaning_are_measured(
    words: list[str], text: str, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.format(text=text) for word in words]
    if "--sessions" in words or "--full" in words:
        words += ["--repeat", "1"]
    assert main(["benchmark", str(tiny_model), *words, "--threads", "1", "--json"]) == 0
    rows = {row["what"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert ("decode, 2 sequences" in rows) == ("--sessions" in words)
    assert ("prefill 9" in rows and "decode 3" in rows) == ("--prompt-tokens" in words)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("1,,2", "empty place"),
        ("", "empty place"),
        ("1,", "empty place"),
        ("0", "'0'"),
        ("1,0", "'0'"),
        ("-1", "'-1'"),
        ("a", "'a'"),
        ("1,8 32", "'8 32'"),
        ("1.5", "'1.5'"),
        ("8-32", "'8-32'"),
        ("\u00b2", "'\u00b2'"),
        ("9" * 5000, "9999"),
    ],
)
def test_what_is_no_list_of_numbers_of_texts_is_told_with_the_form(
    asked: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["benchmark", "m", f"--sessions={asked}"])
    assert end.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "--sessions" in said and told in said and "1,8,32" in said and "_counts" not in said


@pytest.mark.parametrize("asked", ["1, 2", " 1,2 ", "\uff11,\uff12"])
def test_numbers_of_texts_are_read_as_people_write_them(
    asked: str, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", str(tiny_model), "--sessions", asked, "--new-tokens", "2", *SHORT]) == 0
    out = capsys.readouterr().out
    assert "| decode, 1 sequence |" in out and "| decode, 2 sequences |" in out


def test_more_texts_than_the_engine_takes_are_refused(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", str(tiny_model), "--sessions", "1,100000"]) == 1
    said = capsys.readouterr().err
    assert "100000" in said and "4096" in said and said.count("\n") == 1


@pytest.mark.parametrize(("asked", "told"), [("x", "'x'"), ("-3", "-3"), ("1.5", "'1.5'"), ("", "''")])
def test_what_is_no_number_is_told(asked: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["benchmark", "m", f"--repeat={asked}"])
    said = capsys.readouterr().err.splitlines()[-1]
    assert "--repeat" in said and told in said and "whole number" in said and "_natural" not in said


@pytest.mark.parametrize("option", ["--text", "--llama-bench", "--gguf"])
def test_an_empty_name_is_not_left_out(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As a variable of a shell that is not set gives it."""
    with pytest.raises(SystemExit) as end:
        main(["benchmark", "m", option, ""])
    assert end.value.code == 2 and "empty" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--prompt-tokens", "8192"], "8192 positions"),
        (["--full", "--prompt-tokens", "8193"], "8192 positions"),
        (["--sessions", "2", "--new-tokens", "8192"], "8192 positions"),
        (["--sessions", "5000"], "4096"),
        (["--full", "--new-tokens", "0"], "--new-tokens 0"),
        (["--layers", "0"], "--layers 0"),
        (["--layers", "1025"], "--layers 1025"),
        (["--threads", "300"], "300 threads"),
        (["--device", "cuda:98"], "cuda:98"),
    ],
)
def test_no_model_is_made_for_what_cannot_be_measured_with_it(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "random"
    layers = [] if "--layers" in words else ["--layers", "1"]
    assert main(["benchmark", str(out), "--synthetic", "135m", *layers, *words]) == 1
    said = capsys.readouterr().err
    assert told in said and said.count("\n") == 1 and not list(tmp_path.iterdir())


def test_every_way_of_measuring_tells_what_its_json_holds(
    tiny_model: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["benchmark", "--help"])
    told = capsys.readouterr().out
    found: dict[str, Any] = {}
    for words in ([*SHORT], ["--sessions", "1", *SHORT], ["--text", text]):
        assert main(["benchmark", str(tiny_model), *words, "--json"]) == 0
        found |= json.loads(capsys.readouterr().out)
    for key in ("prefill_tok_s", "logits_hash", "rows", "rss_limit_bytes", *found["rows"][0]):
        assert key in found or key in found["rows"][0]
        assert key in told, key


def test_more_threads_than_the_engine_has_are_refused_with_its_most(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", str(tiny_model), "--threads", "257"]) == 1
    assert "257 threads are not possible: give 1 to 256" in capsys.readouterr().err
    assert main(["benchmark", str(tiny_model), "--threads", "256", "--repeat", "1"]) == 0


def test_a_place_where_no_model_can_be_made_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a file"
    file.write_bytes(b"")
    assert main(["benchmark", str(file / "random"), "--synthetic", "135m", "--layers", "1"]) == 1
    said = capsys.readouterr().err
    assert "Errno" not in said and str(file / "random") in said and said.endswith(".\n")
