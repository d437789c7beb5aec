"""A second start hands over to the first; one that died or hangs keeps nobody out."""

import os
import subprocess
import sys

import pytest
from PySide6.QtCore import QLockFile
from PySide6.QtNetwork import QLocalSocket

from bitconverter.gui import single_instance
from bitconverter.gui.single_instance import SingleInstance

SECOND = """
import sys
from pathlib import Path
from PySide6.QtCore import QCoreApplication
from bitconverter.gui.single_instance import SingleInstance
app = QCoreApplication([])
instance = SingleInstance(Path(sys.argv[1]))
print(instance.is_first(sys.argv[2:]))
if len(sys.argv) == 2:  # stay until killed
    sys.stdout.flush(); sys.stdin.read()
"""


def start(home, *paths):
    return subprocess.Popen(
        [sys.executable, "-c", SECOND, str(home), *paths],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def home(tmp_path):
    return tmp_path / "田中　太郎😀"


def test_a_second_start_gives_its_files_to_the_first_and_ends(home, qtbot):
    first = SingleInstance(home)
    assert first.is_first([])
    with qtbot.waitSignal(first.called, timeout=60_000) as called:
        second = start(home, "/a/モデル 😀", "b.soul")
    assert called.args == [["/a/モデル 😀", "b.soul"]]
    assert second.communicate(timeout=60)[0] == "False\n"
    first.close()


def test_the_next_start_after_closing_is_the_first(home, qtbot):
    first = SingleInstance(home)
    assert first.is_first([])
    first.close()
    again = SingleInstance(home)
    assert again.is_first([])
    again.close()


def test_a_killed_first_one_keeps_nobody_out(home, qtbot):
    killed = start(home)
    assert killed.stdout.readline() == "True\n"
    killed.kill()
    killed.communicate()
    second = SingleInstance(home)
    assert second.is_first(["x"])
    second.close()


LIVING = (
    f"{os.getppid()}\nanother\nhost\n"  # the number of the one that was killed is another program's by now
)


@pytest.mark.parametrize("content", ["", LIVING], ids=["killed before it was written", "number used again"])
def test_a_lock_that_looks_alive_but_that_nobody_holds_is_taken_over(content, home, qtbot):
    home.mkdir()
    (home / "instance.lock").write_text(content, encoding="utf-8")
    first = SingleInstance(home)
    assert first.is_first([]) and first.cut_off
    with qtbot.waitSignal(first.called, timeout=60_000):
        second = start(home, "x")
    assert second.communicate(timeout=60)[0] == "False\n"
    first.close()


def test_a_lock_that_somebody_holds_stays(home, qtbot, monkeypatch):
    """It says nothing, but the lock is its own: the next start is whole, and leaves it the lock."""
    monkeypatch.setattr(single_instance, "ANSWER_WITHIN", 100)
    holder = start(home)
    assert holder.stdout.readline() == "True\n"
    second = SingleInstance(home)
    assert second.is_first([])  # it waits for its standard input, and answers nobody
    assert (home / "instance.lock").read_text(encoding="utf-8").split()[0] == str(holder.pid)
    holder.kill()
    holder.communicate()


def test_one_whose_number_is_ours_now_keeps_nobody_out_and_nobody_apart(home, qtbot):
    """After the PC went off: the lock names a process that is dead, and its number has been given to this one."""
    dead = start(home)
    assert dead.stdout.readline() == "True\n"
    dead.kill()
    dead.communicate()
    lock = home / "instance.lock"
    mine = QLockFile(str(home / "mine.lock"))
    assert mine.tryLock(0)
    lock.write_bytes((home / "mine.lock").read_bytes())  # this process's number and name
    first = SingleInstance(home)
    assert first.is_first([]) and first.cut_off
    with qtbot.waitSignal(first.called, timeout=60_000) as called:
        second = start(home, "b.soul")
    assert called.args == [["b.soul"]]
    assert second.communicate(timeout=60)[0] == "False\n"
    first.close()
    assert not lock.exists()


def test_another_home_is_another_program(home, tmp_path, qtbot):
    first, other = SingleInstance(home), SingleInstance(tmp_path / "other")
    assert first.is_first([]) and other.is_first([])
    first.close()
    other.close()


def test_a_first_one_that_hangs_keeps_nobody_out(home, qtbot, monkeypatch):
    monkeypatch.setattr(single_instance, "ANSWER_WITHIN", 100)
    hanging = start(home)  # it waits for its standard input and looks at nothing else
    assert hanging.stdout.readline() == "True\n"
    assert SingleInstance(home).is_first(["x"])
    hanging.kill()
    hanging.communicate()


@pytest.mark.parametrize("message", [b"no json\n", b'{"a": 1}\n', b"[1]\n"])
def test_a_message_that_is_none_is_not_heard(message, home, qtbot):
    first = SingleInstance(home)
    assert first.is_first([])
    heard = []
    first.called.connect(heard.append)
    stranger = QLocalSocket()
    with qtbot.waitSignal(stranger.disconnected, timeout=60_000):
        stranger.connectToServer(first._server.fullServerName())
        stranger.write(message)
    assert heard == []
    first.close()


def test_a_second_program_brings_the_first_window_forward_and_ends(tmp_path, qtbot):
    """The whole program, twice: the second one's file is opened by the first one's window."""
    environment = {**os.environ, "BITCONVERTER_HOME": str(tmp_path / "home")}
    program = [sys.executable, "-m", "bitconverter", "--platform", "offscreen"]
    first = subprocess.Popen(program, env=environment)
    try:
        qtbot.waitUntil((tmp_path / "home" / "instance.lock").exists, timeout=60_000)
        second = subprocess.run([*program, "--open", "no such model"], env=environment, timeout=60)
        assert second.returncode == 0
        assert first.poll() is None
    finally:
        first.terminate()
        first.wait()
