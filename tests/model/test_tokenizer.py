"""A model folder's tokenizer: what is found, what is added, what is refused."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as RawTokenizer
from tokenizers import decoders, models, pre_tokenizers, processors

from bitconverter.format.errors import UserError
from bitconverter.model.tokenizer import Tokenizer, read_json, special_tokens


def write(folder: Path, name: str, content: object) -> None:
    (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def make(folder: Path) -> RawTokenizer:
    """Byte-level, <s> before a text when special tokens are wanted."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = RawTokenizer(models.BPE({token: i for i, token in enumerate(alphabet)}, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(["<s>", "</s>", "<|eot|>"])
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 256)])
    folder.mkdir(exist_ok=True)
    raw.save(str(folder / "tokenizer.json"))
    return raw


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make(tmp_path / "日本 model")
    return tmp_path / "日本 model"


def test_special_tokens_are_added_only_when_wanted(folder: Path) -> None:
    tokenizer = Tokenizer(folder)
    with_bos = tokenizer.encode("ab", add_special_tokens=True)
    assert with_bos == [256, *tokenizer.encode("ab", add_special_tokens=False)]
    assert tokenizer.encode("<s>a</s>", add_special_tokens=False)[::2] == [256, 257]
    assert tokenizer.decode(with_bos) == "ab"
    assert tokenizer.decode(with_bos, skip_special_tokens=False) == "<s>ab"
    assert tokenizer.special_ids == {256, 257, 258}
    assert tokenizer.token(257) == "</s>" and tokenizer.token(9999) is None


@given(text=st.text(st.characters(exclude_categories=()), max_size=40))
def test_any_string_can_be_encoded_and_comes_back(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Lone surrogates, which broken input may hold, become U+FFFD."""
    folder = tmp_path_factory.getbasetemp() / "any-string"
    if not folder.exists():
        make(folder)
    tokenizer = Tokenizer(folder)
    sound = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == sound


def test_cutting_and_padding_that_the_file_asks_for_are_off(folder: Path) -> None:
    raw = make(folder)
    raw.enable_truncation(4)
    raw.enable_padding(length=64)
    raw.save(str(folder / "tokenizer.json"))
    assert len(Tokenizer(folder).encode("x" * 20, add_special_tokens=False)) == 20


PLAIN = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
    "pre_tokenizer": None, "post_processor": None, "decoder": None,
}  # fmt: skip
BPE = {"type": "BPE", "vocab": {" ": 0, "a": 1, "b": 2, "ab": 3, "!": 4}, "merges": [["a", "b"]]}
REGEX = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}


@pytest.mark.parametrize("prefix", ["##", "abc", "\u00a9"])
def test_a_tokenizer_over_which_the_library_panics_is_named(tmp_path: Path, prefix: str) -> None:
    """The last one ended the process."""
    model = BPE | {"continuing_subword_prefix": prefix}
    if prefix == "\u00a9":
        model |= {"vocab": {"a": 0, "\u00e9": 1, "a\u00e9": 2}, "merges": ["a \u00e9"]}
    write(tmp_path, "tokenizer.json", PLAIN | {"model": model})
    with pytest.raises(UserError, match=r"tokenizer\.json") as caught:
        Tokenizer(tmp_path)
    assert caught.value.code == "damaged-file"


@pytest.mark.parametrize(
    "part",
    [
        {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
        {"pre_tokenizer": REGEX},
        {"model": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": {"a": 0}}},
        {"decoder": {"type": "Strip", "content": " ", "start": 1, "stop": 1}},
    ],
)
def test_a_text_over_which_the_library_panics_names_the_tokenizer(
    tmp_path: Path, part: dict[str, Any]
) -> None:
    write(tmp_path, "tokenizer.json", PLAIN | {"model": BPE} | part)
    tokenizer = Tokenizer(tmp_path)
    with pytest.raises(UserError, match=r"tokenizer\.json") as caught:
        tokenizer.encode("a" * 40 + "!", add_special_tokens=True)
        tokenizer.encode_plainly("a" * 40 + "!")
        tokenizer.decode([0])
    assert caught.value.code == "damaged-file"


@pytest.mark.parametrize(
    "generation, config, named, expected",
    [
        ({}, {}, None, set()),
        ({"eos_token_id": 257}, {}, None, {257}),
        ({"eos_token_id": [257, 258]}, {"eos_token_id": 5}, None, {5, 257, 258}),
        ({"eos_token_id": None}, {"eos_token_id": [6]}, "</s>", {6, 257}),
        ({}, {}, {"content": "<|eot|>", "special": True}, {258}),
        ({"eos_token_id": ["x", True, -1, 1.5, {}]}, {"eos_token_id": "</s>"}, "not there", set()),
    ],
)
def test_every_end_token_of_every_file_counts(
    folder: Path, generation: dict, config: dict, named: Any, expected: set[int]
) -> None:
    write(folder, "generation_config.json", generation)
    write(folder, "config.json", config)
    if named is not None:
        write(folder, "tokenizer_config.json", {"eos_token": named})
    assert Tokenizer(folder).eos_ids == expected


def test_the_named_tokens_come_from_the_right_file(folder: Path) -> None:
    write(folder, "special_tokens_map.json", {"bos_token": "<map>", "eos_token": {"content": "</s>"}})
    assert special_tokens(folder) == {"bos_token": "<map>", "eos_token": "</s>"}
    write(folder, "tokenizer_config.json", {"bos_token": "<s>", "pad_token": None})
    assert special_tokens(folder)["bos_token"] == "<map>", "in an older folder the map has the last word"
    write(folder, "tokenizer_config.json", {"bos_token": "<s>", "added_tokens_decoder": {}})
    assert special_tokens(folder) == {"bos_token": "<s>"}
    assert Tokenizer(folder).bos_id == 256


@pytest.mark.parametrize("name", ["LlamaTokenizer", "LlamaTokenizerFast"])
def test_what_the_class_takes_for_granted_is_known(folder: Path, name: str) -> None:
    write(folder, "tokenizer_config.json", {"tokenizer_class": name, "added_tokens_decoder": {}})
    assert special_tokens(folder) == {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    assert Tokenizer(folder).eos_ids == {257}


def test_a_tokenizer_must_not_be_larger_than_the_model(folder: Path) -> None:
    tokenizer = Tokenizer(folder)
    assert tokenizer.vocab_size == 259
    tokenizer.check_fits(259)
    tokenizer.check_fits(320)
    with pytest.raises(UserError, match="259") as caught:
        tokenizer.check_fits(258)
    assert caught.value.code == "tokenizer-mismatch"
    assert caught.value.fields == {"tokenizer": 259, "model": 258}


def test_a_token_that_only_fills_batches_needs_no_row(folder: Path) -> None:
    """Many models that grew out of Llama 2 have such a one, and no more rows than before."""
    data = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    more = {**data["added_tokens"][0], "id": 259, "content": "[PAD]", "special": True}
    write(folder, "tokenizer.json", {**data, "added_tokens": [*data["added_tokens"], more]})
    tokenizer = Tokenizer(folder)
    tokenizer.check_fits(259)
    assert 259 not in tokenizer.encode("a [pad] of paper", add_special_tokens=True)
    write(
        folder,
        "tokenizer.json",
        {**data, "added_tokens": [*data["added_tokens"], {**more, "content": "<|im_end|>"}]},
    )
    with pytest.raises(UserError, match="260"):
        Tokenizer(folder).check_fits(259)


def test_a_missing_tokenizer_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tokenizer") as caught:
        Tokenizer(tmp_path)
    assert caught.value.code == "no-tokenizer"
    (tmp_path / "tokenizer.model").write_bytes(b"sentencepiece")
    with pytest.raises(UserError, match="SentencePiece") as caught:
        Tokenizer(tmp_path)
    assert caught.value.code == "no-tokenizer"
    with pytest.raises(UserError) as caught:
        Tokenizer(tmp_path / "nowhere")
    assert caught.value.code == "no-model"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"version": "1.0", "model": 3}'])
def test_a_damaged_tokenizer_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(UserError, match=r"tokenizer\.json") as caught:
        Tokenizer(tmp_path)
    assert caught.value.code == "damaged-file"


@pytest.mark.parametrize("content", [b"{", b"3", b"\xff", b'{"a": ' * 50_000])
def test_a_damaged_json_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "generation_config.json").write_bytes(content)
    with pytest.raises(UserError, match=r"generation_config\.json") as caught:
        read_json(tmp_path / "generation_config.json")
    assert caught.value.code == "damaged-file"
    assert read_json(tmp_path / "nothing.json") == {}


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"\xef\xbb\xbf{}")
    assert read_json(tmp_path / "config.json") == {}


def test_half_a_character_in_a_named_token_is_no_token(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text('{"bos_token": "\\ud800"}', encoding="utf-8")
    tokenizer = Tokenizer(folder)
    assert tokenizer.bos_id is None and tokenizer.special_tokens["bos_token"] == "\ufffd"


@pytest.mark.skipif(os.name == "nt", reason="pipes in folders are of POSIX")
def test_a_pipe_in_the_place_of_a_json_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tokenizer_config.json")
    with pytest.raises(UserError, match="it is no file") as caught:
        read_json(tmp_path / "tokenizer_config.json")
    assert caught.value.code == "damaged-file"
