"""The self-test of an installation, run as users and packagers run it: a process of its own."""

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from cards import card

from bitconverter.engine import UnsupportedError
from bitconverter.engine import device as engine_device
from bitconverter.gui import self_test
from bitconverter.jobs import self_test as parts
from bitconverter.jobs.needing import SelfTestFailed, need
from bitconverter.jobs.self_test_model import SENTENCE, pieces

PARTS = [
    "start", "versions", "engine", "graphics cards", "convert", "chat", "window", "database", "documents",
    "long path", "curves", "file dialog", "outside", "cleaned up",
]  # fmt: skip


def run(out: Path, tmp_path: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    temporary = tmp_path / "temp"
    temporary.mkdir(exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "bitconverter",
        "--platform",
        "offscreen",
        "--selftest",
        str(out),
        *words,
    ]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    environment.pop("DISPLAY", None)
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)


def test_the_self_test_of_this_installation_passes(tmp_path):
    out = tmp_path / "結果.json"
    done = run(out, tmp_path)
    assert out.exists(), done.stderr
    report = json.loads(out.read_text(encoding="utf-8"))
    failed = {name: part for name, part in report["parts"].items() if not part["ok"]}
    assert (done.returncode, report["ok"], failed) == (0, True, {})
    assert list(report["parts"]) == PARTS
    assert report["parts"]["chat"]["text"] == SENTENCE
    assert report["parts"]["chat"]["by_cpu"]["scalar"]["tokens"] == 32 == len(pieces(SENTENCE))
    assert report["parts"]["engine"]["isa"] == report["parts"]["engine"]["instruction_sets"][-1]
    found = report["parts"]["graphics cards"]
    assert bool(found["cards"]) != bool(found["why"])
    assert report["parts"]["long path"]["longest_path"] > 320
    assert out.with_suffix(".png").stat().st_size > 10_000
    assert list((tmp_path / "temp").iterdir()) == []


def test_a_part_that_fails_is_told_and_the_others_still_run():
    report = self_test.Report()
    assert report.run("good", lambda: {"number": 3}) == {"number": 3}
    assert report.run("bad", lambda: need(False, "the reason")) == {}
    assert not report.ok
    assert report.parts["good"]["ok"] and report.parts["good"]["number"] == 3
    assert report.parts["bad"]["error"] == "SelfTestFailed: the reason"


def test_a_wrong_answer_fails(tmp_path, monkeypatch):
    model = parts.convert(tmp_path)["model"]
    assert next(iter(parts.chat(model)["by_cpu"])) == "auto"
    monkeypatch.setattr(parts, "SENTENCE", "三値ではない")
    with pytest.raises(SelfTestFailed, match="三値の重み"):
        parts.chat(model)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_library_for_graphics_cards_that_does_not_load_fails(tmp_path, monkeypatch, damaged):
    if damaged:
        for name in engine_device.LIBRARIES.get(sys.platform, engine_device.LIBRARIES["linux"]):
            (tmp_path / name).write_bytes(b"no library")
    monkeypatch.setattr(engine_device, "FOLDER", tmp_path)
    monkeypatch.setattr(parts, "_has_backend", lambda: True)
    with pytest.raises(SelfTestFailed, match="damaged" if damaged else "no CUDA backend"):
        parts.graphics_cards()


def test_where_no_such_library_is_made_none_is_missed(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_device, "FOLDER", tmp_path)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert parts.graphics_cards() == {"cards": [], "why": "this installation has no CUDA backend"}


def test_a_pc_without_a_card_passes_and_one_with_cards_names_them(monkeypatch):
    def refuse(_: object) -> None:
        raise UnsupportedError("there is no NVIDIA driver on this computer", -3)

    monkeypatch.setattr(parts, "devices", refuse)
    assert parts.graphics_cards() == {"cards": [], "why": "there is no NVIDIA driver on this computer"}
    monkeypatch.setattr(parts, "devices", lambda _: [card("NVIDIA A"), card("NVIDIA B")])
    assert parts.graphics_cards() == {"cards": ["NVIDIA A", "NVIDIA B"], "why": ""}


def test_the_versions_of_all_packages_are_told(monkeypatch):
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    names = [re.split("[<>=]", dependency)[0] for dependency in project["dependencies"]]
    packages = parts.installation()["packages"]
    assert list(packages) == [*names, "sqlite"] and all(
        re.match(r"\d+\.", text) for text in packages.values()
    )
    monkeypatch.setattr(parts, "PACKAGES", ("no-such-package",))
    with pytest.raises(PackageNotFoundError):
        parts.installation()


@pytest.mark.parametrize("mode", ["connection", "file"])
def test_what_happens_outside_is_seen(mode, tmp_path):
    """In a process of its own: an audit hook stays for good."""
    program = """
import socket, sys
from pathlib import Path
from bitconverter.gui.self_test import Watch, _outside
watch = Watch()
folder = Path(sys.argv[1]) / "a" / "b" / "c"
if sys.argv[2] == "connection":
    try:
        socket.create_connection(("127.0.0.1", 9), timeout=1)
    except OSError:
        pass
else:
    open(Path(sys.argv[1]) / "elsewhere.txt", "w").close()
try:
    _outside(watch, folder, folder / "out" / "x.json")
except Exception as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), mode], capture_output=True, text=True, check=True
    )
    assert ("connections" if mode == "connection" else "elsewhere.txt") in done.stdout
