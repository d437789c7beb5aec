"""Training on the command line: what it says at its end, the list of trainings, and what was set aside."""

import json
from pathlib import Path

import pytest
from reference.converted import write_converted

from bitconverter.cli.main import main


@pytest.fixture(scope="module")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli-train") / "小さい model"
    write_converted(tiny_model, folder, 2, seed=3)
    return folder


@pytest.fixture
def train(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """train(name, words...): the streams of `bitconverter train`; the list of trainings is the test's own."""
    monkeypatch.setenv("BITCONVERTER_HOME", str(tmp_path / "home"))
    lesson = tmp_path / "lesson.txt"
    lesson.write_text("a" * 800, encoding="utf-8")
    usual = ["--layers", "2", "--batch", "4", "--window", "24", "--threads", "1"]

    def run(name: str, *words: str) -> tuple[str, str]:
        assert main(["train", str(model), str(lesson), str(tmp_path / name), *usual, *words]) == 0
        streams = capsys.readouterr()
        return streams.out, streams.err

    return run


def test_questions_are_answered_and_the_general_text_is_told(train) -> None:
    out, err = train("a.soul", "--steps", "2", "--rate", "0.001", "--sample", "aa", "--sample", "bb", "--eco")
    assert "on a general text" in out and "it may rise by 0.2" in out and "chat" in out
    assert err.count("step 0: aa") == 1 and err.count(": bb") == 3


def test_what_is_set_aside_is_said_and_can_be_adopted(
    train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, err = train("魂.soul", "--steps", "20", "--rate", "0.2")
    assert "it has forgotten too much" in err and "set aside" in out
    assert f"bitconverter adopt {tmp_path / '魂.soul'}" in out.replace("'", "")
    assert main(["adopt", str(tmp_path / "魂.soul")]) == 0
    assert (tmp_path / "魂.soul").is_file() and "kept all the same" in capsys.readouterr().out
    assert main(["adopt", str(tmp_path / "魂.soul")]) == 1
    assert "nothing was set aside" in capsys.readouterr().err


def test_trainings_are_listed_and_compared(train, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0 and capsys.readouterr().out == "no trainings so far\n"
    train("a.soul", "--steps", "2", "--rate", "0.001")
    train("b.soul", "--steps", "3", "--rate", "0.002")
    assert main(["runs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["number", "2", "1"] and "a.soul" in lines[2]
    assert main(["runs", "--json"]) == 0
    newest, oldest = json.loads(capsys.readouterr().out)["runs"]
    assert (newest["id"], oldest["settings"]["steps"], oldest["outcome"]) == (2, 2, "done")
    assert main(["runs", "diff", "1", "2"]) == 0
    told = {
        line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines() if line[:1].strip()
    }
    assert told["rate"] == ["0.001", "0.002"] and told["steps"] == ["2", "3"] and "layers" not in told
    assert main(["runs", "diff", "1"]) == 2 and "two trainings" in capsys.readouterr().err
    assert main(["runs", "diff", "1", "9"]) == 1 and "There is no training 9" in capsys.readouterr().err
