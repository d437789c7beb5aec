"""Tokenizers rebuilt from GGUF metadata: the ids they give, which tokens are special, what ends an answer."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from bitconverter.format.errors import UserError
from bitconverter.model.gguf_pretokenizers import PRE_TOKENIZERS
from bitconverter.model.gguf_source import GgufSource
from bitconverter.model.gguf_tokenizer import tokenizer_files

TEXTS = [
    "Hello  world, it's 12345 o'clock; I'LL go.\n\n\n  x",
    "日本語のテスト。絵文字😀👩‍👩‍👧‍👦と漢字、ひらがな。",
    "def f(x):\n\treturn x ** 2  # comment\r\n",
    "<|im_start|>user\nhi<|im_end|>\n",
    "   lead and trail   ",
    "ﬁ e\u0301 Ω½ ²³ ٣٤٥ naïve Ünïcödé",
    "",
]


def rebuilt(metadata: dict[str, Any]) -> tuple[Tokenizer, dict[str, Any], dict[str, Any]]:
    files = tokenizer_files(metadata, "m.gguf")
    parsed = {name: json.loads(data.decode("utf-8")) for name, data in files.items()}
    tokenizer = Tokenizer.from_str(files["tokenizer.json"].decode("utf-8"))
    return tokenizer, parsed["tokenizer_config.json"], parsed["generation_config.json"]


def trained(pre: str) -> tuple[Tokenizer, dict[str, Any]]:
    """A byte-level BPE trained on the texts, as the library makes it, and the GGUF metadata of the same."""
    tokenizer = Tokenizer(models.BPE())
    splits = [pre_tokenizers.Split(_regex(p), "isolated") for p in PRE_TOKENIZERS[pre].patterns]
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, byte_level])
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
        special_tokens=["<|im_start|>", "<|im_end|>"],
    )  # fmt: skip
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3, 3] + [1] * (len(tokens) - 2),
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.add_bos_token": False,
    }
    return tokenizer, metadata


def _regex(pattern: str) -> Any:
    from tokenizers import Regex

    return Regex(pattern)


@pytest.mark.parametrize(
    "pre", ["smollm", "llama-bpe", "qwen2", "gpt-2", "default", "tekken", "gpt-4o", "deepseek-v3"]
)
def test_a_byte_level_tokenizer_comes_back(pre: str) -> None:
    original, metadata = trained(pre)
    tokenizer, config, _ = rebuilt(metadata)
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        if not PRE_TOKENIZERS[pre].nfc:
            assert ids == original.encode(text).ids
            assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert config["bos_token"] == "<|im_start|>"
    assert tokenizer.encode("<|im_start|>").ids == [0]
    assert tokenizer.decode([0, 1], skip_special_tokens=True) == ""


@pytest.mark.parametrize("pre", sorted(PRE_TOKENIZERS))
def test_every_known_pre_tokenizer_loses_no_character(pre: str) -> None:
    _, metadata = trained("gpt-2")
    tokenizer, _, _ = rebuilt({**metadata, "tokenizer.ggml.pre": pre})
    for text in TEXTS:
        if not PRE_TOKENIZERS[pre].nfc:
            assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


@pytest.mark.parametrize(
    ("pre", "text", "pieces"),
    [
        ("llama-bpe", "It's 12345  x", ["It", "'s", " ", "123", "45", " ", " x"]),
        ("qwen2", "It's 123  x", ["It", "'s", " ", "1", "2", "3", " ", " x"]),
        ("smollm", "a 123", ["a", " ", "1", "2", "3"]),
        ("gpt-2", "a 123", ["a", " 123"]),
        ("tekken", "HelloWorld 12", ["Hello", "World", " ", "1", "2"]),
        ("gpt-4o", "HELLO it's 1234", ["HELLO", " it's", " ", "123", "4"]),
    ],
)
def test_text_is_cut_as_the_name_says(pre: str, text: str, pieces: list[str]) -> None:
    _, metadata = trained("gpt-2")
    tokenizer, _, _ = rebuilt({**metadata, "tokenizer.ggml.pre": pre})
    assert [text[a:b] for _, (a, b) in tokenizer.pre_tokenizer.pre_tokenize_str(text)] == pieces


def test_llama3_begins_with_bos_unless_the_file_says_no() -> None:
    _, metadata = trained("llama-bpe")
    del metadata["tokenizer.ggml.add_bos_token"]
    tokenizer, config, _ = rebuilt(metadata)
    assert tokenizer.encode("x").ids[0] == 0
    assert tokenizer.encode("x", add_special_tokens=False).ids[0] != 0
    assert config["add_bos_token"] is True
    tokenizer, config, _ = rebuilt({**metadata, "tokenizer.ggml.add_bos_token": False})
    assert tokenizer.encode("x").ids[0] != 0


def test_a_user_defined_token_is_whole_but_not_special() -> None:
    _, metadata = trained("gpt-2")
    number = len(metadata["tokenizer.ggml.tokens"])
    metadata["tokenizer.ggml.tokens"].append("<think>")
    metadata["tokenizer.ggml.token_type"].append(4)
    tokenizer, _, _ = rebuilt(metadata)
    assert tokenizer.encode("a<think>").ids[-1] == number
    assert tokenizer.decode([number], skip_special_tokens=True) == "<think>"


def test_everything_that_ends_an_answer_is_named() -> None:
    _, metadata = trained("gpt-2")
    metadata["tokenizer.ggml.tokens"] += ["<|eot_id|>", "<|eom_id|>", "<turn>"]
    metadata["tokenizer.ggml.token_type"] += [3, 1, 3]
    number = metadata["tokenizer.ggml.tokens"].index("<turn>")
    _, _, generation = rebuilt({**metadata, "tokenizer.ggml.eot_token_id": number})
    assert generation["eos_token_id"] == [1, number, number - 2]  # <|eom_id|> is an ordinary token here


def test_the_chat_template_goes_into_the_config() -> None:
    _, metadata = trained("gpt-2")
    _, config, _ = rebuilt({**metadata, "tokenizer.chat_template": "{{ '日本語' }}"})
    assert config["chat_template"] == "{{ '日本語' }}"


PIECES = {
    "<unk>": 0.0, "<s>": 0.0, "</s>": 0.0,
    "\u2581": -3.0, "a": -4.0, "b": -5.0, "c": -6.0, "ab": -2.0, "bc": -1.5, "abc": -2.5, "\u2581a": -1.0,
    "\u2581ab": -2.2, "ca": -2.1, "日": -7.0, "本": -7.5, "日本": -3.3, "cab": -4.4, "aa": -2.0, "bb": -2.0,
}  # fmt: skip


def sentence_piece(**more: Any) -> dict[str, Any]:
    tokens = list(PIECES)[:3] + [f"<0x{k:02X}>" for k in range(256)] + list(PIECES)[3:]
    types = [2, 3, 3] + [6] * 256 + [1] * (len(PIECES) - 3)
    scores = [PIECES.get(token, 0.0) for token in tokens]
    keys = {"model": "llama", "tokens": tokens, "token_type": types, "scores": scores, **more}
    return {f"tokenizer.ggml.{key}": value for key, value in keys.items()}


def spm_pieces(text: str) -> list[str]:
    """What SentencePiece does: join the neighbours whose joint piece has the best score, leftmost first."""
    pieces = list("\u2581" + text.replace(" ", "\u2581"))
    while True:
        joins = [
            (-PIECES[pieces[k] + pieces[k + 1]], k)
            for k in range(len(pieces) - 1)
            if pieces[k] + pieces[k + 1] in PIECES
        ]
        if not joins:
            break
        _, k = min(joins)
        pieces[k : k + 2] = [pieces[k] + pieces[k + 1]]
    out: list[str] = []
    for piece in pieces:
        out += [piece] if piece in PIECES else [f"<0x{byte:02X}>" for byte in piece.encode("utf-8")]
    return out


@given(text=st.text(alphabet="abc 日本語é😀\n", max_size=24))
def test_sentence_piece_scores_become_the_same_pieces(text: str) -> None:
    tokenizer, _, _ = rebuilt(sentence_piece())
    encoding = tokenizer.encode(text)
    assert encoding.tokens == ["<s>", *(spm_pieces(text) if text else [])]
    assert tokenizer.decode(encoding.ids) == text


def test_sentence_piece_without_a_space_before_the_text() -> None:
    tokenizer, _, _ = rebuilt(sentence_piece(add_space_prefix=False, add_bos_token=False))
    assert tokenizer.encode("ab").tokens == ["ab"]
    assert tokenizer.decode(tokenizer.encode(" ab").ids) == " ab"


def test_sentence_piece_knows_its_special_tokens_by_default() -> None:
    _, config, generation = rebuilt(sentence_piece())
    assert (config["bos_token"], config["eos_token"], config["unk_token"]) == ("<s>", "</s>", "<unk>")
    assert generation == {"bos_token_id": 1, "eos_token_id": 2}


def test_a_piece_of_a_million_letters_is_refused_at_once() -> None:
    """Every cut of it would be looked at, with a copy of it each."""
    metadata = sentence_piece()
    metadata["tokenizer.ggml.tokens"][-1] = "a" * 2_000_000
    with pytest.raises(UserError, match="a token of 2000000 letters") as caught:
        tokenizer_files(metadata, "m.gguf")
    assert caught.value.code == "gguf-tokenizer"


def test_a_sentence_piece_vocabulary_without_the_usual_special_tokens_has_none() -> None:
    _, config, generation = rebuilt(sentence_piece(tokens=["a"], token_type=[1], scores=[0.0]))
    assert config.get("bos_token") is None and config.get("eos_token") is None and generation == {}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"model": "bert"}, '"gpt2" and "llama" can be rebuilt'),
        ({"model": None}, "can be rebuilt"),
        ({"pre": "klingon"}, "'klingon' is not known; known are .*llama-bpe.*qwen2"),
        ({"pre": None}, "does not say how"),
        ({"tokens": ["a", "a"]}, "twice"),
        ({"tokens": "abc"}, "tokens is missing or of the wrong type"),
        ({"token_type": ["x"]}, "token_type is missing or of the wrong type"),
        ({"token_type": [3] * 9999}, "more token types than tokens"),
        ({"merges": ["zz qq"]}, "not all tokens"),
        ({"merges": [5]}, "merges is missing or of the wrong type"),
    ],
)
def test_what_cannot_be_rebuilt_is_said(changes: dict[str, Any], why: str) -> None:
    _, metadata = trained("gpt-2")
    changed = {f"tokenizer.ggml.{key}": value for key, value in changes.items()}
    with pytest.raises(UserError, match=why) as caught:
        tokenizer_files({**metadata, **changed}, "m.gguf")
    assert "m.gguf" in str(caught.value)


def test_the_real_model_has_the_tokenizer_it_was_published_with(smollm2_gguf: Path) -> None:
    """Facts of SmolLM2's own tokenizer: ids that it gives to these texts."""
    files = GgufSource(smollm2_gguf).side_files()
    data = files["tokenizer.json"]
    assert isinstance(data, bytes)
    tokenizer = Tokenizer.from_str(data.decode("utf-8"))
    known = {
        "Hello  world, it's 12345.": [19556, 216, 905, 28, 357, 506, 216, 33, 34, 35, 36, 37, 30],
        "日本語 😀": [23274, 115, 40993, 179, 120, 248, 40303, 218],
        "<|im_start|>user\nhi<|im_end|>\n": [1, 4093, 198, 6004, 2, 198],
        "def f(x):\n\treturn x ** 2\r\n": [
            1604,
            275,
            24,
            104,
            727,
            198,
            197,
            5406,
            1792,
            1903,
            216,
            34,
            2738,
        ],
    }
    for text, ids in known.items():
        assert tokenizer.encode(text).ids == ids
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text
