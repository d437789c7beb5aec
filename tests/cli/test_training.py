"""Training on the command line: what it says at its end, the list of trainings, and what was set aside."""

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from reference.converted import write_converted

from bitconverter import paths
from bitconverter.cli.main import main
from bitconverter.engine import Cancel
from bitconverter.jobs.job import Finished, Metric, Stopped, run_job
from bitconverter.jobs.pins import PinJob
from bitconverter.jobs.train import TrainJob
from bitconverter.jobs.train_run import TrainRun


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
    def listed() -> list[tuple[str, str]]:
        assert main(["runs", "--json"]) == 0
        return [(run["outcome"], run["soul"]) for run in json.loads(capsys.readouterr().out)["runs"]]

    for _ in range(2):  # the first one's file goes away, and adopting the second's does not bring it back
        (tmp_path / "魂.soul.aside").unlink(missing_ok=True)
        out, err = train("魂.soul", "--steps", "20", "--rate", "0.2")
    assert "it has forgotten too much" in err and "set aside" in out
    assert f"bitconverter adopt {tmp_path / '魂.soul'}" in out.replace("'", "")
    aside = ("aside", str(tmp_path / "魂.soul.aside"))
    assert listed() == [aside, aside]
    assert main(["adopt", str(tmp_path / "魂.soul")]) == 0
    assert (tmp_path / "魂.soul").is_file() and "kept all the same" in capsys.readouterr().out
    assert main(["adopt", str(tmp_path / "魂.soul")]) == 1
    assert "nothing was set aside" in capsys.readouterr().err
    assert listed() == [("done", str(tmp_path / "魂.soul")), aside]


def test_a_soul_is_adopted_where_the_list_of_trainings_cannot_be_told(
    train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.soul.aside").write_bytes(b"soul")
    train("b.soul", "--steps", "2", "--rate", "0.001")
    with closing(sqlite3.connect(paths.runs_file())) as file:
        file.execute("PRAGMA user_version = 99")
    assert main(["adopt", str(tmp_path / "a.soul")]) == 0
    streams = capsys.readouterr()
    assert (tmp_path / "a.soul").is_file() and "kept all the same" in streams.out
    assert "still lists it as set aside" in streams.err and "newer" in streams.err


def test_trainings_are_listed_and_compared(train, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0 and capsys.readouterr().out == "no trainings so far\n"
    train("a.soul", "--steps", "2", "--rate", "0.001")
    train("b.soul", "--steps", "3", "--rate", "0.002")
    assert main(["runs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["number", "2", "1"] and "a.soul" in lines[2]
    assert lines[0].split()[5] == "on" and " cpu " in lines[1] and " cpu " in lines[2]
    assert main(["runs", "--json"]) == 0
    newest, oldest = json.loads(capsys.readouterr().out)["runs"]
    assert (newest["id"], oldest["settings"]["steps"], oldest["outcome"]) == (2, 2, "done")
    assert main(["runs", "diff", "1", "2"]) == 0
    told = {
        line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines() if line[:1].strip()
    }
    assert told["rate"] == ["0.001", "0.002"] and told["steps"] == ["2", "3"] and "layers" not in told
    assert told["on"] == ["cpu", "cpu"]
    assert main(["runs", "diff", "1", "2"]) == 0 and capsys.readouterr().out.count("steps") == 1
    assert main(["runs", "diff", "1"]) == 2 and "two trainings" in capsys.readouterr().err
    assert main(["runs", "diff", "1", "9"]) == 1 and "There is no training 9" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, said",
    [
        (["--objective", "accuracy"], "--objective belongs to --engine mezo and does nothing with --engine exact"),
        (["--epsilon", "0.1"], "--epsilon belongs to --engine mezo"),
        (["--directions", "8"], "--directions belongs to --engine mezo"),
        (["--one-sided"], "--one-sided belongs to --engine mezo"),
        (["--by-spread"], "--by-spread belongs to --engine mezo"),
        (["--decay", "0.1", "--engine", "mezo"], "--decay belongs to --engine exact"),
        (["--rank", "64"], "--rank belongs to --adapter lora and does nothing with --adapter gain"),
        (["--targets", "k", "--adapter", "delta"], "--targets belongs to --adapter lora"),
    ],
)  # fmt: skip
def test_options_that_would_do_nothing_are_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    for more in ([], ["--check"]):
        assert main(["train", str(model), "lesson.txt", str(tmp_path / "a.soul"), *words, *more]) == 2
        assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_is_usual_stays_what_it_is(train, tmp_path: Path) -> None:
    for name, words in (
        ("a", ["--objective", "loss"]), ("b", ["--engine", "mezo", "--directions", "2"]),
        ("c", ["--adapter", "lora", "--targets", "q"]),
    ):  # fmt: skip
        train(f"{name}.soul", "--steps", "1", *words, "--forget-limit", "0")
    with closing(sqlite3.connect(paths.runs_file())) as file:
        told = [json.loads(text) for (text,) in file.execute("SELECT settings FROM run ORDER BY id")]
    assert [(run["objective"], run["directions"], run["decay"], run["rank"], run["targets"]) for run in told] == [
        ("loss", 1, 0.0, 8, ["q", "v"]), ("loss", 2, 0.0, 8, ["q", "v"]), ("loss", 1, 0.0, 8, ["q"]),
    ]  # fmt: skip


def test_a_state_is_pinned_gone_on_from_and_let_go(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BITCONVERTER_HOME", str(tmp_path / "home"))
    (tmp_path / "lesson.txt").write_text("a" * 800, encoding="utf-8")
    job, cancel = TrainJob(
        str(model), str(tmp_path / "lesson.txt"), str(tmp_path / "魂.soul"), layers=2, steps=20, batch=4, window=24,
        rate=0.001, history=str(paths.runs_file()),
    ), Cancel()  # fmt: skip

    def stop(event: object) -> None:
        if isinstance(event, Metric) and event.name == "loss" and event.step == 6:
            cancel.request()

    assert isinstance(run_job(job, stop, cancel), Stopped)

    def said(*words: str) -> tuple[int, str, str]:
        status = main(["runs", *words])
        streams = capsys.readouterr()
        return status, streams.out, streams.err

    for words in (("pin",), ("unpin", "1"), ("go-on", "1", "6")):
        assert said(*words)[0] == 2 and words[0]
    assert said("pin", "2")[2].count("There is no training 2") == 1
    assert said("pin", "1", "5")[0] == 1
    status, out, _ = said("pin", "1")
    assert status == 0 and out == f"the state after step 6 is pinned in {job.out}.pinned/step-00000006\n"
    assert said()[1].splitlines()[1].split()[-2:] == ["6", job.out]
    new = str(tmp_path / "new.soul")
    status, out, err = said("go-on", "1", "6", "--out", new, "--steps", "9", "--rate", "0.002")
    assert status == 0 and "going on from the pinned state after step 6" in err and new in out
    assert json.loads(said("--json")[1])["runs"][0]["settings"]["begin"].endswith("step-00000006")
    assert said("go-on", "1", "6", "--out", new)[0] == 1  # the name is taken
    assert said("unpin", "1", "6")[1] == "the state after step 6 is not pinned any more\n"
    assert said("unpin", "1", "6")[0] == 1 and "after step 6" in said("unpin", "1", "6")[2]
    assert said("go-on", "1", "6", "--out", str(tmp_path / "more.soul"))[0] == 1


def test_a_pinned_state_is_gone_on_from_in_another_folder(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the training was given relative paths."""
    monkeypatch.setenv("BITCONVERTER_HOME", str(tmp_path / "home"))
    (tmp_path / "lesson.txt").write_text("a" * 800, encoding="utf-8")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(model.parent)
    lesson = os.path.relpath(tmp_path / "lesson.txt")
    words = ["--layers", "1", "--steps", "4", "--batch", "4", "--window", "24", "--threads", "1"]
    soul = str(tmp_path / "a.soul")
    begun: list[Path] = []

    def pin(self: TrainRun, *args: object) -> dict[Path, bytes]:
        """While it is at work."""
        last = run_job(PinJob(soul, 2), lambda _: None, Cancel())
        assert isinstance(last, Finished)
        begun.append(Path(last.result.path))
        return real(self, *args)  # type: ignore[arg-type]

    real = TrainRun.files
    with monkeypatch.context() as patched:
        patched.setattr(TrainRun, "files", pin)
        assert main(["train", model.name, lesson, soul, *words, "--forget-limit", "0"]) == 0
    told = json.loads((begun[0] / "settings.json").read_text(encoding="utf-8"))
    assert told["model"] == str(model) and os.path.samefile(told["lesson"], tmp_path / "lesson.txt")
    monkeypatch.chdir(elsewhere)
    assert main(["runs", "go-on", "1", "2", "--out", "b.soul"]) == 0
    assert (elsewhere / "b.soul").read_bytes() == (tmp_path / "a.soul").read_bytes()


@pytest.mark.parametrize("packed", [False, True])
def test_a_check_tells_time_and_memory_and_trains_nothing(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    packed: bool,
) -> None:
    monkeypatch.setenv("BITCONVERTER_HOME", str(tmp_path / "home"))
    lesson = tmp_path / "lesson.txt"
    lesson.write_text("abcdefgh " * 400, encoding="utf-8")
    if packed:
        assert main(["prepare", str(model), str(lesson), str(tmp_path / "lesson.u32"), "--window", "24"]) == 0
        lesson = lesson.with_suffix(".u32")
        capsys.readouterr()
    words = ["--layers", "2", "--batch", "4", "--window", "24", "--threads", "1", "--steps", "50", "--check"]
    before = sorted(tmp_path.iterdir())
    assert main(["train", str(model), str(lesson), str(tmp_path / "no.soul"), *words]) == 0
    out = capsys.readouterr().out
    assert "50 steps: in all about" in out and "beside the model" in out and "windows to learn from" in out
    assert [path for path in sorted(tmp_path.iterdir()) if path not in before] == []
    assert main(["train", str(model), str(lesson), str(tmp_path / "no.soul"), *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["step"] > 0 and found["windows"] > 10 and found["layers"] == 2
    assert main(["runs"]) == 0 and "no.soul" not in capsys.readouterr().out


def _rows(*lines: str) -> str:
    return "\n".join([*(f'{{"prompt": "q{k}", "answer": "a{k}"}}' for k in range(30)), *lines])


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.txt", "", "empty.txt is empty"),
        ("zero.txt", "abc\n" * 99 + "a\0b\n", "zero.txt, line 100 holds a zero byte"),
        ("short.txt", "hi", "short.txt gives 0 window(s) of 24 tokens"),
        ("bad.jsonl", _rows('{"prompt": "x"}'), "bad.jsonl, line 31 cannot be learned: it has no answer."),
        ("table.csv", "prompt,answer\nq,a\nr,b\n", "table.csv cannot be learned as it is: it is a table."),
    ],
)
def test_a_check_refuses_what_the_training_would_in_the_same_words(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str, says: str
) -> None:
    lesson = tmp_path / name
    lesson.write_text(content, encoding="utf-8")
    words = ["train", str(model), str(lesson), str(tmp_path / "a.soul"), "--window", "24", "--layers", "1"]
    assert main([*words, "--check"]) == 1
    checked = capsys.readouterr().err
    assert says in checked
    assert main(words) == 1
    assert capsys.readouterr().err == checked


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        (["--layers", "99"], "99 layers cannot be trained"),
        (["--layers", "1", "--cores", "9999"], "Core 9999 cannot be used"),
    ],
)
def test_a_check_refuses_the_settings_that_the_training_would(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: list[str], says: str
) -> None:
    (tmp_path / "rows.jsonl").write_text(_rows(), encoding="utf-8")
    words = [
        "train",
        str(model),
        str(tmp_path / "rows.jsonl"),
        str(tmp_path / "a.soul"),
        "--window",
        "24",
        *setting,
    ]
    assert main([*words, "--check"]) == 1
    checked = capsys.readouterr().err
    assert says in checked
    assert main(words) == 1
    assert capsys.readouterr().err == checked


def test_a_check_looks_at_the_place_of_the_soul_as_the_training_does(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.jsonl").write_text(_rows(), encoding="utf-8")
    (tmp_path / "there.soul").touch()
    begun = tmp_path / "begun.soul.partial"
    begun.mkdir()
    (begun / "job.json").write_text('{"job": "TrainJob"}', encoding="utf-8")
    for name, says in (
        ("there.soul", "is there already"), ("noext", "Call it "), ("begun.soul", "holds unfinished work"),
    ):  # fmt: skip
        words = [
            "train", str(model), str(tmp_path / "rows.jsonl"), str(tmp_path / name), "--window", "24", "--layers", "1",
        ]  # fmt: skip
        assert main([*words, "--check"]) == 1
        checked = capsys.readouterr().err
        assert says in checked
        assert main(words) == 1
        assert capsys.readouterr().err == checked
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "begun.soul.partial",
        "rows.jsonl",
        "there.soul",
    ]


def test_a_check_takes_what_the_training_takes(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in {"page.html": "<p>abcdefgh</p> " * 100, "rows.jsonl": _rows()}.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
        words = [str(tmp_path / name), str(tmp_path / "a.soul"), "--window", "24", "--layers", "1", "--check"]
        assert main(["train", str(model), *words]) == 0
    assert "27 windows to learn from" in capsys.readouterr().out


def test_a_check_of_a_pack_for_another_model_names_the_pack(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.jsonl").write_text(_rows(), encoding="utf-8")
    pack = str(tmp_path / "rows.u32")
    assert main(["prepare", str(model), str(tmp_path / "rows.jsonl"), pack, "--window", "24"]) == 0
    other = tmp_path / "other"
    shutil.copytree(model, other)
    text = (other / "tokenizer.json").read_text(encoding="utf-8")
    (other / "tokenizer.json").write_text(text + "\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["train", str(other), pack, str(tmp_path / "a.soul"), "--check"]) == 1
    assert f"{pack} was prepared for a model with another tokenizer" in capsys.readouterr().err


def test_a_check_refuses_a_setting_that_the_training_refuses(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lesson.txt").write_text("abcdefgh " * 100, encoding="utf-8")
    words = [
        "train",
        str(model),
        str(tmp_path / "lesson.txt"),
        str(tmp_path / "a.soul"),
        "--layers",
        "2",
        "--check",
    ]
    assert main([*words, "--window", "0"]) == 1
    assert "window is 0, must be 2 to 1048576" in capsys.readouterr().err
    assert main([*words, "--window", "100000"]) == 0  # as much as the model can hold: 128
    assert "6 windows to learn from" in capsys.readouterr().out
