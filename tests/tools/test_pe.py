"""What a Windows program says of itself, read from its file."""

import importlib.util
from pathlib import Path

import pe
import pytest
from windows_programs import make_program


def test_what_it_needs_and_offers(tmp_path):
    path = tmp_path / "x.dll"
    path.write_bytes(make_program(["KERNEL32.dll", "other.dll"], ["first", "second"], b"code"))
    program = pe.Program(path)
    assert program.imports() == {"KERNEL32.dll", "other.dll"}
    assert program.exports() == {"first", "second"}
    assert program.section(".text").startswith(b"code") and program.section(".none") == b""
    assert program.icons() == 0 and program.version_words() == []


def test_one_that_needs_and_offers_nothing(tmp_path):
    path = tmp_path / "x.dll"
    path.write_bytes(make_program())
    assert pe.Program(path).imports() == pe.Program(path).exports() == set()


def test_a_program_of_another_maker():
    """pip brings Windows programs along on every system: with a version, an icon and imports."""
    folder = Path(importlib.util.find_spec("pip").submodule_search_locations[0])
    program = pe.Program(folder / "_vendor" / "distlib" / "w64.exe")
    assert "KERNEL32.dll" in program.imports()
    assert program.icons() == 1
    (words,) = program.version_words()
    assert words["ProductName"] == "Simple Launcher" and words["OriginalFilename"] == "w64.exe"


@pytest.mark.parametrize("data", [b"", b"MZ", b"\x7fELF" + bytes(500)])
def test_what_is_no_windows_program_is_refused(data, tmp_path):
    path = tmp_path / "x.dll"
    path.write_bytes(data)
    with pytest.raises(pe.NoProgramError, match=r"x\.dll"):
        pe.Program(path)
