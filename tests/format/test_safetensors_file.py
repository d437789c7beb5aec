"""Reading safetensors: the library's files read as the library does; hostile headers are refused."""

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from bitconverter.format.errors import FormatError
from bitconverter.format.safetensors_file import SafetensorsFile, TensorEntry, as_bytes, header_bytes


def write(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode("utf-8")
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_files_of_the_library_read_alike(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    tensors = {
        "a": rng.normal(size=(7, 5)).astype(np.float32),
        "b.半": rng.normal(size=(3, 2, 4)).astype(np.float16),
        "empty": np.zeros((0, 4), np.float32),
    }
    path = tmp_path / "模型 😀.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    file = SafetensorsFile(path)
    assert file.metadata == {"format": "pt"}
    assert set(file.tensors) == set(tensors)
    for name, values in tensors.items():
        assert np.array_equal(file.read_rows(name, 0, len(values)), values)
    assert np.array_equal(file.read_rows("a", 2, 5), tensors["a"][2:5])


def test_bf16_is_read_as_its_bits(tmp_path: Path) -> None:
    bits = np.arange(12, dtype=np.uint16).reshape(4, 3)
    path = tmp_path / "x.safetensors"
    spec = safetensors.TensorSpec(
        dtype="bfloat16", shape=[4, 3], data_ptr=bits.ctypes.data, data_len=bits.nbytes
    )
    safetensors.serialize_file({"x": spec}, str(path))
    assert np.array_equal(SafetensorsFile(path).read_rows("x", 1, 3), bits[1:3])


def test_our_header_opens_in_the_library(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    head = header_bytes([TensorEntry("w", "F32", (2, 3), 4096, 24)], 4096, {"format": "pt"})
    path = tmp_path / "w.safetensors"
    path.write_bytes(head + bytes(as_bytes(values)))
    with safetensors.safe_open(path, "np") as file:
        assert np.array_equal(file.get_tensor("w"), values)


def test_a_header_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="reserved"):
        header_bytes([TensorEntry("w" * 200, "F32", (1,), 64, 4)], 64, {})


@pytest.mark.parametrize(
    ("header", "data", "why"),
    [
        (b"{{", b"", "not valid JSON"),
        (b"\xff\xfe", b"", "not valid JSON"),
        (b"[1]", b"", "not a JSON object"),
        (b"[" * 100_000, b"", "not valid JSON"),
        (b'{"a": 1, "a": 2}', b"", "twice"),
        ({"a": 5}, b"", "lacks dtype"),
        ({"a": {"dtype": "F32", "shape": [1]}}, b"1234", "lacks dtype"),
        ({"a": entry([1], 0, 4, "F31")}, b"1234", "unknown dtype"),
        ({"a": entry([-1], 0, 4)}, b"1234", "impossible shape"),
        ({"a": entry([True], 0, 4)}, b"1234", "impossible shape"),
        ({"a": entry([2**60, 2**60], 0, 4)}, b"1234", "impossible shape"),
        ({"a": entry([2**52, 2**52], 0, 4)}, b"1234", "cannot have 4 bytes"),
        ({"a": entry([2], 0, 4)}, b"1234", "cannot have 4 bytes"),
        ({"a": entry([1], 4, 0)}, b"1234", "cannot have -4 bytes"),
        ({"a": entry([1], 0, 4), "b": entry([1], 0, 4)}, b"1234", "an overlap"),
        ({"a": entry([1], 4, 8)}, b"12345678", "a hole"),
        ({"a": entry([1], 0, 4)}, b"12345", "follow the last tensor"),
        ({"a": entry([1], 0, 4)}, b"123", "is incomplete"),
        ({"__metadata__": {"a": 1}}, b"", "__metadata__"),
    ],
)
def test_a_broken_file_is_refused_with_its_name(tmp_path: Path, header: Any, data: bytes, why: str) -> None:
    path = write(tmp_path / "bad.safetensors", header, data)
    with pytest.raises(FormatError, match=why) as caught:
        SafetensorsFile(path)
    assert "bad.safetensors" in str(caught.value)


@pytest.mark.parametrize("length", [0, 1, 2**63, 10**6])
def test_a_wrong_header_length_is_refused(tmp_path: Path, length: int) -> None:
    with pytest.raises(FormatError):
        SafetensorsFile(write(tmp_path / "bad.safetensors", b"{}", length=length))


@pytest.mark.parametrize("size", [0, 5])
def test_a_file_shorter_than_its_length_field_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(b"\0" * size)
    with pytest.raises(FormatError, match="only"):
        SafetensorsFile(path)


def test_a_file_cut_after_it_was_opened_is_an_error_not_garbage(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", {"a": entry([4], 0, 16)}, b"x" * 16)
    file = SafetensorsFile(path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(FormatError, match="too early"):
        file.read_rows("a", 0, 4)


def test_integer_weights_are_refused_with_their_name(tmp_path: Path) -> None:
    file = SafetensorsFile(write(tmp_path / "a.safetensors", {"a": entry([4], 0, 4, "I8")}, b"1234"))
    with pytest.raises(FormatError, match="tensor a is stored as I8"):
        file.read_rows("a", 0, 4)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
headers = st.dictionaries(
    st.text(max_size=4),
    st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "BF16", "U8", "X", 3]),
            "shape": st.lists(st.integers(-1, 5), max_size=3) | json_values,
            "data_offsets": st.lists(st.integers(-1, 40), min_size=2, max_size=2) | json_values,
        }
    )
    | json_values,
    max_size=3,
)


@given(header=headers | json_values, data=st.binary(max_size=48))
def test_any_header_is_either_whole_or_refused(
    tmp_path_factory: pytest.TempPathFactory, header: Any, data: bytes
) -> None:
    path = write(tmp_path_factory.getbasetemp() / "any.safetensors", header, data)
    try:
        file = SafetensorsFile(path)
    except FormatError:
        return
    with safetensors.safe_open(path, "np") as oracle:  # what we accept, the library accepts
        assert set(oracle.keys()) == set(file.tensors)
    assert sum(tensor.bytes for tensor in file.tensors.values()) == len(data)


@given(data=st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.safetensors"
    path.write_bytes(data)
    try:
        SafetensorsFile(path)
    except FormatError as error:
        assert "bytes.safetensors" in str(error)


@pytest.mark.skipif(os.name == "nt", reason="pipes in folders are of POSIX")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.safetensors")
    with pytest.raises(FormatError, match="no file but a pipe"):
        SafetensorsFile(tmp_path / "a.safetensors")
