"""Files that are whole or not there, and that touch nobody else's."""

import os
from pathlib import Path

import pytest

from bitconverter.format.atomic import is_temporary, replacing, write_bytes


def test_a_file_is_written_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_bytes(tmp_path / "名 前.bin", b"old")
    write_bytes(tmp_path / "名 前.bin", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("名 前.bin", b"new")]


def test_a_users_file_with_a_temporary_sounding_name_stays(tmp_path: Path) -> None:
    (tmp_path / "x.json.tmp").write_bytes(b"mine")
    write_bytes(tmp_path / "x.json", b"new")
    assert (tmp_path / "x.json.tmp").read_bytes() == b"mine"
    assert not is_temporary(tmp_path / "x.json.tmp")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"old")
    with pytest.raises(RuntimeError), replacing(tmp_path / "x") as file:
        file.write(b"half")
        raise RuntimeError("stop")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x", b"old")]


def test_what_a_killed_process_leaves_is_known_by_its_name(tmp_path: Path) -> None:
    with replacing(tmp_path / ("長" * 80)) as file:
        file.write(b"x")
        (there,) = tmp_path.iterdir()
        assert is_temporary(there)


@pytest.mark.parametrize("links", [True, False])
def test_a_new_file_takes_nobodys_place(tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not links:  # as on exFAT
        monkeypatch.setattr(os, "link", no_links, raising=False)
    with replacing(tmp_path / "x", new=True) as file:
        file.write(b"first")
    with pytest.raises(FileExistsError), replacing(tmp_path / "x", new=True) as file:
        file.write(b"second")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x", b"first")]


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_the_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_bytes(tmp_path / "x", b"")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "plain").stat().st_mode
