"""What checks a graphics card: that it runs its steps, stops them in time and says truly how each ended."""

import sys
from pathlib import Path

import check_card
import measure_gpu
import measure_gpu_training
import pytest
from check_card import ROOT, Step

DRIVER = ROOT / "native" / "build-test" / "libcuda_emulated.so"  # made with the C tests


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    if not DRIVER.exists():
        pytest.skip("the C tests are not built here, and the emulated card is one of them")
    monkeypatch.setenv("BC_CUDA_DRIVER", str(DRIVER))


def script(name: str, text: str) -> Step:
    return Step(name, [sys.executable, "-c", text], 60)


@pytest.mark.parametrize(
    ("text", "seconds", "ended", "failed"),
    [
        ("print('seen')", 60, "passed", False),
        ("print('seen'); raise SystemExit(3)", 60, "FAILED, 3", True),
        ("import time; print('seen', flush=True); time.sleep(600)", 3, "stopped after 3 s", False),
    ],
)
def test_a_step_tells_how_it_ended_and_keeps_what_it_printed(
    tmp_path: Path, text: str, seconds: float, ended: str, failed: bool
) -> None:
    step = script("step", text)
    step.run(tmp_path, seconds)
    assert (step.ended, step.failed) == (ended, failed) and step.took > 0
    assert (tmp_path / "step.txt").read_text(encoding="utf-8").strip() == "seen"


def test_a_program_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    step = Step("step", [tmp_path / "nothing"], 60)
    step.run(tmp_path, 60)
    assert step.failed and step.ended.startswith("could not be started")


def test_a_step_finds_the_tools_of_its_own_checkout(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "measure_gpu.py").write_text("print('the other')", encoding="utf-8")
    step = Step("before", [sys.executable, "-c", "import measure_gpu"], 60, tmp_path)
    step.run(tmp_path, 60)
    assert (tmp_path / "before.txt").read_text(encoding="utf-8") == "the other\n"


def test_what_no_time_is_left_for_is_left_out_and_a_failure_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = [script("first", "raise SystemExit(1)"), script("second", "pass"), script("third", "pass")]
    monkeypatch.setattr(check_card, "card", lambda: "A card")
    monkeypatch.setattr(check_card, "steps_for", lambda words, models: steps)
    check_card.check(check_card.parse(["--out", str(tmp_path), "--only", "first", "second"]))
    assert [step.ended for step in steps] == ["FAILED, 1", "passed", "left out: no time"]
    assert "A card" in capsys.readouterr().out
    check_card.check(check_card.parse(["--out", str(tmp_path / "none"), "--seconds", "1", "--only", "third"]))
    assert "| third | left out: no time | 0 |" in (tmp_path / "none" / "report.md").read_text(
        encoding="utf-8"
    )
    assert not (tmp_path / "none" / "third.txt").exists()


def test_every_command_is_one_that_its_tool_understands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_card.shutil, "which", lambda name: f"/usr/bin/{name}")
    words = ["--before", str(tmp_path), "--model", str(tmp_path), "--text", "words.txt", "--layers", "3"]
    steps = check_card.steps_for(check_card.parse(words), tmp_path)
    names = [step.name for step in steps]
    speeds = ["speed", "before", "speed-2", "before-2"]
    assert names == [
        "operations",
        "products",
        "tests",
        *speeds,
        "limit",
        "real",
        *check_card.SANITIZERS,
        "training",
    ]
    for step in steps:
        tool, *told = [str(word) for word in step.command[1:]]
        if tool.endswith("measure_gpu.py"):
            understood = measure_gpu.parse(told)
            assert step.name == "real" or (understood.synthetic, understood.layers) == ("8b", 3)
        elif tool.endswith("measure_gpu_training.py"):
            trained = measure_gpu_training.parse(told)
            assert (trained.synthetic, trained.model_layers, trained.layers) == ("8b", 3, 2)
    assert [step.folder == tmp_path for step in steps] == ["before" in step.name for step in steps]


def test_the_tests_of_cards_are_found() -> None:
    found = {Path(file).name for file in check_card.tests_of_cards()}
    assert {"test_gpu.py", "test_gpu_check.py", "test_tower_check.py", "test_measure_gpu.py"} <= found
    assert "test_check_card.py" not in found and "test_golden.py" not in found


def test_without_a_card_there_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BC_CUDA_DRIVER", str(tmp_path / "nothing.so"))
    with pytest.raises(SystemExit, match="There is nothing to check: "):
        check_card.check(check_card.parse(["--out", str(tmp_path / "out")]))
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("emulated")
def test_operations_and_tests_on_an_emulated_card(tmp_path: Path) -> None:
    words = [
        "--out",
        str(tmp_path),
        "--only",
        "operations",
        "tests",
        "--tests",
        "tests/tools/test_measure_gpu.py",
    ]
    steps = check_card.check(check_card.parse([*words, "--scratch", str(tmp_path)]))
    tried = [step for step in steps if step.name in ("operations", "tests")]
    assert [step.ended for step in tried] == ["passed", "passed"]
    assert "1 passed" in (tmp_path / "tests.txt").read_text(encoding="utf-8")
    assert "Emulated graphics card" in (tmp_path / "report.md").read_text(encoding="utf-8")
