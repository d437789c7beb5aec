"""What must not lose work: a killed window, a disk that is really full, models that are broken in every way."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from model_folders import edit_config
from window_checks import in_session

from bitconverter.gui.activity import Work
from bitconverter.gui.chat_page import State as ChatState
from bitconverter.gui.convert_page import State
from bitconverter.gui.main_window import MainWindow
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.job import Cancel, Finished, run_job
from bitconverter.settings import Settings

LONG = 300_000  # milliseconds; a bound for a broken program, not a promise
JAPANESE = re.compile("[ぁ-んァ-ヶ一-龠]")

# The window itself in a process of its own; what it does at each event of the conversion is `step`.
WINDOW = """
import sys
from pathlib import Path
from PySide6.QtWidgets import QApplication
from bitconverter.gui.appearance import prepare
from bitconverter.gui.convert_page import ConvertPage, State
from bitconverter.gui.main_window import MainWindow
from bitconverter.jobs.job import Progress
from bitconverter.settings import Settings
ConvertPage.PLANS = False
home, source, out = map(Path, sys.argv[1:4])
app = QApplication([])
settings = Settings(home / "settings.json")
settings["method"], settings["report"], settings["language"] = "fast", False, "en"
prepare(app, settings)
window = MainWindow(settings)
page = window.convert
window.show()
window.show_page("convert")
page.choose_source(str(source))
def wait(condition):
    while not condition():
        app.processEvents()
wait(lambda: page.state is State.READY and not page.busy)
page.target_card.out_changed.emit(str(out))
wait(lambda: page.state is State.READY and not page.busy)
"""
KILLED = (
    WINDOW
    + """
page.queue.happened.connect(lambda item, event: print(type(event).__name__, flush=True))
page.convert_button.click()
wait(lambda: False)
"""
)
FULL = (
    WINDOW
    + """
filler = out.parent / "filler"
def fill(item, event):
    if isinstance(event, Progress) and not filler.exists():
        with open(filler, "wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass
page.queue.happened.connect(fill)
page.convert_button.click()
wait(lambda: not page.busy)
item = page.queue.current
print(item.state.value, item.why, flush=True)
print(page.run_card.notice.text().replace(chr(10), " "), flush=True)
filler.unlink()
page.queue.happened.disconnect(fill)
page.run_card.resume_button.click()
wait(lambda: not page.busy)
print(page.queue.last.state.value, flush=True)
window.stop_and_wait()
"""
)


def _environment(home: Path) -> dict[str, str]:
    return {**os.environ, "BITCONVERTER_HOME": str(home), "QT_QPA_PLATFORM": "offscreen"}


def _weights(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, larger_model) -> str:
    """The weights of a conversion that nothing happened to."""
    out = tmp_path_factory.mktemp("whole") / "out"
    job = ConvertJob(source=str(larger_model), out=str(out), preset="4gb")
    assert isinstance(run_job(job, lambda _: None, Cancel()), Finished)
    return _weights(out)


@pytest.mark.parametrize("events", [1, 3, 6])
def test_a_window_that_is_killed_offers_to_go_on_and_ends_in_the_same_bytes(
    settings, qtbot, tmp_path, larger_model, whole, events
):
    home, out = settings.path.parent, tmp_path / "出力 out"
    home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", KILLED, str(home), str(larger_model), str(out)]
    child = subprocess.Popen(
        command, env=_environment(home), stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    with child:
        seen = [line for line, _ in zip(child.stdout, range(events), strict=False)]
        child.kill()
    assert sys.platform == "win32" or in_session(child.pid) == []
    assert len(seen) == events and not out.exists()
    again = Settings(settings.path)
    window = MainWindow(again)
    qtbot.addWidget(window)
    window.show()
    try:
        window.show_page("convert")
        item = window.convert.queue.current
        assert item is not None and item.state is Work.PAUSED and item.why == "interrupted"
        assert "interrupted" in window.convert.run_card.notice.text() and not window.convert.busy
        window.convert.run_card.resume_button.click()
        qtbot.waitUntil(lambda: not window.convert.busy, timeout=LONG)
        assert item.state is Work.DONE and _weights(out) == whole
    finally:
        window.stop_and_wait()


def _can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    words = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(words, capture_output=True).returncode == 0


@pytest.mark.skipif(
    not _can_mount(), reason="only where a small disk can be mounted for a process alone (Linux)"
)
def test_a_disk_that_is_really_full_pauses_and_goes_on_after_making_room(tmp_path, larger_model, whole):
    home, disk = tmp_path / "home", tmp_path / "small disk"
    home.mkdir()
    disk.mkdir()
    script = 'mount -t tmpfs -o size=40m tmpfs "$1" && "$2" -c "$3" "$4" "$5" "$1/out" '
    script += '&& sha256sum "$1/out/model.safetensors"'
    words = [
        "unshare",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        script,
        "sh",
        str(disk),
        sys.executable,
        FULL,
    ]
    done = subprocess.run(
        [*words, str(home), str(larger_model)],
        env=_environment(home), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    state, said, end, weights = done.stdout.splitlines()
    assert state == "paused disk-full" and "disk" in said.lower() and end == "done"
    assert weights.startswith(whole)


def _without(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def _cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


# how it is broken, and what the sentence has to name
BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (_without("config.json"), "config.json"),
    "no JSON": (lambda f: (f / "config.json").write_text("{", encoding="utf-8"), "config.json"),
    "another architecture": (lambda f: edit_config(f, architectures=["GPT2LMHeadModel"], model_type="gpt2"), "gpt2"),
    "no weights": (_without("model.safetensors"), ".safetensors"),
    "weights cut": (_cut, "model.safetensors"),
    "weights of zeros": (lambda f: (f / "model.safetensors").write_bytes(bytes(5000)), "model.safetensors"),
    "a page instead": (lambda f: (f / "model.safetensors").write_bytes(b"<html>404" * 9), "model.safetensors"),
    "no tokenizer": (_without("tokenizer.json"), "tokenizer.json"),
    "a damaged tokenizer": (lambda f: (f / "tokenizer.json").write_text("[", encoding="utf-8"), "tokenizer.json"),
    "another size": (lambda f: edit_config(f, hidden_size=96), ""),
}  # fmt: skip


@pytest.fixture(params=sorted(BROKEN))
def broken(request, tmp_path, chat_model) -> tuple[Path, str]:
    breaks, named = BROKEN[request.param]
    folder = Path(shutil.copytree(chat_model, tmp_path / "model"))
    breaks(folder)
    return folder, named


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_broken_model_is_explained_on_both_pages(window, settings, qtbot, broken, language):
    folder, named = broken
    settings["language"] = language
    window.apply_setting("language")
    page = window.convert
    window.show_page("convert")
    page.choose_source(str(folder))
    qtbot.waitUntil(lambda: page.state is State.BLOCKED and not page.busy, timeout=LONG)
    assert not page.convert_button.isEnabled() and page.source_card.checks.fixes
    report = page._reports.get(page._choice)
    assert report is not None and any(item.level == "error" for item in report.items)
    said = " ".join(label.text() for label in page.source_card.checks.findChildren(type(page.run_card.worst)))
    assert named.lower() in said.lower() and (language == "en" or JAPANESE.search(said))
    window.open_model(str(folder))
    qtbot.waitUntil(lambda: not window.busy, timeout=LONG)
    chat = window.chat
    assert chat.state is ChatState.NO_MODEL and chat.notice.isVisible()
    assert chat.notice.text().strip() and "Traceback" not in chat.notice.text()
    assert language == "en" or JAPANESE.search(chat.notice.text())
    assert json.dumps(settings["recent_models"]).count(str(folder)) == 0  # it never ran


def test_a_weight_that_is_no_number_stops_the_conversion_with_its_name(
    window, settings, qtbot, tmp_path, chat_model
):
    folder = Path(shutil.copytree(chat_model, tmp_path / "model"))
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-64:] = b"\xff\x7f" * 32  # NaN as f16 and as bf16
    path.write_bytes(data)
    page = window.convert
    window.show_page("convert")
    page.choose_source(str(folder))
    qtbot.waitUntil(lambda: page.state is State.READY and not page.busy, timeout=LONG)
    page.convert_button.click()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert page.queue.last.state is Work.FAILED and "not numbers" in page.run_card.notice.text()
    assert not Path(page.queue.last.job.out).exists()
