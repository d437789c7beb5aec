"""Scratch folders go with their process, and nothing else is ever swept."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bitconverter.format.atomic import replacing
from bitconverter.format.errors import UserError
from bitconverter.format.weight_file import disk_full
from bitconverter.jobs import scratch
from bitconverter.jobs.job import Cancel, Context
from bitconverter.jobs.scratch import PREFIX, SweepJob, scratch_folder, sweep

HOLDS_ONE = """
import sys
from pathlib import Path
from bitconverter.jobs.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "model.safetensors").write_bytes(bytes(1000))
    print("made", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the system's temporary folder is to this test."""
    place = tmp_path / "一時 temp"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def holder(place: Path) -> "subprocess.Popen[str]":
    """A process that has a scratch folder in `place`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS_ONE, str(place)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "made\n"
    return process


def test_it_is_empty_and_goes_with_its_block(temp: Path) -> None:
    with pytest.raises(ZeroDivisionError), scratch_folder() as folder:
        assert folder.is_relative_to(temp) and list(folder.iterdir()) == []
        (folder / "below").mkdir()
        (folder / "below" / "lock.gguf").write_bytes(b"x")
        raise ZeroDivisionError
    assert list(temp.iterdir()) == []


def test_one_at_work_stays_and_that_of_a_killed_process_goes(temp: Path) -> None:
    process = holder(temp)
    with process:
        assert sweep(temp) == 0 and len(list(temp.iterdir())) == 1
        process.kill()
    with scratch_folder() as folder:  # the next one sweeps first
        assert [path.name for path in temp.iterdir()] == [folder.parent.name]
    assert list(temp.iterdir()) == []


def test_beside_the_users_files_it_is_swept_too(tmp_path: Path) -> None:
    (tmp_path / "a.soul").write_bytes(b"mine")
    process = holder(tmp_path)
    with process:
        process.kill()
    with scratch_folder(tmp_path) as folder:
        assert {path.name for path in tmp_path.iterdir()} == {"a.soul", folder.parent.name}
    assert [path.name for path in tmp_path.iterdir()] == ["a.soul"]


def test_what_only_looks_like_one_stays(temp: Path) -> None:
    (temp / "bitconverter-work").mkdir()  # a folder of the user's
    (temp / f"{PREFIX}mine").mkdir()
    other = temp / f"{PREFIX}abcdefgh"
    other.mkdir()
    (other / "thesis.txt").write_text("x", encoding="utf-8")
    (temp / f"{PREFIX}12345678").write_text("a file", encoding="utf-8")
    before = sorted(temp.rglob("*"))
    assert sweep(temp) == 0
    assert sorted(temp.rglob("*")) == before


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_a_link_is_not_followed(temp: Path, tmp_path: Path) -> None:
    (tmp_path / "models" / "files").mkdir(parents=True)
    (tmp_path / "models" / "files" / "x").write_bytes(b"x")
    (temp / f"{PREFIX}abcdefgh").symlink_to(tmp_path / "models")
    assert sweep(temp) == 0
    assert (tmp_path / "models" / "files" / "x").exists()


@pytest.mark.parametrize("rest", [(), ("files",), ("lock", "files"), ("lock",)])
def test_killed_at_any_point_of_its_making_or_going_it_is_swept(temp: Path, rest: tuple[str, ...]) -> None:
    folder = temp / f"{PREFIX}abcdefgh"
    folder.mkdir()
    if "files" in rest:
        (folder / "files").mkdir()
    if "lock" in rest:
        (folder / "lock").write_bytes(b"")
    assert sweep(temp) == 1
    assert list(temp.iterdir()) == []


def test_a_sweep_between_making_and_locking_costs_a_name_only(
    temp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, made = tempfile.mkdtemp, []

    def make_and_lose(**words: object) -> str:
        made.append(make(**words))  # type: ignore[call-overload]
        if len(made) < 3:
            sweep(temp)
        return str(made[-1])

    monkeypatch.setattr(scratch.tempfile, "mkdtemp", make_and_lose)
    with scratch_folder() as folder:
        assert len(made) == 3 and folder.parent == Path(made[-1])
    assert list(temp.iterdir()) == []


def test_the_program_sweeps_its_own_home_of_unfinished_files(temp: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "settings.json").write_text("{}", encoding="utf-8")
    (home / "settings.json.tmp").write_text("mine", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt), replacing(home / "queue.json") as file:
        file.write(b"half")
        for path in home.glob(".*"):  # as a killed process would leave it
            os.link(path, home / ".0123456789abcdef.bitconverter-tmp")
        raise KeyboardInterrupt
    assert len(list(home.iterdir())) == 3
    assert SweepJob(str(home)).run(Context(lambda _: None, Cancel())) == 1
    assert sorted(path.name for path in home.iterdir()) == ["settings.json", "settings.json.tmp"]
    assert SweepJob(str(tmp_path / "none")).run(Context(lambda _: None, Cancel())) == 0


SWEEPS = """
import sys
from bitconverter.jobs.job import Cancel, Context
from bitconverter.jobs.scratch import SweepJob, temporary_folder

opened = []
sys.addaudithook(lambda event, words: event == "open" and opened.append(str(words[0])))
SweepJob("nowhere").run(Context(lambda _: None, Cancel()))
print([path for path in opened if path.startswith(sys.argv[1])])
assert str(temporary_folder()) == sys.argv[1]
import tempfile
tempfile.gettempdir()
assert [path for path in opened if path.startswith(sys.argv[1])], "the hook sees nothing"
"""


def test_a_sweep_writes_nothing_to_find_its_place(tmp_path: Path) -> None:
    """A start that is killed within its sweep would leave it."""
    done = subprocess.run(
        [sys.executable, "-c", SWEEPS, str(tmp_path)], env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_full_disk_under_temporary_files_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing goes on where it stopped, and the file that could not be written is gone when it is read of."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for beside, hint in ((None, True), (tmp_path, False)):
        with pytest.raises(UserError) as caught, scratch_folder(beside) as place:
            raise disk_full(place / "model")
        assert caught.value.code == "scratch-full" and str(tmp_path) in str(caught.value)
        assert ("TMPDIR" in str(caught.value)) == hint
        assert "scratch-" not in str(caught.value) and "where it stopped" not in str(caught.value)
    with pytest.raises(UserError) as caught, scratch_folder():
        raise disk_full(tmp_path / "somewhere else")
    assert caught.value.code == "disk-full"
    assert not any(tmp_path.iterdir())
