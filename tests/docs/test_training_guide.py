"""Every command of the training guide works, on a tiny model and the files that the guide itself shows."""

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from model_folders import edit_config, edit_tensors, write_byte_tokenizer

from bitconverter import paths
from bitconverter.cli.arguments import build_parser
from bitconverter.cli.main import main
from bitconverter.cli.texts import OPTIONS
from bitconverter.engine import Cancel
from bitconverter.gui.texts.settings import TEXTS
from bitconverter.jobs.job import Metric, Stopped, run_job
from bitconverter.jobs.train import TrainJob

DOCS = Path(__file__).parents[2] / "docs"
GUIDES = ("TRAINING_GUIDE.md", "TRAINING_GUIDE.ja.md")
TEMPLATE = (
    "{% for m in messages %}[{{ m.role[0] }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[a]{% endif %}"
)
LAYERS = 6  # as many as are trained unless something else is said


@pytest.fixture(scope="module")
def source(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as the guide's: deeper, with a template and with " great" and " terrible" as single tokens."""
    folder = tmp_path_factory.mktemp("guide") / "SmolLM2-135M-Instruct"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    edit_config(folder, max_position_embeddings=4096, num_hidden_layers=LAYERS)
    edit_tensors(folder, _deepen)
    write_byte_tokenizer(folder, config["vocab_size"] - 2)
    table = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    table.add_tokens([" great", " terrible"])
    table.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return folder


def _deepen(tensors: dict[str, np.ndarray]) -> None:
    """Every layer is like the first."""
    first = {name: value for name, value in tensors.items() if name.startswith("model.layers.0.")}
    for layer in range(LAYERS):
        tensors |= {name.replace(".0.", f".{layer}.", 1): value for name, value in first.items()}


def blocks(guide: str) -> list[tuple[str, str, str]]:
    """(language, file name, text) of every code block, in order."""
    text = (DOCS / guide).read_text(encoding="utf-8")
    return re.findall(r"^```(\w+) ?([\w./]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def set_aside() -> None:
    """As if the training had forgotten too much."""
    os.rename("tea.soul", "tea.soul.aside")


def break_off() -> None:
    """A fourth training, stopped after step 15."""
    cancel = Cancel()
    job = TrainJob("small", "lessons.u32", "fourth.soul", steps=30, history=str(paths.runs_file()))

    def stop(event: object) -> None:
        if isinstance(event, Metric) and event.name == "loss" and event.step == 15:
            cancel.request()

    assert isinstance(run_job(job, stop, cancel), Stopped)


STAGES = {"adopt": set_aside, "runs": break_off}


@pytest.mark.slow
def test_every_command_of_the_guides_works(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    converted: dict[str, Path] = {}  # by the command, which takes longest and is the same in both: copies
    for guide in GUIDES:
        folder = tmp_path / guide.removesuffix(".md")
        folder.mkdir()
        monkeypatch.chdir(folder)
        monkeypatch.setenv("BITCONVERTER_HOME", str(folder / "home"))  # trainings are counted from 1
        shutil.copytree(source, folder / source.name)
        try_guide(guide, converted, capsys)


def try_guide(guide: str, converted: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """In the current folder, where the source lies."""
    told: dict[str, str] = {}
    for language, name, text in blocks(guide):
        if language == "text":  # what is done where a training turned out so, or was broken off
            STAGES[shlex.split(text)[1]]()
        if name:
            Path(name).parent.mkdir(exist_ok=True)
            Path(name).write_text(text, encoding="utf-8")
            continue
        assert language in ("console", "text")
        for line in text.splitlines():
            program, *words = shlex.split(line)
            assert program == "bitconverter"
            if line in converted:
                shutil.copytree(converted[line], words[2])
                continue
            assert main(words) == 0, capsys.readouterr().err
            told[line] = capsys.readouterr().out
            if words[0] == "convert":
                converted[line] = Path(f"{words[2]} as it was").resolve()
                shutil.copytree(words[2], converted[line])
    preview = next(out for line, out in told.items() if "--preview" in line)
    assert preview.count("«") == 2
    counted = next(out for line, out in told.items() if "more.csv" in line)
    assert "9 rows = 8 used + 1 rejected" in counted and "9 rows = 8 used + 1 rejected" in "".join(
        (DOCS / guide).read_text(encoding="utf-8")
    )
    (rejected,) = Path("lessons.rejected.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(rejected)["line"] == 4
    assert "requests for what they say" in next(out for line, out in told.items() if "--facts" in line)
    for soul in ("tea", "style", "taste", "harbour"):
        # a random model forgets much of what it never knew, so one may be set aside
        assert Path(f"{soul}.soul").is_file() or Path(f"{soul}.soul.aside").is_file()
    assert Path("again.soul").is_file() or Path("again.soul.aside").is_file()
    assert "after step 15" in told["bitconverter runs pin 4"] and not Path("fourth.soul.pinned").exists()
    assert "2  " in told["bitconverter runs"] and "general_after" in told["bitconverter runs diff 1 2"]


def test_both_guides_say_the_same_commands() -> None:
    def commands(guide: str) -> list[str]:
        return [
            re.sub(r'--(prompt|sample) ".*?"', "", text)
            for language, _, text in blocks(guide)
            if language in ("console", "text")
        ]

    english, japanese = (commands(guide) for guide in GUIDES)
    assert english == japanese and len(english) >= 10


@pytest.mark.parametrize("guide", GUIDES)
def test_every_option_and_command_in_the_sentences_exists(guide: str) -> None:
    text = re.sub(
        r"^```.*?^```$", "", (DOCS / guide).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    said = " ".join(re.findall(r"`(?!tools/)([^`\n]+)`", text))
    verbs = next(action.choices for action in build_parser()._actions if action.dest == "verb")
    known = {
        option for verb in verbs.values() for action in verb._actions for option in action.option_strings
    }
    named = set(re.findall(r"--[a-z][a-z-]*", said))
    assert len(named) > 12 and named <= known
    assert set(re.findall(r"bitconverter ([a-z]+)", said)) <= set(verbs)
    for path, options in re.findall(r"`(tools/\w+\.py)([^`\n]*)`", text):
        program = (DOCS.parent / path).read_text(encoding="utf-8")
        assert all(option in program for option in re.findall(r"--[a-z][a-z-]*", options))


def test_the_guides_the_help_and_the_settings_say_the_same_of_heat_on_windows() -> None:
    """That nothing there reads it, for administrators neither: jobs/eco.py asks psutil, which has it on Linux alone."""
    english, japanese = ((DOCS / guide).read_text(encoding="utf-8") for guide in GUIDES)
    settings = TEXTS["set-train_eco-tip"]
    for text in (english, OPTIONS["train_eco"], settings[0]):
        assert "on Windows the temperature is not read" in text, text
        assert "administrator" not in text
    for text in (japanese, settings[1]):
        assert "Windowsでは温度を調べない" in text.replace(" ", "") and "管理者" not in text
    for text in (english, OPTIONS["train_away"]):
        assert "seen on Windows and on X11, not under Wayland" in text
