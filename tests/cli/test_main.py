"""The command line from the outside: status, output, JSON, Ctrl-C."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_folders import edit_config, write_bpe, write_gguf

from bitconverter import __version__
from bitconverter.cli import texts
from bitconverter.cli.arguments import PRESETS, build_parser, byte_count, fit
from bitconverter.cli.main import main
from bitconverter.cli.running import describe_note
from bitconverter.model import budget

VERBS = (
    "convert", "plan", "chat", "prepare", "train", "adopt", "replay", "runs", "merge", "evaluate", "inspect",
    "logits", "benchmark", "devices",
)  # fmt: skip
SRC = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def small(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model at 2 planes, by the command."""
    out = tmp_path_factory.mktemp("cli") / "小さい model 🙂"
    assert main(["convert", str(tiny_model), str(out), "--planes", "2", "--quiet"]) == 0
    return out


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog", encoding="utf-8")
    return path


def start(*words: str, **options: Any) -> "subprocess.Popen[str]":
    env = {**os.environ, "PYTHONPATH": str(SRC), **options.pop("env", {})}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen(
        [sys.executable, "-m", "bitconverter", *words], env=env, encoding="utf-8", **pipes
    )


def json_of(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main([*words, "--json"]) == 0
    out = capsys.readouterr().out
    assert out.isascii()
    assert out.count("\n") == 1
    return json.loads(out)


def test_help_names_every_verb_and_every_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    for word in (*VERBS, "130", "exit status"):
        assert word in out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example_that_parses(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main([verb, "--help"])
    assert end.value.code == 0
    examples = re.findall(rf"^  bitconverter {verb} (.*)$", capsys.readouterr().out, re.MULTILINE)
    assert examples
    for example in examples:
        words = re.findall(r'"[^"]*"|\S+', example.split("<")[0].split("   (")[0])
        build_parser().parse_args([verb, *(word.strip('"') for word in words)])


def test_devices_and_train_say_the_same_of_where_a_training_runs(capsys: pytest.CaptureFixture[str]) -> None:
    told = {}
    for verb in ("devices", "train"):
        with pytest.raises(SystemExit):
            main([verb, "--help"])
        told[verb] = " ".join(capsys.readouterr().out.split())
    assert "a training runs its steps on the card" in told["train"]
    assert "so can the steps of a training; conversion runs on the processor" in told["devices"]


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"bitconverter {__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["dance"],
        ["convert", "a"],
        ["convert", "a", "b", "--planes", "5"],
        ["evaluate", "m"],
        ["benchmark", "m", "--threads", "-1"],
    ],
)
def test_wrong_arguments_end_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_ids_that_are_no_numbers_end_with_2(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logits", str(tiny_model), "--ids", "1,x", "--out", "x.npy"]) == 2
    assert "1,x" in capsys.readouterr().err


def test_a_shape_for_a_model_that_is_not_made_ends_with_2(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", str(tiny_model), "--planes", "2"]) == 2
    assert "--synthetic" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["inspect", "no such model"],
        ["benchmark", "no such model"],
        ["chat", "no such model", "--prompt", "x"],
        ["convert", "no such model", "out"],
    ],
)
def test_a_failure_is_one_sentence_on_standard_error_and_1(
    words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.startswith("bitconverter: ")
    assert "no such model" in streams.err
    assert "Traceback" not in streams.err
    assert not list(tmp_path.iterdir())


def test_convert_tells_its_result_as_json(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    result = json_of(capsys, "convert", str(tiny_model), str(out), "--planes", "3", "--seed", "5")
    assert result["out"] == str(out)
    assert result["file_bytes"] == (out / "model.safetensors").stat().st_size
    assert 4.8 < result["bits_per_weight"] < 6
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert config["quantization_config"]["rotation"]["seed"] == 5
    assert main(["convert", str(tiny_model), str(out)]) == 1  # it is there already


def test_check_converts_nothing(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(tiny_model), str(tmp_path / "out"), "--check"]) == 0
    assert texts.PREFLIGHT_OK in capsys.readouterr().out
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    assert main(["convert", str(tmp_path / "broken"), str(tmp_path / "out"), "--check"]) == 1
    out = capsys.readouterr().out
    assert "error" in out
    assert texts.PREFLIGHT_BAD in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken"]


@pytest.mark.parametrize(
    "words",
    [
        "--calibration none.txt", "--calibration short.txt", "--calibration binary.txt", "--seed 99999999999999999999",
        "--method fast --calibration long.txt", "--method fast --polish 5", "--threads 100000",
        "--calibration-windows 0", "--calibration-windows 100000000", "--method diag --polish 1", "--polish 99999999",
        "--no-tokenizer --method full",
    ],
)  # fmt: skip
def test_a_check_refuses_what_the_conversion_would_in_the_same_words(
    words: str,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in (("short", b"abc"), ("binary", b"\xff\xfe\x00" * 2000), ("long", b"abc " * 2000)):
        Path(f"{name}.txt").write_bytes(content)
    shutil.copytree(tiny_model, "source")
    if words.startswith("--no-tokenizer"):
        Path("source", "tokenizer.json").unlink()
    convert = ["convert", "source", "out", "--no-report", "--quiet", *words.split()]
    assert main(convert) == 1
    why = capsys.readouterr().err.splitlines()[-1].removeprefix("bitconverter: ")
    assert main([*convert, "--check"]) == 1
    streams = capsys.readouterr()
    assert why in streams.out + streams.err and "Traceback" not in streams.err
    assert texts.PREFLIGHT_OK not in streams.out and not list(tmp_path.glob("out*"))


def test_a_check_takes_what_the_conversion_takes(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "long.txt").write_text("abc " * 2000, encoding="utf-8")
    words = ["--calibration", str(tmp_path / "long.txt"), "--calibration-windows", "2", "--polish", "0"]
    assert main(["convert", str(tiny_model), str(tmp_path / "out"), "--check", *words]) == 0
    assert texts.PREFLIGHT_OK in capsys.readouterr().out and not list(tmp_path.glob("out*"))


def test_a_result_without_a_tokenizer_is_not_offered_for_a_chat(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    shutil.copytree(tiny_model, source)
    words = [str(source), "--planes", "2", "--method", "fast", "--no-tokenizer"]
    assert main(["convert", words[0], str(tmp_path / "with"), *words[1:]]) == 0
    assert "bitconverter chat" in capsys.readouterr().out
    (source / "tokenizer.json").unlink()
    assert main(["convert", words[0], str(tmp_path / "without"), *words[1:]]) == 0
    out = capsys.readouterr().out
    assert "bitconverter chat" not in out and "bitconverter benchmark" in out


def test_a_check_is_of_the_report_too(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which unpacks a .gguf: where there is no room for that, the check says so as the conversion does."""
    path = tmp_path / "m.gguf"
    write_gguf(tiny_model, path, metadata=lambda writer: write_bpe(writer, size=149))
    monkeypatch.setattr("bitconverter.model.gguf_source.expanded_bytes", lambda *_: 10**18)
    words = ["convert", str(path), str(tmp_path / "out"), "--check"]
    assert main(words) == 0
    assert "will not be compared" in capsys.readouterr().out
    assert main([*words, "--no-report"]) == 0
    assert "will not be compared" not in capsys.readouterr().out


def test_evaluate_json_has_the_promised_keys(
    small: Path, tiny_model: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = json_of(capsys, "evaluate", str(small), "--text", str(text), "--reference", str(tiny_model))
    assert result["tokens"] == len(text.read_text(encoding="utf-8")) - 1
    assert result["perplexity"] > 1
    assert result["kl"] > 0
    assert 0 <= result["top1"] <= 1
    alone = json_of(capsys, "evaluate", str(small), "--text", str(text), "--max-tokens", "5")
    assert (alone["tokens"], alone["kl"], alone["top1"]) == (4, None, None)


def test_inspect_json_has_the_promised_keys(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = json_of(capsys, "inspect", str(small), "--verify")
    assert result["file_bytes"] == (small / "model.safetensors").stat().st_size
    assert result["bits_per_weight"] > 3.2
    assert {"name", "form", "n_planes", "shape", "bytes", "sha256"} <= set(result["tensors"][0])


def test_inspect_lists_tensors_unless_asked_for_the_summary(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(small)]) == 0
    long = capsys.readouterr().out
    assert main(["inspect", str(small), "--summary"]) == 0
    short = capsys.readouterr().out
    assert "model.layers.1.mlp.down_proj.weight" in long
    assert "2 planes" in long
    assert long.endswith(short.lstrip())
    assert "down_proj" not in short


def test_benchmark_json_has_the_promised_keys(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--prompt-tokens",
        "8",
        "--new-tokens",
        "2",
        "--repeat",
        "1",
        "--threads",
        "1",
        "--cpu-mask",
        "scalar",
    ]
    result = json_of(capsys, "benchmark", str(small), *words)
    for key in ("prefill_tok_s", "decode_tok_s", "load_s", "peak_rss_bytes"):
        assert result[key] > 0
    assert (result["threads"], result["isa"]) == (1, "scalar")
    assert main(["benchmark", str(small), *words]) == 0
    assert result["logits_hash"] in capsys.readouterr().out


def test_logits_writes_f32_rows(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "x.npy"
    assert main(["logits", str(small), "--ids", "3, 1,4", "--out", str(out)]) == 0
    values = np.load(out)
    assert values.dtype == np.float32
    assert values.shape == (3, 149)
    assert "[3, 149]" in capsys.readouterr().out


def test_one_answer_is_streamed_and_the_same_seed_gives_it_again(
    smollm2: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "chat",
        str(smollm2),
        "--prompt",
        "Say hello.",
        "--max-tokens",
        "8",
        "--seed",
        "3",
        "--system",
        "Be brief.",
    ]
    assert main(words) == 0
    streams = capsys.readouterr()
    assert streams.out.strip()
    assert "tok/s" in streams.err
    again = json_of(capsys, *words)
    assert again["text"].strip() == streams.out.strip()
    assert again["seed"] == 3


def test_the_chat_template_can_be_chosen(
    smollm2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["chat", str(smollm2), "--prompt", "Hi", "--max-tokens", "4", "--temperature", "0", "--template"]
    mine = tmp_path / "mine.jinja"
    mine.write_text("{{ messages[-1].content }}", encoding="utf-8")
    counts = [json_of(capsys, *words, template)["prompt_tokens"] for template in ("", "plain", str(mine))]
    assert len(set(counts)) == 3 and counts[2] <= 2
    assert main([*words, "no such template"]) == 1
    assert "chatml, llama-3" in capsys.readouterr().err


def test_every_line_of_standard_input_is_a_message(
    smollm2: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    lines = "My name is Ada.\n\n/reset\n/dance\nWhat is 2+2?\n/quit\nnever asked\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    assert main(["chat", str(smollm2), "--max-tokens", "4", "--temperature", "0"]) == 0
    streams = capsys.readouterr()
    assert streams.err.count("tok/s") == 2
    assert texts.CHAT_RESET in streams.err
    assert "/dance" in streams.err


def test_a_conversation_goes_on_in_short(
    smollm2: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    lines = "/summary\nMy name is Ada.\n/summary\nWhat is my name?\nAnd yours?\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    words = ["chat", str(smollm2), "--max-tokens", "4", "--temperature", "0", "--context", "1024", "--json"]
    assert main(words) == 0
    streams = capsys.readouterr()
    assert streams.err.count(texts.CHAT_NOTHING) == 1 and streams.err.count(texts.CHAT_SUMMARISED) == 1
    short = streams.err[
        streams.err.index("Our conversation so far") : streams.err.index(texts.CHAT_SUMMARISED)
    ]
    assert "User: My name is Ada." in short
    first, second, third = (json.loads(line)["prompt_tokens"] for line in streams.out.splitlines())
    with_short = (
        second - first
    )  # the summary went along with the question behind it, and stays before the next
    assert with_short > 30 and second < third < second + with_short


def test_every_answer_to_a_line_is_one_json_object(
    small: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n/reset\ntwo\n"))
    words = ["chat", str(small), "--template", "plain", "--max-tokens", "3", "--temperature", "0", "--json"]
    assert main(words) == 0
    streams = capsys.readouterr()
    answers = [json.loads(line) for line in streams.out.splitlines()]
    assert [answer["tokens"] for answer in answers] == [3, 3] and "text" in answers[0]
    assert "tok/s" not in streams.err and texts.CHAT_RESET in streams.err


def test_a_closed_standard_input_is_an_empty_one(
    small: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # what Python makes of a descriptor that is closed
    words = ["chat", str(small), "--template", "plain", "--max-tokens", "2"]
    assert main(words) == 0
    monkeypatch.setattr(sys, "stdin", None)
    assert main([*words, "--prompt", "-", "--quiet"]) == 0
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["chat", "evaluate", "benchmark", "logits"])
def test_a_folder_with_only_a_gguf_file_in_it_is_told_so(
    verb: str, tmp_path: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "downloaded"
    folder.mkdir()
    (folder / "model.Q4_K_M.gguf").write_bytes(b"GGUF")
    more = {
        "chat": ["-p", "Hi"],
        "evaluate": ["--text", str(text)],
        "logits": ["--ids", "1", "--out", "z.npy"],
    }
    assert main([verb, str(folder), *more.get(verb, [])]) == 1
    assert "For a GGUF model choose the file itself: model.Q4_K_M.gguf" in capsys.readouterr().err


def test_the_current_folder_is_called_by_its_name(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "モデル"
    shutil.copytree(tiny_model, folder)
    monkeypatch.chdir(folder)
    assert main(["chat", ".", "--prompt", "Hi"]) == 1
    assert "モデル has no chat template" in capsys.readouterr().err
    (folder / "tokenizer.json").unlink()
    assert main(["chat", ".", "--prompt", "Hi"]) == 1
    assert "モデル has no tokenizer.json" in capsys.readouterr().err


def test_a_terminal_without_the_characters_gets_question_marks(small: Path) -> None:
    process = start("inspect", str(small), "--summary", env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "??? model ?" in out


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to one process on Windows")
def test_ctrl_c_stops_with_130(small: Path) -> None:
    master, slave = os.openpty()  # on a terminal the first progress line comes at once
    words = ["--prompt-tokens", "64", "--new-tokens", "32", "--repeat", "1000000"]
    process = start("benchmark", str(small), *words, stderr=slave)
    os.close(slave)
    seen = b""
    while b" runs" not in seen:
        seen += os.read(master, 1000)
    process.send_signal(signal.SIGINT)
    assert process.stdout
    assert process.stdin
    assert process.stdout.read() == ""
    assert process.wait() == 130
    process.stdout.close()
    process.stdin.close()
    seen = os.read(master, 10000)
    os.close(master)
    assert texts.STOPPED.encode() in seen
    assert b"Traceback" not in seen


def test_train_and_merge(small: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text.write_text("the quick brown fox jumps over the lazy dog. " * 20, encoding="utf-8")
    soul, out = tmp_path / "a b.soul", tmp_path / "merged"
    words = ["train", str(small), str(text), str(soul), "--layers", "1", "--steps", "6", "--batch", "4"]
    assert main([*words, "--window", "24", "--rate", "0.03"]) == 0
    printed = capsys.readouterr()
    assert f"bitconverter chat {shlex.quote(str(small))} --soul {shlex.quote(str(soul))}" in printed.out
    assert "step 6:" in printed.err and "are held back" in printed.err
    result = json_of(capsys, "merge", str(small), str(soul), str(out))
    assert result["matrices"] == 7
    assert main(["inspect", str(out), "--verify", "--summary", "--quiet"]) == 0
    assert main(["train", str(small), str(text), str(tmp_path / "b.soul"), "--steps", "0"]) == 1
    assert "steps is 0" in capsys.readouterr().err
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "\n".join(f'{{"prompt": "number {n}", "answer": "o"}}' for n in range(9)), encoding="utf-8"
    )
    labels = [
        "train",
        str(small),
        str(rows),
        str(tmp_path / "c.soul"),
        "--layers",
        "1",
        "--steps",
        "2",
        "--labels",
        "o",
        "e",
    ]
    assert json_of(capsys, *labels)["learned_tokens"] == 2 * 16


def test_train_by_forward_passes_and_replay(
    small: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text.write_text("the quick brown fox jumps over the lazy dog. " * 20, encoding="utf-8")
    soul, again = tmp_path / "a.soul", tmp_path / "b.soul"
    words = ["train", str(small), str(text), str(soul), "--layers", "1", "--steps", "4", "--batch", "4"]
    assert main([*words, "--window", "24", "--engine", "mezo", "--directions", "2"]) == 0
    assert f"{soul}.steps" in capsys.readouterr().out
    result = json_of(capsys, "replay", str(small), f"{soul}.steps", str(again))
    assert result["steps"] == 4 and again.read_bytes() == soul.read_bytes()


def every_verb(small: Path, tiny_model: Path, text: Path, tmp_path: Path) -> dict[str, list[str]]:
    return {
        "convert": ["convert", str(tiny_model), str(tmp_path / "full")],
        "check": ["convert", str(tiny_model), str(tmp_path / "full"), "--check"],
        "chat": ["chat", str(tiny_model), "--max-tokens", "3", "--prompt", "x"],
        "evaluate": ["evaluate", str(small), "--text", str(text)],
        "inspect": ["inspect", str(small)],
        "logits": ["logits", str(small), "--ids", "1", "--out", str(tmp_path / "x.npy")],
        "benchmark": ["benchmark", str(small), "--prompt-tokens", "8", "--new-tokens", "1", "--repeat", "1"],
        "help": ["--help"],
    }


def ended_without_a_story(process: "subprocess.Popen[str]") -> None:
    assert process.stdin
    assert process.stderr
    process.stdin.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 1, err
    assert "Traceback" not in err and "Exception ignored" not in err
    assert "the output cannot be written" in err.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def chatty(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a chat template."""
    folder = tmp_path_factory.mktemp("chatty") / "m"
    shutil.copytree(tiny_model, folder)
    (folder / "chat_template.jinja").write_text("{{ messages[-1].content }}", encoding="utf-8")
    return folder


VERB_LINES = ("convert", "check", "chat", "evaluate", "inspect", "logits", "benchmark", "help")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("verb", VERB_LINES)
def test_a_full_disk_under_the_output_is_one_sentence_and_1(
    verb: str, small: Path, chatty: Path, text: Path, tmp_path: Path
) -> None:
    words = every_verb(small, chatty, text, tmp_path)[verb]
    with open("/dev/full", "w", encoding="utf-8") as full:
        process = start(*words, stdout=full)
    ended_without_a_story(process)


@pytest.mark.skipif(os.name == "nt", reason="a closed pipe is another error there")
@pytest.mark.parametrize("verb", VERB_LINES)
def test_a_closed_pipe_is_one_sentence_and_1(
    verb: str, small: Path, chatty: Path, text: Path, tmp_path: Path
) -> None:
    process = start(*every_verb(small, chatty, text, tmp_path)[verb])
    assert process.stdout
    process.stdout.close()
    ended_without_a_story(process)


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to one process on Windows")
@pytest.mark.parametrize("module", ["argparse", "numpy", "tokenizers", "bitconverter.cli.model_verbs"])
def test_ctrl_c_while_modules_are_loaded_ends_with_130_and_silence(module: str, tmp_path: Path) -> None:
    """The signal comes in the import of `module`, from a finder that is asked first."""
    code = f"""
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits it ignored
sys.modules.pop({module!r}, None)
class Finder:
    def find_spec(name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
from bitconverter.cli import main
sys.meta_path.insert(0, Finder)
sys.exit(main.main(["inspect", "none"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SRC)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_every_note_of_a_chat_has_a_sentence() -> None:
    assert "--max-tokens" in describe_note("no-end-token", {})
    assert "<|im_end|>" in describe_note("template-no-end", {"mark": "<|im_end|>"})


def test_notes_have_sentences_and_unknown_ones_show_their_fields() -> None:
    assert describe_note("resumed", {"tensors": 7}) == texts.NOTES["resumed"].format(tensors=7)
    assert describe_note("new-thing", {"a": 1}) == "new-thing a=1"


def test_the_command_line_needs_no_window_toolkit() -> None:
    modules = ("chat", "benchmark_verbs", "convert_verbs", "model_verbs", "training_verbs")
    imported = "; ".join(f"import bitconverter.cli.{module}" for module in modules)
    code = f"import sys; {imported}; print('PySide6' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=SRC, check=True)
    assert done.stdout == "False\n"


def test_a_calibrated_conversion_by_bits(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("Calibrate on this sentence, please. " * 60, encoding="utf-8")
    out = tmp_path / "out"
    options = ("--method", "full", "--bits", "3.5", "--calibration", str(text), "--calibration-windows", "2")
    result = json_of(capsys, "convert", str(tiny_model), str(out), *options)
    assert 2 < result["bits_per_weight"] <= 3.5
    parameters = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["parameters"]
    assert (parameters["method"], parameters["bits"]) == ("full", 3.5)
    assert parameters["calibration"]["files"] == ["text.txt"]


def test_a_size_beyond_all_planes_is_said_with_and_without_check(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["--bits", "9"], ["--size", "3GB"]):
        words = [
            "convert",
            str(tiny_model),
            str(tmp_path / words[1]),
            "--method",
            "fast",
            "--no-report",
            *words,
        ]
        assert main([*words, "--check"]) == 0
        assert "cannot be used up" in capsys.readouterr().out
        assert main(words) == 0
        assert "cannot be used up" in capsys.readouterr().err
    words = ["convert", str(tiny_model), str(tmp_path / "inf"), "--method", "fast", "--no-report"]
    assert main([*words, "--bits", "inf"]) == 0 and "cannot be used up" in capsys.readouterr().err
    assert "Infinity" not in (tmp_path / "inf" / "manifest.json").read_text(encoding="utf-8")
    assert main(["convert", str(tiny_model), str(tmp_path / "x"), "--bits", "nan"]) == 1
    assert "nan is no number of bits" in capsys.readouterr().err


def test_planes_and_bits_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["convert", "a", "b", "--planes", "3", "--bits", "3"])
    assert ended.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def test_inspect_says_that_a_model_cannot_run_here_and_why(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "m"
    shutil.copytree(tiny_model, folder)
    edit_config(folder, model_type="gemma2")
    assert main(["inspect", str(folder), "--summary"]) == 0
    shown = capsys.readouterr().out
    assert "cannot run here" in shown and "gemma2" in shown
    assert "gemma2" in json_of(capsys, "inspect", str(folder))["unsupported"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("3.4GB", 3_400_000_000), ("900 mb", 900_000_000), ("4GiB", 2**32), ("12345", 12345)],
)
def test_sizes_of_people_are_bytes(text: str, expected: int) -> None:
    assert byte_count(text) == expected


@pytest.mark.parametrize("words", [["--size", "big"], ["--fit", "ctx=4"], ["--fit", "vram=4GB,kv=int3"]])
def test_sizes_that_are_none_end_with_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["convert", "a", "b", *words])
    assert ended.value.code == 2


def test_the_parts_of_a_fit() -> None:
    assert fit("vram=4GB") == (4 * 10**9, 4096, "f16")
    assert fit("vram=6GiB,ctx=8192,kv=int8") == (6 * 2**30, 8192, "int8")


def test_presets_are_those_of_the_program() -> None:
    assert set(PRESETS) == set(budget.PRESETS)


def test_prepare_names_bad_rows_and_train_takes_the_pack(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [json.dumps({"prompt": f"{k}?", "answer": f"{k}."}) for k in range(20)]
    Path("rows.jsonl").write_text("\n".join([*rows, "{"]), encoding="utf-8")
    words = ["prepare", str(small), "rows.jsonl", "rows.u32"]
    assert main([*words, "--preview", "2"]) == 0
    shown = capsys.readouterr()
    assert (
        "--- rows.jsonl, line 2:" in shown.out
        and "1?\u00ab1." in shown.out
        and "nothing was written" in shown.out
    )
    assert "rows.jsonl, line 21: it is not JSON" in shown.err
    assert not Path("rows.u32").exists()
    result = json_of(capsys, *words)
    assert (result["rows"], result["used"], result["rejected"]) == (21, 20, 1)
    assert result["problems"][0]["code"] == "not-json" and Path("rows.rejected.jsonl").is_file()
    trained = json_of(capsys, "train", str(small), "rows.u32", "a.soul", "--layers", "1", "--steps", "3")
    assert trained["steps"] == 3 and Path("a.soul").is_file()
    assert main([*words]) == 1
    assert "rows.u32 is there already" in capsys.readouterr().err


def test_prepare_does_not_send_one_example_to_train(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for count, said in ((1, "at least 2 examples"), (2, "use it:  bitconverter train")):
        rows = tmp_path / f"{count}.jsonl"
        lines = [json.dumps({"prompt": f"{k}?", "answer": f"{k}."}) for k in range(count)]
        rows.write_text("\n".join(lines), encoding="utf-8")
        assert main(["prepare", str(small), str(rows), str(rows.with_suffix(".u32"))]) == 0
        assert said in capsys.readouterr().out


def test_what_prepare_recommends_works(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def said(model: Path, tokens: int, *words: str) -> list[str]:
        Path("a.txt").write_text("a" * tokens, encoding="utf-8")
        Path("a.u32").unlink(missing_ok=True)
        assert main(["prepare", str(model), "a.txt", "a.u32", *words]) == 0
        return capsys.readouterr().out.splitlines()

    def train(command: str) -> int:
        words = shlex.split(command)[1:]
        words[words.index("NAME.soul")] = "n.soul"
        Path("n.soul").unlink(missing_ok=True)
        status = main([*words, "--layers", "1", "--steps", "1", "--forget-limit", "0"])
        capsys.readouterr()
        return status

    for tokens in (48, 20):
        assert "this gives 1 of at most 48 tokens" in said(small, tokens, "--window", "48")[-1]
    enough = said(small, 200, "--window", "48")[-1]
    assert enough.startswith("use it:  ") and enough.endswith(" --window 48")
    assert train(enough.removeprefix("use it:")) == 0
    Path("facts.txt").write_text(
        "the lamp burned whale oil until 1902. its keeper has a cat.", encoding="utf-8"
    )
    assert main(["prepare", str(small), "facts.txt", "a2.u32", "--facts"]) == 0
    facts = capsys.readouterr().out.splitlines()
    assert "requests for what they say" in facts[-2] and "--adapter delta" in facts[-1]
    assert train(facts[-1].removeprefix("use it:")) == 0
    none_held = said(small, 200, "--window", "48", "--held", "0")
    assert " 0 of " in none_held[-3] and "holds back some all the same" in none_held[-2]
    assert "all the same" not in "".join(said(small, 200, "--window", "48"))
    dense = tmp_path / "dense"
    shutil.copytree(small, dense)
    config = json.loads((dense / "config.json").read_text(encoding="utf-8"))
    del config["quantization_config"]
    (dense / "config.json").write_text(json.dumps(config), encoding="utf-8")
    lines = said(dense, 200, "--window", "48")
    assert "only converted models are trained" in lines[-3] and "bitconverter convert " in lines[-2]
    assert train(lines[-1].strip().replace("SMALL", shlex.quote(str(small)))) == 0
