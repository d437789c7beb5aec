"""--device on the command line: errors with numbers, what is printed, and a chat on an emulated card."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from cards import GB, Pretended, card
from reference.converted import write_converted

from bitconverter import engine
from bitconverter.cli import texts
from bitconverter.cli.chat import header
from bitconverter.cli.device_text import ran_on_briefly, reason, where
from bitconverter.cli.main import main
from bitconverter.cli.running import describe_note
from bitconverter.jobs.chat import LoadChatJob
from bitconverter.jobs.device_word import Device
from bitconverter.jobs.job import Cancel, Finished, run_job
from bitconverter.jobs.placement import Placed
from bitconverter.store.ran_on import RanOn

ROOT = Path(__file__).parents[2]
EMULATED = ROOT / "native" / "build-test" / "libcuda_emulated.so"  # made with the C tests
SHORT = ["--prompt-tokens", "8", "--new-tokens", "2", "--repeat", "1", "--threads", "1"]
Pretend = Callable[..., Pretended]


@pytest.fixture(scope="module")
def small(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model at 2 planes with a chat template."""
    folder = tmp_path_factory.mktemp("device") / "small"
    write_converted(tiny_model, folder, 2, seed=3)
    template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ["benchmark", "{small}", "--device", "cuda:0"],
        ["benchmark", "{small}", "--full", "--device", "cuda:0"],
        ["benchmark", "{small}", "--sessions", "1,2", "--device", "cuda:0"],
        ["evaluate", "{small}", "--text", "{text}", "--device", "cuda:0"],
        ["logits", "{small}", "--ids", "1,2", "--out", "{out}", "--device", "cuda:0"],
        ["chat", "{small}", "--prompt", "x", "--device", "cuda:0"],
    ],
)
def test_without_a_driver_a_card_is_one_sentence_and_1(
    words: list[str], small: Path, tmp_path: Path, no_cards: None, capsys: pytest.CaptureFixture[str]
) -> None:
    text, out = tmp_path / "t.txt", tmp_path / "o.npy"
    text.write_text("the quick brown fox", encoding="utf-8")
    assert main([word.format(small=small, text=text, out=out) for word in words]) == 1
    streams = capsys.readouterr()
    assert streams.out.strip() == "" and not out.exists()
    assert streams.err == (
        "bitconverter: cuda:0 cannot be used: this installation has no CUDA backend. "
        "Use --device cpu, or auto.\n"
    )


@pytest.mark.parametrize("words", [["--device", "gpu"], ["--gpu-memory", "much"], ["--sessions", "1,0"]])
def test_what_is_no_device_ends_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["benchmark", "m", *words])
    assert end.value.code == 2
    assert words[1] in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--device", "cpu", "--gpu-memory", "4GB"], ["--gpu-layers", "0"], ["--gpu-memory", "0"]]
)
def test_limits_without_a_meaning_are_refused(
    words: list[str], small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", str(small), *words]) == 1
    assert words[-2] in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["convert", "plan", "replay", "merge"])
def test_what_runs_on_the_processor_takes_no_device(verb: str) -> None:
    with pytest.raises(SystemExit) as end:
        main([verb, "a", "b", "c", "--device", "cpu"])
    assert end.value.code == 2


def test_where_the_steps_of_a_training_run_is_said() -> None:
    card_ = {
        "where": "cuda:0",
        "bytes": 3 * GB,
        "head": False,
        **Placed(device="NVIDIA A2", layers=4, all_layers=6).told(),
    }
    text = describe_note(
        "train-device", {**card_, "code": "train-some-layers", "needs": "5 GB", "room": "4 GB"}
    )
    assert "cuda:0 NVIDIA A2, the last 4 of 6 layers that learn (3 GB there)" in text and "5 GB" in text
    text = describe_note("train-device", {**card_, "code": "all-layers", "layers": 6, "head": True})
    assert text == "the steps run on cuda:0 NVIDIA A2, all 6 layers that learn and the head (3 GB there)"
    text = describe_note("train-device", {**card_, "where": "cpu", "code": "delta-needs-cpu"})
    assert text.startswith("the steps run on the processor (whole matrices that are added")
    text = describe_note("train-device", {**card_, "where": "cpu", "code": "asked-cpu"})
    assert text == "the steps run on the processor"


def test_that_a_training_goes_on_somewhere_else_is_said() -> None:
    here = asdict(RanOn("cpu", all_layers=6, before=10))
    there = asdict(RanOn("cuda:0", "NVIDIA A2", 4, 6, True, 10))
    text = describe_note("train-device-changed", {"before": here, "now": there})
    assert text == (
        "this training ran on the processor until now and goes on on cuda:0 NVIDIA A2 (4 of 6 layers that learn and "
        "the head, 10 of those before them): the last digits of its result will differ from those of a run without "
        "a break"
    )
    assert ran_on_briefly(RanOn("cuda:0", "NVIDIA A2", 4, 6)) == "NVIDIA A2 4/6"
    assert ran_on_briefly(RanOn("cuda:0", "NVIDIA A2", 6, 6)) == "NVIDIA A2"


def test_the_benchmark_says_on_what_it_ran(
    small: Path, pretend: Pretend, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = pretend(card())
    assert main(["benchmark", str(small), *SHORT, "--gpu-memory", "4GB", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["placed"]["where"] == "cuda:0" and result["placed"]["code"] == "all-layers"
    assert result["device_memory"]["used_bytes"] == 3 * GB and result["load_s"] > 0
    assert asked.params[0].memory_limit == 4 * GB
    assert main(["benchmark", str(small), *SHORT]) == 0
    out = capsys.readouterr().out
    assert "cuda:0 NVIDIA GeForce RTX 4070, all" in out and "at most 4 GB, of 12 GB" in out
    assert main(["benchmark", str(small), *SHORT, "--device", "cpu", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["placed"]["code"] == "asked-cpu" and result["device_memory"] is None


def test_many_texts_at_once_are_a_table(
    small: Path, pretend: Pretend, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(card())
    assert main(["benchmark", str(small), "--sessions", "1,4", "--new-tokens", "2", "--repeat", "1"]) == 0
    out = capsys.readouterr().out
    assert (
        "| decode, 1 sequence |" in out and "| decode, 4 sequences |" in out and "memory of the card" in out
    )
    assert "prefill" not in out


def test_evaluate_and_logits_say_it_too(
    small: Path, tmp_path: Path, pretend: Pretend, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "t.txt"
    text.write_text("the quick brown fox", encoding="utf-8")
    pretend(card(), layers=1)
    assert main(["evaluate", str(small), "--text", str(text), "--threads", "1"]) == 0
    assert "1 of " in (out := capsys.readouterr().out) and "all of it would take 4.00 GB" in out
    words = ["logits", str(small), "--ids", "1,2", "--out", str(tmp_path / "o.npy")]
    assert main(words) == 0 and "cuda" not in capsys.readouterr().out
    assert main([*words, "--device", "cuda"]) == 0 and "cuda:0" in capsys.readouterr().out


def test_the_header_of_a_chat_names_the_device(small: Path, pretend: Pretend) -> None:
    pretend(card(), layers=1)
    last = run_job(LoadChatJob(str(small), threads=1, device=Device("auto")), lambda _: None, Cancel())
    assert isinstance(last, Finished)
    text = header(last.result)
    last.result.close()
    assert text.startswith("small (llama, context ") and "on cuda:0 NVIDIA GeForce RTX 4070, 1 of " in text
    assert "the rest on the processor, " in text and "/reset" in text


def test_a_reason_is_told_before_the_answer(
    small: Path, pretend: Pretend, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(card(), error=engine.NoRoomError("no room", -2, 5 * GB, 2 * GB))
    assert main(["chat", str(small), "--prompt", "x", "--max-tokens", "2", "--threads", "1"]) == 0
    assert "not one layer fits on NVIDIA GeForce RTX 4070" in capsys.readouterr().err


@pytest.mark.parametrize("code", sorted(texts.DEVICE_WHY))
def test_every_reason_fills_its_sentence(code: str) -> None:
    placed = Placed(code=code, device="A card", kv="int4", why="it is so.")
    text = reason(code, placed.told())
    assert "{" not in text
    assert describe_note("device", {"code": code, **placed.told()}) == text
    assert where(placed, "avx2") == "the processor, avx2" + (f" ({text})" if text else "")


def test_the_devices_are_listed(
    pretend: Pretend, no_cards: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bitconverter.jobs.hardware.gpu_names", lambda: ("Old card",))
    assert main(["devices"]) == 0
    assert (
        "Old card: cannot be used, because this installation has no CUDA backend" in capsys.readouterr().out
    )
    monkeypatch.setattr("bitconverter.jobs.hardware.gpu_names", lambda: ())
    assert main(["devices"]) == 0
    out = capsys.readouterr().out
    assert "cpu " in out and "no graphics card can be used: this installation has no CUDA backend" in out
    pretend(card("NVIDIA A"), card("NVIDIA B"))
    assert main(["devices"]) == 0
    out = capsys.readouterr().out
    assert "cuda:1  NVIDIA B" in out and "8.9" in out and "13.0" in out and "no graphics card" not in out
    assert main(["devices", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cards"][1]["total_bytes"] == 12 * GB


def test_where_no_driver_is_found_the_program_says_so_and_runs_on_the_processor(
    small: Path, tmp_path: Path
) -> None:
    """The installed library itself, if there is one, in a process of its own."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "BC_CUDA_DRIVER": str(tmp_path / "no driver.so")}

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "bitconverter", *words]
        return subprocess.run(command, env=env, capture_output=True, encoding="utf-8", timeout=600)

    found = json.loads(run("devices", "--json").stdout)
    assert found["cards"] == [] and found["code"] in ("no-backend", "no-driver") and found["why"]
    refused = run("benchmark", str(small), *SHORT, "--device", "cuda:0")
    assert refused.returncode == 1 and refused.stdout == ""
    why = found["why"].rstrip(".")
    assert refused.stderr == f"bitconverter: cuda:0 cannot be used: {why}. Use --device cpu, or auto.\n"
    done = run("benchmark", str(small), *SHORT)
    assert done.returncode == 0 and f"the processor ({why})" in done.stdout


def test_a_chat_and_a_benchmark_run_on_an_emulated_card(small: Path) -> None:
    """In a process of its own: which driver there is is found out once."""
    if not EMULATED.exists():
        pytest.skip(f"the emulated driver is not built ({EMULATED.name}): python tools/dev.py ctest")
    if not (Path(engine.__file__).parent / "libbitconverter_cuda.so").exists():
        pytest.skip("this installation has no CUDA backend")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "BC_CUDA_DRIVER": str(EMULATED)}

    def said(*words: str) -> dict[str, object]:
        command = [sys.executable, "-m", "bitconverter", *words, "--device", "cuda:0", "--json"]
        done = subprocess.run(command, env=env, capture_output=True, encoding="utf-8", timeout=600)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    answer = said("chat", str(small), "--prompt", "hello", "--max-tokens", "4", "--temperature", "0")
    assert answer["tokens"] == 4 and answer["text"]
    result = said("benchmark", str(small), *SHORT)
    assert result["placed"]["where"] == "cuda:0"  # type: ignore[index]
    assert result["placed"]["code"] == "all-layers"  # type: ignore[index]
    assert 0 < result["device_memory"]["used_bytes"] <= result["device_memory"]["peak_bytes"]  # type: ignore[index]
