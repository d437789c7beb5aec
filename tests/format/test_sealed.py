"""What a sealed state reads as: itself, or as damage."""

from pathlib import Path

import pytest

from bitconverter.format.sealed import load_sealed, save_sealed

VALUE = {"identity": "one", "matrices": {"a": 0.125, "b": 3.5e-17}, "名前": [1, None]}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save_sealed(tmp_path / "s.json", VALUE)
    assert load_sealed(tmp_path / "s.json") == VALUE
    assert [path.name for path in tmp_path.iterdir()] == ["s.json"]


def test_a_changed_digit_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    save_sealed(path, VALUE)
    path.write_text(path.read_text(encoding="utf-8").replace("0.125", "0.126"), encoding="utf-8")
    with pytest.raises(ValueError, match="not what was written"):
        load_sealed(path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"{}", b"[]", b"[1]", b"3", b"null", b'{"sha256": 1}', b"\xff", b"[" * 99999]
)
def test_anything_else_is_damage(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s.json").write_bytes(content)
    with pytest.raises(ValueError):
        load_sealed(tmp_path / "s.json")


def test_no_file_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_sealed(tmp_path / "s.json")
