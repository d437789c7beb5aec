"""The pack: what is written is read, and everything else is refused with a reason."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file

from bitconverter.format.errors import FormatError
from bitconverter.format.pack_file import EXAMPLE, TEXT, Pack, looks_raw, read_pack, read_raw, write_pack

PACK = Pack(
    tokens=np.array([1, 5, 6, 2, 9, 8, 7], np.uint32),
    offsets=np.array([0, 4, 7], np.uint64),
    mask=np.array([0, 0, 1, 1, 0, 1, 1], np.uint8),
    kinds=np.array([EXAMPLE, TEXT], np.uint8),
    held=np.array([0, 1], np.uint8),
    places=np.array([[0, 3], [1, 1]], np.uint32),
    files=("本.jsonl", "b.txt"),
    name="教材",
    tokenizer_sha256="ab" * 32,
    window=3,
    notes={"licence": "CC0"},
)


def test_a_pack_comes_back(tmp_path: Path) -> None:
    path, again = tmp_path / "a.u32", tmp_path / "b.u32"
    write_pack(path, PACK)
    back = read_pack(path)
    for field in dataclasses.fields(Pack):
        mine, theirs = getattr(PACK, field.name), getattr(back, field.name)
        if isinstance(mine, np.ndarray):
            np.testing.assert_array_equal(mine, theirs)
            assert mine.dtype == theirs.dtype
        else:
            assert mine == theirs
    assert [part.tolist() for part in back.entry(1)] == [[9, 8, 7], [0, 1, 1]]
    np.testing.assert_array_equal(load_file(path)["tokens"], PACK.tokens)  # the library reads it too
    with safe_open(path, "np") as file:
        assert file.metadata()["format"] == "bitconverter-pack"
    write_pack(again, back)
    assert again.read_bytes() == path.read_bytes()
    assert not looks_raw(path)


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"offsets": np.array([0, 4, 6], np.uint64)}, "do not divide"),
        ({"offsets": np.array([0, 7, 4], np.uint64)}, "do not divide"),
        ({"offsets": np.array([0, 0, 7], np.uint64)}, "do not divide"),
        ({"offsets": np.array([0, 7], np.uint64)}, "offsets has the shape"),
        ({"mask": np.array([1, 0, 1, 1, 0, 1, 1], np.uint8)}, "first token of an entry"),
        ({"mask": np.array([0, 0, 2, 1, 0, 1, 1], np.uint8)}, "other values than 0 and 1"),
        ({"mask": np.zeros(3, np.uint8)}, "mask has the shape"),
        ({"kinds": np.array([1, 7], np.uint8)}, "other values than 0 and 1"),
        ({"held": np.array([1, 0, 0], np.uint8)}, "held has the shape"),
        ({"places": np.array([[0, 3], [2, 1]], np.uint32)}, "a file that it does not name"),
        ({"tokens": np.array([1, 5, 6, 2, 2**31, 8, 7], np.uint32)}, "is no token id"),
        ({"window": 2}, "an example has 4 tokens"),
        ({"window": 0}, "its window is '0'"),
        ({"tokenizer_sha256": "no"}, "which tokenizer"),
    ],
)
def test_a_pack_that_contradicts_itself_is_refused(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    write_pack(tmp_path / "a.u32", dataclasses.replace(PACK, **changes))
    with pytest.raises(FormatError, match=reason) as raised:
        read_pack(tmp_path / "a.u32")
    assert raised.value.code == "pack-broken"


def test_another_version_and_a_changed_byte_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.u32"
    write_pack(path, PACK)
    good = path.read_bytes()
    path.write_bytes(good.replace(b'"format_version":"1"', b'"format_version":"2"'))
    with pytest.raises(FormatError, match="format_version is '2'"):
        read_pack(path)
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(FormatError, match="SHA-256"):
        read_pack(path)
    for end in (0, 7, 100, len(good) - 1):
        path.write_bytes(good[:end])
        with pytest.raises(FormatError):
            read_pack(path)


@given(st.data())
def test_damage_of_any_kind_is_an_error_with_a_sentence_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damage") / "a.u32"
    write_pack(path, PACK)
    content = bytearray(path.read_bytes())
    header = len(bytes(content).rstrip(b"\0 "))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(header, 1200)))] = data.draw(st.integers(0, 255))
    path.write_bytes(
        content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    )
    try:
        pack = read_pack(path)
    except FormatError as error:
        assert str(error).endswith(".")
    else:
        assert int(pack.offsets[-1]) == len(pack.tokens)


def test_raw_token_ids_and_their_mask(tmp_path: Path) -> None:
    path, mask = tmp_path / "raw.u32", tmp_path / "raw.mask"
    path.write_bytes(np.array([3, 1, 2], "<u4").tobytes())
    assert looks_raw(path)
    tokens, none = read_raw(path)
    assert tokens.tolist() == [3, 1, 2] and none is None
    mask.write_bytes(bytes([0, 1, 1]))
    assert read_raw(path)[1].tolist() == [0, 1, 1]  # type: ignore[union-attr]
    with pytest.raises(FormatError, match="must go through prepare first"):
        read_pack(path)
    for content, words, code, reason in (
        (b"abc", bytes(3), "raw-size", "no multiple of 4"),
        (b"", b"", "raw-empty", "it is empty"),
        (b"\xff" * 4, bytes(1), "raw-token", "which is no token id"),
        (bytes(8), bytes(1), "raw-mask-size", "2 tokens, and raw.mask 1 bytes"),
        (bytes(8), bytes([0, 2]), "raw-mask-value", "byte 1 of raw.mask"),
    ):
        path.write_bytes(content)
        mask.write_bytes(words)
        with pytest.raises(FormatError, match=reason) as raised:
            read_raw(path)
        assert raised.value.code == code
