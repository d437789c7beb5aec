"""The soul file: what is written is read, and everything else is refused with a reason."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bitconverter.format.errors import FormatError
from bitconverter.format.soul_file import FORMAT, Soul, read_soul, soul_bytes, weights_hash

GAINS = {"model.layers.1.mlp.up_proj": np.array([0.5, 1.5, 1], np.float32), "b": np.array([2], np.float32)}
SOUL = Soul(GAINS, "モデル", "ab" * 32, {"lesson": "本.txt"})


def test_a_soul_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.soul"
    path.write_bytes(soul_bytes(SOUL))
    back = read_soul(path)
    assert (back.base_name, back.base_sha256, back.notes) == (SOUL.base_name, SOUL.base_sha256, SOUL.notes)
    assert set(back.gains) == set(GAINS)
    for name, gain in GAINS.items():
        np.testing.assert_array_equal(back.gains[name], gain)
    assert set(load_file(path)) == {name + ".gain" for name in GAINS}  # the library reads it too
    assert soul_bytes(back) == soul_bytes(SOUL)


def stored(tmp_path: Path, metadata: dict[str, str], **tensors: np.ndarray) -> Path:
    path = tmp_path / "b.soul"
    base = {**FORMAT, "adapter": "gain", "base_name": "x", "base_sha256": "ab" * 32}
    save_file({name.replace("_", "."): value for name, value in tensors.items()}, path, {**base, **metadata})
    return path


ONES = np.ones(2, np.float32)


@pytest.mark.parametrize(
    "metadata, tensors, reason",
    [
        ({"format": "other"}, {"a_gain": ONES}, "format is 'other'"),
        ({"format_version": "0"}, {"a_gain": ONES}, "format_version is '0'"),
        ({"format_version": "next"}, {"a_gain": ONES}, "format_version is 'next'"),
        ({"content_sha256": "ab" * 32}, {"a_gain": ONES}, "not what was written"),
        ({"content_sha256": ""}, {"a_gain": ONES}, "not what was written"),
        ({"adapter": "planes"}, {"a_gain": ONES}, "adapter is 'planes'"),
        ({"adapter": "lora"}, {"a_gain": ONES}, "not a part of a low-rank"),
        ({"base_sha256": "xyz"}, {"a_gain": ONES}, "which model"),
        ({}, {"a_gain": ONES.astype(np.float16)}, "not a row of gains"),
        ({}, {"a_gain": np.ones((2, 2), np.float32)}, "not a row of gains"),
        ({}, {"a_scales": ONES}, "not a row of gains"),
        ({}, {"a_gain": np.array([1, 0], np.float32)}, "not all positive"),
        ({}, {"a_gain": np.array([1, -1], np.float32)}, "not all positive"),
        ({}, {"a_gain": np.array([1, np.nan], np.float32)}, "not all positive"),
        ({}, {"a_gain": np.array([1, np.inf], np.float32)}, "not all positive"),
    ],
)
def test_what_is_no_soul_is_refused(
    tmp_path: Path, metadata: dict[str, str], tensors: dict[str, np.ndarray], reason: str
) -> None:
    path = stored(tmp_path, metadata, **tensors)
    with pytest.raises(FormatError, match=reason):
        read_soul(path)


def test_a_soul_of_low_rank_additions_comes_back(tmp_path: Path) -> None:
    rng, path = np.random.default_rng(1), tmp_path / "a.soul"
    lora = {"b": tuple(rng.standard_normal(s).astype(np.float32) for s in ((2, 5), (3, 2)))}
    soul = Soul({}, "base", "ab" * 32, {}, lora)  # type: ignore[arg-type]
    path.write_bytes(soul_bytes(soul))
    back = read_soul(path)
    assert not back.gains and soul_bytes(back) == soul_bytes(soul)
    for got, want in zip(back.lora["b"], lora["b"], strict=True):
        np.testing.assert_array_equal(got, want)


A, B = np.ones((2, 5), np.float32), np.ones((3, 2), np.float32)


@pytest.mark.parametrize(
    "tensors, reason",
    [
        ({"a.lora_a": A}, "only one part"),
        ({"a.lora_b": B}, "a part of an addition alone"),
        ({"a.lora_a": A[0], "a.lora_b": B}, "not a part"),
        ({"a.lora_a": A.astype(np.float16), "a.lora_b": B}, "not a part"),
        ({"a.lora_a": A[:1], "a.lora_b": B}, "ranks of 'a' are 1 and 2"),
        ({"a.lora_a": A[:0], "a.lora_b": B[:, :0]}, "ranks of 'a' are 0"),
        ({"a.lora_a": np.ones((257, 1), np.float32), "a.lora_b": np.ones((1, 257), np.float32)}, "are 257"),
        ({"a.lora_a": A * np.nan, "a.lora_b": B}, "not all numbers"),
        ({"a.lora_a": A, "a.lora_b": B, "a.gain": ONES}, "not a part"),
    ],
)
def test_low_rank_additions_that_cannot_be_are_refused(
    tmp_path: Path, tensors: dict[str, np.ndarray], reason: str
) -> None:
    path = tmp_path / "b.soul"
    metadata = {**FORMAT, "adapter": "lora", "base_name": "x", "base_sha256": "ab" * 32}
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, path, metadata)
    with pytest.raises(FormatError, match=reason):
        read_soul(path)


def test_a_soul_of_added_matrices_comes_back(tmp_path: Path) -> None:
    rng, path = np.random.default_rng(1), tmp_path / "a.soul"
    delta = {
        "b": (rng.integers(0, 256, (2, 3, 7)).astype(np.uint8), rng.standard_normal(13).astype(np.float32))
    }
    soul = Soul({}, "base", "ab" * 32, {}, {}, delta)
    path.write_bytes(soul_bytes(soul))
    back = read_soul(path)
    assert not back.gains and not back.lora and soul_bytes(back) == soul_bytes(soul)
    for got, want in zip(back.delta["b"], delta["b"], strict=True):
        np.testing.assert_array_equal(got, want)
    assert back.on_processor and not SOUL.on_processor


P, S = np.ones((2, 2, 4), np.uint8), np.ones(7, np.float32)


@pytest.mark.parametrize(
    "tensors, reason",
    [
        ({"a.delta_planes": P}, "have no scales"),
        ({"a.delta_scales": S}, "something beside"),
        ({"a.delta_planes": P[0], "a.delta_scales": S}, "is not planes"),
        ({"a.delta_planes": P.astype(np.int8), "a.delta_scales": S}, "is not planes"),
        ({"a.delta_planes": P, "a.delta_scales": S[:5]}, "for 5 rows"),
        ({"a.delta_planes": np.ones((5, 2, 4), np.uint8), "a.delta_scales": S}, "planes of 'a' are"),
        ({"a.delta_planes": P, "a.delta_scales": S * np.inf}, "not all numbers"),
        ({"a.delta_planes": P, "a.delta_scales": S, "a.gain": S}, "something beside"),
    ],
)
def test_added_matrices_that_cannot_be_are_refused(
    tmp_path: Path, tensors: dict[str, np.ndarray], reason: str
) -> None:
    path = tmp_path / "b.soul"
    metadata = {**FORMAT, "adapter": "delta", "base_name": "x", "base_sha256": "ab" * 32}
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, path, metadata)
    with pytest.raises(FormatError, match=reason):
        read_soul(path)


LORA = Soul({}, "base", "ab" * 32, {}, {"a": (A, B)})
ADDED = Soul({}, "base", "ab" * 32, {}, {}, {"a": (P, S)})


def same(one: Soul, other: Soul) -> bool:
    return soul_bytes(one) == soul_bytes(other)


@pytest.mark.parametrize("soul", [SOUL, LORA, ADDED], ids=["gain", "lora", "delta"])
def test_no_flipped_bit_changes_what_is_read(tmp_path: Path, soul: Soul) -> None:
    """It is refused, but for a flip in the name of the hash itself, which leaves the rest as it was."""
    data, path = soul_bytes(soul), tmp_path / "c.soul"
    text = len(data[: data.index(b"}} ")]) + 2
    refused = 0
    for place in (*range(text), *range(4096, len(data))):
        for bit in (0, 3, 7):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            try:
                assert same(read_soul(path), soul)
            except FormatError:
                refused += 1
    assert 3 * (text + len(data) - 4096) - refused <= 3 * len("content_sha256")


def test_a_soul_without_a_hash_is_read_as_before(tmp_path: Path) -> None:
    path = stored(tmp_path, {"base_name": "モデル", "note.lesson": "本.txt"}, b_gain=GAINS["b"])
    assert same(read_soul(path), Soul({"b": GAINS["b"]}, "モデル", "ab" * 32, {"lesson": "本.txt"}))


def test_the_hash_is_what_the_format_says(tmp_path: Path) -> None:
    path = tmp_path / "a.soul"
    path.write_bytes(soul_bytes(SOUL))
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata = header.pop("__metadata__")
    told = metadata.pop("content_sha256")
    tensors = [[name, header[name]["dtype"], header[name]["shape"]] for name in sorted(header)]
    line = json.dumps({"metadata": metadata, "tensors": tensors}, sort_keys=True, separators=(",", ":"))
    parts = [load_file(path)[name].tobytes() for name in sorted(header)]
    assert told == hashlib.sha256(line.encode() + b"\n" + b"".join(parts)).hexdigest()


def test_a_soul_of_a_newer_version_says_so(tmp_path: Path) -> None:
    for version in ("2", "99", "9" * 5000):
        with pytest.raises(
            FormatError, match=r"newer version of this program .* Update this program"
        ) as caught:
            read_soul(stored(tmp_path, {"format_version": version}, a_gain=ONES))
        assert caught.value.code == "soul-newer"


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    data, path = soul_bytes(SOUL), tmp_path / "c.soul"
    for length in (0, 7, 100, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(FormatError):
            read_soul(path)


def test_the_hash_is_of_all_files_in_order(tmp_path: Path) -> None:
    for name, data in (("2", b"b"), ("1", b"a")):
        (tmp_path / name).write_bytes(data)
    assert weights_hash(tmp_path.iterdir()) == hashlib.sha256(b"ab").hexdigest()
