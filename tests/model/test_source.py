"""Folders and files as sources: what is read is what is there, and what is wrong is named."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from model_folders import golden_copy, shard
from safetensors.numpy import load_file

from bitconverter.format.errors import UserError
from bitconverter.model.hf_source import HfSource
from bitconverter.model.open_source import open_source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return golden_copy("llama2", tmp_path / "モデル 😀 x")


def test_tensors_are_those_of_the_library(folder: Path) -> None:
    source = HfSource(folder)
    assert source.problems == []
    for name, values in load_file(folder / "model.safetensors").items():
        assert np.array_equal(source.read_rows(name, 0, values.shape[0]), values)


def test_shards_read_like_one_file(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    shard(folder, 4)
    source = open_source(folder)
    assert source.problems == []
    assert set(source.tensors) == set(tensors)
    for name, values in tensors.items():
        assert np.array_equal(source.read_rows(name, 0, values.shape[0]), values)


@pytest.mark.parametrize("inside", ["config.json", "model.safetensors"])
def test_a_file_of_the_folder_stands_for_the_folder(folder: Path, inside: str) -> None:
    assert open_source(folder / inside).path == folder


def test_what_is_no_model_is_refused_with_a_hint(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UserError, match="There is no"):
        open_source(tmp_path / "nothing")
    (tmp_path / "only.gguf").write_bytes(b"GGUF")
    with pytest.raises(UserError, match=r"choose the file itself: only\.gguf"):
        open_source(tmp_path)
    (tmp_path / "text.txt").write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match="neither a model folder nor"):
        open_source(tmp_path / "text.txt")


def test_an_index_with_a_byte_order_mark_is_read(folder: Path) -> None:
    shard(folder, 5)
    index = folder / "model.safetensors.index.json"
    index.write_bytes(b"\xef\xbb\xbf" + index.read_bytes())
    assert HfSource(folder).problems == []


def test_shards_without_an_index_are_counted_by_their_names(folder: Path) -> None:
    files = shard(folder, 5)
    (folder / "model.safetensors.index.json").unlink()
    assert HfSource(folder).problems == []
    (folder / files[2]).unlink()
    (folder / files[4]).unlink()
    messages = [item.message for item in HfSource(folder).problems]
    assert [message.split(" ")[0] for message in messages] == [files[2], files[4]]


@pytest.mark.parametrize(
    ("front", "licence"),
    [
        ("license: mit", "mit"),
        ("license:\n- apache-2.0\n- mit", "apache-2.0, mit"),
        ("license: [apache-2.0, mit]", "apache-2.0, mit"),
        ("license:\nlanguage: en", None),
        ("license: # to be decided\nlanguage:\n- en", None),
        ('license: other\nlicense_name: "The Licence of X"  # see below', "The Licence of X"),
        ("license_name: 'x-1'\nlicense: other\nlicense_link: LICENSE", "x-1"),
    ],
)
def test_the_licence_of_the_front_matter_is_what_yaml_says(
    folder: Path, front: str, licence: str | None
) -> None:
    (folder / "README.md").write_text(f"---\n{front}\ntags:\n- x\n---\n# A model\n", encoding="utf-8")
    assert HfSource(folder).licence() == licence


def test_the_licence_is_found_in_the_front_matter_or_beside_it(folder: Path) -> None:
    assert HfSource(folder).licence() is None
    (folder / "LICENSE.txt").write_text("...", encoding="utf-8")
    assert HfSource(folder).licence() == "see LICENSE.txt"
    (folder / "README.md").write_text("---\nlanguage: ja\nlicense: apache-2.0\n---\n# x\n", encoding="utf-8")
    assert HfSource(folder).licence() == "apache-2.0"
    (folder / "README.md").write_text("---\nlicense: other\nlicense_name: llama3.1\n---\n", encoding="utf-8")
    assert HfSource(folder).licence() == "llama3.1"
    assert set(HfSource(folder).side_files()) == {"tokenizer.json", "LICENSE.txt", "SOURCE_README.md"}


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("chat_template.jinja", "{{ x }}", "{{ x }}"),
        ("tokenizer_config.json", json.dumps({"chat_template": "a"}), "a"),
        (
            "tokenizer_config.json",
            json.dumps({"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]}),
            "d",
        ),
    ],
)  # fmt: skip
def test_the_chat_template_is_found_where_models_keep_it(
    folder: Path, file: str, content: str, expected: str
) -> None:
    assert HfSource(folder).chat_template() is None
    (folder / file).write_text(content, encoding="utf-8")
    template = HfSource(folder).chat_template()
    assert template is not None and template.source == expected


def test_a_chat_template_in_a_damaged_file_is_not_taken_for_a_missing_one(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="tokenizer_config"):
        HfSource(folder).chat_template()


def test_the_fingerprint_follows_the_weights(folder: Path) -> None:
    before = HfSource(folder).fingerprint()
    assert HfSource(folder).fingerprint() == before
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert HfSource(folder).fingerprint() != before


def test_a_model_in_the_download_cache_has_its_own_name(tmp_path: Path) -> None:
    folder = golden_copy("llama2", tmp_path / "models--org--Tiny-Model" / "snapshots" / "0a1b2c")
    assert HfSource(folder).name == "Tiny-Model"


def test_one_weight_file_wins_over_an_index_as_in_the_engine(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    whole = (folder / "model.safetensors").read_bytes()
    first = shard(folder, 2)[0]
    (folder / first).write_bytes(b"never looked at")
    (folder / "model.safetensors").write_bytes(whole)
    source = HfSource(folder)
    assert [(item.code, item.level) for item in source.problems] == [("index-ignored", "warning")]
    assert source.weight_files() == [folder / "model.safetensors"]
    assert source.total_bytes == sum(values.nbytes for values in tensors.values())
    for name, values in tensors.items():
        assert np.array_equal(source.read_rows(name, 0, values.shape[0]), values)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
@pytest.mark.parametrize(
    "name", ["model.safetensors", "weights.safetensors", "model-00001-of-00001.safetensors"]
)
def test_a_link_to_nothing_is_named(folder: Path, name: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).symlink_to(folder / "blobs" / "0a1b")
    (item,) = HfSource(folder).problems
    assert item.level == "error" and item.fields["file"] == name
    assert name in item.message and "leads to" in item.message and "0a1b" in item.message
