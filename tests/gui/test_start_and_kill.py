"""What a start leaves when it ends, however it ends: no process, no temporary file, nothing in unknown places."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
from model_folders import golden_copy, write_bpe, write_gguf
from window_checks import in_session

from bitconverter import paths
from bitconverter.gui.single_instance import SingleInstance

PROGRAM = [sys.executable, "-m", "bitconverter", "--platform", "offscreen"]
HOME_HOLDS = {"settings.json", "chats.sqlite3", "logs"}  # docs/RELEASING.md: what is written, and where
CYCLES = 50

# Starts are forked off one process that has loaded the program: what is tried is what a start does. Each is killed at
# the moment that is its turn.
START_AND_KILL = """
import os, signal, sys, time
from pathlib import Path
from bitconverter.gui import app
home, temp, model, times = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
class Window(app.MainWindow):
    def showEvent(self, event):
        super().showEvent(event)
        shown.touch()
app.MainWindow = Window
shown = home.parent / "shown"
def owner(pid):
    try:
        return (home / "instance.lock").read_text(encoding="utf-8").split()[0] == str(pid)
    except (OSError, IndexError):
        return False
def written():
    while True:
        try:
            return set(temp.glob("bitconverter-scratch-*/files/*"))
        except FileNotFoundError:  # what an earlier start left is being swept at this moment
            pass
def expanded(_pid):  # the model is being written out, or open
    return written() - before
moments = [lambda _pid: True, owner, owner, lambda _pid: shown.exists(), expanded]
for number in range(times):
    shown.unlink(missing_ok=True)
    before = written()
    moment = moments[number % len(moments)]
    pid = os.fork()
    if pid == 0:
        os._exit(app.main(["bitconverter"], model if moment is expanded else None))
    latest = time.monotonic() + 100
    while not moment(pid):
        if os.waitpid(pid, os.WNOHANG)[0]:
            sys.exit(f"start {number} ended by itself")
        if time.monotonic() > latest:
            lock = (home / "instance.lock").read_text(encoding="utf-8").split()
            os.kill(pid, signal.SIGKILL)  # it would hold the pipe that the test waits for
            sys.exit(f"start {number}, process {pid}, did not come to its moment; lock: {lock}")
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
print("killed", times, flush=True)
"""


def surroundings(place: Path, **more: str) -> dict[str, str]:
    """A user of its own, whose home and temporary folder are in `place`."""
    kept = ("PATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONPATH", "LANG")
    result = {name: os.environ[name] for name in kept if name in os.environ}
    for name in ("user", "temp"):
        (place / name).mkdir(parents=True, exist_ok=True)
    result |= {"HOME": str(place / "user"), "TMPDIR": str(place / "temp"), "QT_QPA_PLATFORM": "offscreen"}
    return result | more


def start(environment: dict[str, str], *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*PROGRAM, *words], env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True,
        encoding="utf-8",
    )  # fmt: skip


PLUGIN = "This plugin does not support"


def end(process: "subprocess.Popen[str]", number: signal.Signals) -> str:
    """Send it the signal; what it said on standard error, without what Qt's offscreen screen says of itself."""
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    return "".join(line for line in errors.splitlines(keepends=True) if not line.startswith(PLUGIN))


@pytest.fixture(scope="module")
def gguf_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model to chat with, as one file, which is written out as a folder to be opened."""
    place = tmp_path_factory.mktemp("gguf")

    def metadata(writer):
        write_bpe(writer)
        writer.add_chat_template("{{ messages[-1].content }}")

    write_gguf(golden_copy("llama2", place / "source"), place / "小さい.gguf", metadata=metadata)
    return place / "小さい.gguf"


@pytest.mark.skipif(
    sys.platform == "win32", reason="starts are forked; installer/windows_check.py does it there"
)
def test_fifty_killed_starts_leave_nothing(tmp_path, qtbot, gguf_model):
    home, temp = tmp_path / "家 home", tmp_path / "temp"
    environment = surroundings(tmp_path, BITCONVERTER_HOME=str(home))
    words = [sys.executable, "-c", START_AND_KILL, str(home), str(temp), str(gguf_model), str(CYCLES)]
    killed = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=600)
    assert killed.stdout == f"killed {CYCLES}\n", killed.stderr
    left = list(temp.glob("bitconverter-scratch-*"))
    assert 1 <= len(left) <= 2  # of the last, and of the one before that if there was no time to sweep
    last = start(environment)
    qtbot.waitUntil(lambda: not list(temp.glob("bitconverter-scratch-*")), timeout=120_000)
    chats = str(home / "chats.sqlite3")  # opened, and so put in order after the last kill
    qtbot.waitUntil(
        lambda: chats in [file.path for file in psutil.Process(last.pid).open_files()], timeout=120_000
    )
    assert end(last, signal.SIGTERM) == "" and last.returncode == 0
    assert list(temp.iterdir()) == []
    assert {path.name for path in home.iterdir()} == HOME_HOLDS


@pytest.mark.skipif(sys.platform == "win32", reason="sessions of processes are POSIX")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_is_left_with_a_model_open(tmp_path, qtbot, gguf_model, number):
    """Closed, asked to end, or killed: its session is empty, and with it go its memory and its model."""
    temp = tmp_path / "temp"
    process = start(surroundings(tmp_path), "--open", str(gguf_model))
    qtbot.waitUntil(lambda: bool(list(temp.glob("*/files/*/model.safetensors"))), timeout=120_000)
    assert process.pid in in_session(process.pid)
    end(process, number)
    assert in_session(process.pid) == []
    if number is not signal.SIGKILL:
        assert process.returncode == 0 and list(temp.iterdir()) == []


def test_a_second_start_brings_the_first_window_forward(window, settings, qtbot, tmp_path, monkeypatch):
    """The first window, minimised; the second start is the whole program in a process of its own."""
    first = SingleInstance(paths.config_folder())
    assert first.is_first([])
    first.called.connect(window.take_files)
    environment = surroundings(tmp_path, BITCONVERTER_HOME=str(paths.config_folder()))
    environment["TMPDIR"] = tempfile.gettempdir()  # a long path's socket is there
    asked = []  # the screenless platform has no order of windows
    monkeypatch.setattr(window, "raise_", lambda: asked.append("raise"))
    monkeypatch.setattr(window, "activateWindow", lambda: asked.append("activate"))
    for away in (window.showMinimized, window.hide):
        asked.clear()
        away()
        second = start(environment)
        with qtbot.waitSignal(first.called, timeout=120_000):
            pass
        assert second.communicate(timeout=120) == (None, "") and second.returncode == 0
        assert window.isVisible() and not window.isMinimized()
        assert asked == ["raise", "activate"]
    first.close()


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the places of Linux; a user of its own by HOME"
)
def test_only_the_documented_places_are_written(tmp_path, qtbot, gguf_model):
    """Not only by Python's own code: every file that a user's home and temporary folder hold afterwards."""
    user, temp = tmp_path / "user", tmp_path / "temp"
    environment = surroundings(tmp_path)
    told = "import json; from bitconverter import paths; print(json.dumps([str(p()) for p in "
    told += "(paths.config_folder, paths.data_folder, paths.log_folder)]))"
    places = subprocess.run(
        [sys.executable, "-c", told], env=environment, capture_output=True, text=True, check=True
    )
    folders = [Path(place) for place in json.loads(places.stdout)]
    document = (Path(__file__).parents[2] / "docs" / "RELEASING.md").read_text(encoding="utf-8")
    for folder in folders:
        assert f"`~/{folder.relative_to(user)}`" in document
    process = start(environment, "--open", str(gguf_model))
    qtbot.waitUntil(lambda: bool(list(temp.glob("*/files/*/model.safetensors"))), timeout=120_000)
    end(process, signal.SIGTERM)
    assert process.returncode == 0
    written = [path for path in user.rglob("*") if path.is_file()]
    strangers = [path for path in written if not any(path.is_relative_to(place) for place in folders)]
    assert (
        written and [path for path in strangers if "fontconfig" not in path.parts] == []
    )  # the system's cache
    assert list(temp.iterdir()) == []


ENDS_BADLY = """
import os, signal, sys
from PySide6.QtCore import QTimer
from bitconverter.gui import app
class Window(app.MainWindow):
    def showEvent(self, event):
        super().showEvent(event)
        QTimer.singleShot(0, self, self.look)
    def look(self):
        print(self.toast._text.text() if self.toast.isVisible() else "-", flush=True)
        if sys.argv[1] == "close":
            self.close()
        else:
            os.kill(os.getpid(), int(sys.argv[1]))
app.MainWindow = Window
sys.exit(app.main(["bitconverter"]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="ends itself by signals")
def test_the_next_start_says_how_the_last_one_ended(tmp_path):
    environment = surroundings(tmp_path, LANG="C.UTF-8")
    said = []
    for ending in ("close", str(int(signal.SIGKILL)), str(int(signal.SIGSEGV)), "close"):
        done = subprocess.run(
            [sys.executable, "-c", ENDS_BADLY, ending], env=environment, capture_output=True, text=True,
            encoding="utf-8", timeout=120,
        )  # fmt: skip
        said.append(done.stdout.strip())
        assert done.returncode == (0 if ending == "close" else -int(ending)), done.stderr
    at_first, after_closing, after_kill, after_fault = said
    assert at_first == after_closing == "-"
    assert "memory" in after_kill and "fault" in after_fault
