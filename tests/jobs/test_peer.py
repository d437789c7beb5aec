"""Peer: what a llama-bench may print, how it is asked, and how it is stopped."""

import os
import sys
import threading
from pathlib import Path

import pytest
from python_program import write_program

from bitconverter.engine import Cancelled
from bitconverter.jobs.errors import UserError
from bitconverter.jobs.job import Cancel
from bitconverter.jobs.peer import Peer, speeds_in

ROWS = '[{"n_gen": 0, "avg_ts": 90.0, "samples_ts": [80.0, 100.0, 110.0]}, {"n_gen": 4, "samples_ts": [3.0]}]'
script = pytest.mark.skipif(
    sys.platform == "win32", reason="the stand-in for llama-bench is a script with a first line"
)


def stand_in(folder: Path, code: str, name: str = "llama-bench") -> str:
    """A program that runs `code`."""
    return write_program(folder / name, code)


@pytest.fixture
def gguf(tmp_path: Path) -> str:
    path = tmp_path / "same.gguf"
    path.write_bytes(b"GGUF")
    return str(path)


@pytest.mark.parametrize(
    "said",
    [
        ROWS,
        f"ggml_init: found 1 device\n{ROWS}\n",  # as ik_llama.cpp does
        f"[1] AVX512 [VNNI]\n[]\n{ROWS}\nbuild: 1 [2]\n",
    ],
)
def test_the_speeds_are_found_in_what_it_prints(said: str) -> None:
    assert speeds_in(said) == {"prefill": 100.0, "decode": 3.0}


def test_where_there_are_no_samples_their_mean_counts() -> None:
    said = '[{"n_gen": 0, "avg_ts": 50.5}, {"n_gen": 8, "avg_ts": 4, "samples_ts": []}]'
    assert speeds_in(said) == {"prefill": 50.5, "decode": 4.0}


@pytest.mark.parametrize(
    "said",
    [
        "",
        "no speeds here",
        "[1, 2]",
        "[[1]]",
        "[" * 100_000,
        ROWS[:-1],
        '[{"n_gen": 0}]',
        '[{"n_gen": 0, "avg_ts": 0}]',
        '[{"n_gen": 0, "avg_ts": "7"}]',
        '[{"n_gen": 0, "avg_ts": null, "samples_ts": []}]',
        '[{"n_gen": 0, "avg_ts": 5.0, "samples_ts": [NaN]}]',
        '[{"n_gen": 0, "avg_ts": 5.0, "samples_ts": 5}]',
    ],
)
def test_what_holds_no_speeds_is_refused(said: str) -> None:
    with pytest.raises(ValueError, match="speed"):
        speeds_in(said)


@script
def test_a_program_is_run_from_the_folder_that_it_is_in(
    tmp_path: Path, gguf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name without a folder would be looked for elsewhere."""
    stand_in(tmp_path, f"import sys\nprint(sys.argv)\nprint('''{ROWS}''')")
    monkeypatch.chdir(tmp_path)
    assert Peer("llama-bench", "same.gguf").measure(2, 8, 4) == {"prefill": 100.0, "decode": 3.0}


@script
def test_a_program_that_the_system_finds_needs_no_folder(
    tmp_path: Path, gguf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    stand_in(programs, f"print('''{ROWS}''')")
    monkeypatch.setenv("PATH", str(programs))
    assert Peer("llama-bench", gguf).measure(1, 8, 4)["decode"] == 3.0
    with pytest.raises(UserError, match="another-bench"):
        Peer("another-bench", gguf)


@script
def test_what_was_asked_for_and_is_not_told_is_an_error(tmp_path: Path, gguf: str) -> None:
    peer = Peer(stand_in(tmp_path, """print('[{"n_gen": 4, "avg_ts": 3.0}]')"""), gguf)
    assert peer.measure(1, 0, 4) == {"decode": 3.0}
    with pytest.raises(UserError, match="prefill"):
        peer.measure(1, 8, 4)


@script
def test_its_last_words_are_told_with_the_command(tmp_path: Path, gguf: str) -> None:
    code = "import sys\nsys.stderr.buffer.write(b'loading \\xff\\nno such tensor\\n')\nsys.exit(3)"
    peer = Peer(stand_in(tmp_path, code, "my bench"), gguf)
    with pytest.raises(UserError, match="no such tensor") as told:
        peer.measure(1, 8, 4)
    assert f"'{tmp_path / 'my bench'}' -m {gguf} -t 1 -p 8 -n 4" in str(told.value)


@script
def test_a_file_that_is_no_program_is_told(gguf: str) -> None:
    with pytest.raises(UserError, match="cannot be started: Permission denied"):
        Peer(gguf, gguf).measure(1, 8, 4)


@script
def test_a_stop_ends_the_program(tmp_path: Path, gguf: str) -> None:
    pid, cancel = tmp_path / "pid", Cancel()
    os.mkfifo(pid)
    code = (
        f"import os, time\nopen({str(pid)!r}, 'w', encoding='ascii').write(str(os.getpid()))\ntime.sleep(600)"
    )
    found: list[int] = []

    def stop() -> None:
        found.append(int(pid.read_text(encoding="ascii")))
        cancel.request()

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(Cancelled):
        Peer(stand_in(tmp_path, code), gguf).measure(1, 8, 4, cancel)
    stopper.join()
    with pytest.raises(ProcessLookupError):
        os.kill(found[0], 0)
