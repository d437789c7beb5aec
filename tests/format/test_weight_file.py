"""The weight file's writer, its journal and its lock."""

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors
from hypothesis import given
from hypothesis import strategies as st

from bitconverter.format import weight_file
from bitconverter.format.errors import UserError
from bitconverter.format.journal import Journal
from bitconverter.format.lock import FolderLock
from bitconverter.format.safetensors_file import SafetensorsFile
from bitconverter.format.weight_file import ALIGN, WeightFile, header_space

TENSORS = {
    "a": np.arange(7, dtype=np.uint8),
    "b": np.arange(6, dtype=np.float16).reshape(2, 3),
    "長い名前 😀": np.arange(64, dtype=np.float32).reshape(4, 16),
    "c": np.array([1], np.int8),
}
DTYPES = {"uint8": "U8", "float16": "F16", "float32": "F32", "int8": "I8"}


def write_all(path: Path) -> WeightFile:
    file = WeightFile(path, header_space([(name, values.shape) for name, values in TENSORS.items()]), [])
    for name, values in TENSORS.items():
        file.write(name, DTYPES[values.dtype.name], values.shape, values)
    return file


def test_the_finished_file_opens_in_the_library_and_every_tensor_is_aligned(tmp_path: Path) -> None:
    file = write_all(tmp_path / "w.safetensors")
    file.finish()
    file.close()
    ours = SafetensorsFile(tmp_path / "w.safetensors")
    with safetensors.safe_open(tmp_path / "w.safetensors", "np") as library:
        for name, values in TENSORS.items():
            assert np.array_equal(library.get_tensor(name), values)
            assert ours.tensors[name].offset % ALIGN == 0
        assert all(name in TENSORS or name.startswith("__pad__.") for name in library.keys())  # noqa: SIM118


def test_before_it_is_finished_it_does_not_look_whole(tmp_path: Path) -> None:
    write_all(tmp_path / "w.safetensors").close()
    with pytest.raises(UserError):
        SafetensorsFile(tmp_path / "w.safetensors")


def test_reopened_behind_a_commit_it_ends_in_the_same_bytes(tmp_path: Path) -> None:
    whole = write_all(tmp_path / "whole")
    whole.finish()
    whole.close()
    for kept in range(len(TENSORS) + 1):
        first = write_all(tmp_path / "parts")
        first.close()
        second = WeightFile(tmp_path / "parts", first._space, first.parts[:kept])
        for name, values in list(TENSORS.items())[kept:]:
            second.write(name, DTYPES[values.dtype.name], values.shape, values)
        second.finish()
        second.close()
        assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()


def test_in_pieces_or_at_once_is_the_same(tmp_path: Path) -> None:
    values = np.arange(100, dtype=np.float32)
    parts = []
    for name, pieces in (("once", [values]), ("pieces", [values[:33], values[33:34], values[34:]])):
        file = WeightFile(tmp_path / name, 4096, [])
        with file.part("w", "F32", values.shape) as part:
            for piece in pieces:
                part.append(piece)
        file.close()
        parts.append(part.written)
    assert parts[0] == parts[1]
    assert (tmp_path / "once").read_bytes() == (tmp_path / "pieces").read_bytes()


def test_a_damaged_part_is_found(tmp_path: Path) -> None:
    file = write_all(tmp_path / "w")
    assert all(file.check_part(part) for part in file.parts)
    with open(tmp_path / "w", "r+b") as raw:
        raw.seek(file.parts[2].offset + 5)
        raw.write(b"\xff")
    assert [file.check_part(part) for part in file.parts] == [True, True, False, True]
    file.close()


def test_a_full_disk_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = WeightFile(tmp_path / "w", 4096, [])

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(weight_file.os, "fsync", full)
    file.write("a", "U8", (3,), np.zeros(3, np.uint8))
    with pytest.raises(UserError, match=r"disk of .* is full.*goes on where it stopped") as caught:
        file.sync()
    assert caught.value.code == "disk-full"
    file.close()


@given(
    names=st.lists(
        st.tuples(st.text(min_size=1, max_size=30), st.lists(st.integers(0, 2**40), max_size=3)), max_size=20
    )
)
def test_the_reserved_space_holds_any_header(names: list[tuple[str, list[int]]]) -> None:
    tensors = {name: tuple(shape) for name, shape in names}
    space = header_space(tensors.items())
    entries = []
    for k, (name, shape) in enumerate(tensors.items()):
        entries.append(weight_file.TensorEntry(f"__pad__.{k}", "U8", (63,), space + 10**14, 63))
        entries.append(weight_file.TensorEntry(name, "BF16", shape, space + 10**14, 10**14))
    assert len(weight_file.header_bytes(entries, space, weight_file.METADATA)) == space


RECORDS = [{"name": "a", "x": 0.1}, {"name": "日本語 😀", "parts": [1, 2]}, {"done": True}]


def test_a_journal_gives_back_what_was_appended(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    for record in RECORDS:
        journal.append(record)
    journal.close()
    again = Journal(tmp_path / "j")
    assert again.records == RECORDS
    again.cut(1)
    again.append({"name": "b"})
    again.close()
    third = Journal(tmp_path / "j")
    assert third.records == [RECORDS[0], {"name": "b"}]
    third.close()


@given(cut=st.integers(0, 200), flip=st.integers(0, 200))
def test_a_torn_or_damaged_journal_keeps_its_good_beginning(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "torn"
    path.unlink(missing_ok=True)
    journal = Journal(path)
    for record in RECORDS:
        journal.append(record)
    journal.close()
    data = bytearray(path.read_bytes())
    whole_lines = [len(b"".join(bytes(data).splitlines(keepends=True)[:k])) for k in range(len(RECORDS) + 1)]
    flip %= len(data)
    data[flip] ^= 0x15
    path.write_bytes(data[: len(data) - cut % len(data)])
    good = min(flip, len(data) - cut % len(data))
    expected = sum(1 for end in whole_lines[1:] if end <= good)
    torn = Journal(path)
    assert torn.records == RECORDS[:expected]
    torn.append({"name": "next"})
    torn.close()
    again = Journal(path)
    assert again.records == [*RECORDS[:expected], {"name": "next"}]
    again.close()


def test_two_processes_cannot_hold_one_folder(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    imports = "from pathlib import Path; from bitconverter.format.lock import FolderLock"
    script = f"{imports}; FolderLock(Path({str(tmp_path)!r}))"
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, encoding="utf-8")
    assert other.returncode == 1
    assert "Another running program is working in" in other.stderr
    lock.release()
    assert not (tmp_path / "lock").exists()
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == 0
    FolderLock(tmp_path).release()  # the other process ended without letting go
