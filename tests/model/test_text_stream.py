"""Streaming text: whole characters only, none lost, the same as decoding everything at once."""

import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as RawTokenizer

from bitconverter.format.errors import UserError
from bitconverter.model.text_stream import TextStream, whole_text
from bitconverter.model.tokenizer import Tokenizer

WORDS = ["the", "he", "こん", "にちは", "日", "本", "é", "▁the", "▁", "▁▁", "\n", ".", "🙂"]
SPECIAL = ["<s>", "</s>", "<|im_end|>"]
ANY_TEXT = st.text(max_size=60) | st.text("the こんにちは日本é🙂👩‍👩‍👧\n.▁ \t", max_size=60)


def byte_level(folder: Path) -> Tokenizer:
    """Every byte, a few merges that cut characters apart, added tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("ã", "ģ"), ("t", "h"), ("th", "e"), ("Ġ", "the"), ("ðŁ", "ĺ"), ("ð", "Ł")]
    vocab = {token: i for i, token in enumerate(alphabet)}
    vocab.update({a + b: len(vocab) + i for i, (a, b) in enumerate(merges)})
    raw = RawTokenizer(models.BPE(vocab, [m for m in merges if m != ("ðŁ", "ĺ")] + [("ðŁ", "ĺ")]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    return saved(raw, folder)


def byte_fallback(folder: Path, *, strip: bool = True) -> Tokenizer:
    """As Llama 2: a space before the text, <0xXX> for what the vocabulary lacks."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *WORDS, *"abcdefghijklmnopqrstuvwxyz"]
    raw = RawTokenizer(
        models.BPE(
            {p: i for i, p in enumerate(dict.fromkeys(pieces))}, [], unk_token="<unk>", byte_fallback=True
        )
    )
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    raw.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if strip else steps)
    return saved(raw, folder)


def metaspace(folder: Path) -> Tokenizer:
    raw = RawTokenizer(models.BPE({p: i for i, p in enumerate(WORDS)}, []))
    raw.decoder = decoders.Metaspace()
    return saved(raw, folder)


def plain(folder: Path) -> Tokenizer:
    return saved(RawTokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token=".")), folder)


def saved(raw: RawTokenizer, folder: Path) -> Tokenizer:
    raw.add_special_tokens(SPECIAL)
    raw.add_tokens([AddedToken("<think>", special=False), AddedToken("｜日本｜", special=False)])
    folder.mkdir()
    raw.save(str(folder / "tokenizer.json"))
    return Tokenizer(folder)


KINDS: dict[str, Callable[[Path], Tokenizer]] = {
    "byte-level": byte_level,
    "byte-fallback": byte_fallback,
    "byte-fallback-unstripped": lambda folder: byte_fallback(folder, strip=False),
    "metaspace": metaspace,
    "plain": plain,
}


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    root = tmp_path_factory.mktemp("tokenizers")
    return {kind: make(root / kind) for kind, make in KINDS.items()}


def pieces(tokenizer: Tokenizer, ids: Sequence[int], *, skip: bool = True) -> list[str]:
    stream = TextStream(tokenizer, skip_special_tokens=skip)
    return [*(stream.push(i) for i in ids), stream.finish()]


def check_whole_characters(parts: list[str]) -> None:
    """U+FFFD only where something broken was completed; a piece always encodes."""
    for part in parts:
        part.encode("utf-8")
        assert not any(unicodedata.category(c) == "Cs" for c in part)


@pytest.mark.parametrize("kind", ["byte-level", "byte-fallback", "byte-fallback-unstripped"])
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=ANY_TEXT)
def test_any_text_streams_back_whole(kind: str, tokenizers: dict[str, Tokenizer], text: str) -> None:
    tokenizer = tokenizers[kind]
    ids = tokenizer.encode(text, add_special_tokens=False)
    parts = pieces(tokenizer, ids)
    check_whole_characters(parts)
    assert "".join(parts) == tokenizer.decode(ids)
    if kind == "byte-level" and not any(s in text for s in SPECIAL):
        assert "".join(parts) == text
        assert ("\ufffd" in "".join(parts)) == ("\ufffd" in text)


@pytest.mark.parametrize("kind", ["byte-level", "byte-fallback", "byte-fallback-unstripped"])
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=ANY_TEXT, data=st.data())
def test_any_split_of_a_text_into_tokens_streams_back_whole(
    kind: str, tokenizers: dict[str, Tokenizer], text: str, data: st.DataObject
) -> None:
    """Not only the split that the tokenizer would make: every byte a token of its own, or pieces in between."""
    tokenizer = tokenizers[kind]
    spell = {tokenizer.token(i): i for i in range(tokenizer.vocab_size)}
    ids: list[int] = []
    for character in text:
        whole = spell.get(character)
        if kind != "byte-level" and whole is not None and character != "▁" and data.draw(st.booleans()):
            ids.append(whole)
        else:
            ids += [spell[byte_token(kind, byte)] for byte in character.encode("utf-8")]
    parts = pieces(tokenizer, ids)
    check_whole_characters(parts)
    strip = kind == "byte-fallback" and text.startswith(" ")
    assert "".join(parts) == text[strip:] == tokenizer.decode(ids)
    if kind == "byte-level":  # one token per byte: a character is out when its last byte is in
        for i in range(1, len(ids) + 1):
            assert i - len("".join(parts[:i]).encode("utf-8")) <= 3


def byte_token(kind: str, byte: int) -> str:
    if kind != "byte-level":
        return f"<0x{byte:02X}>"
    plain_bytes = [*range(33, 127), *range(161, 173), *range(174, 256)]
    if byte in plain_bytes:
        return chr(byte)
    return chr(256 + sorted(set(range(256)) - set(plain_bytes)).index(byte))


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("kind", ["byte-level", "metaspace", "plain"])
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_tokens_at_all_stream_as_they_decode(
    kind: str, skip: bool, tokenizers: dict[str, Tokenizer], data: st.DataObject
) -> None:
    """A model may say anything: broken UTF-8, special and added tokens, ids that do not exist."""
    tokenizer = tokenizers[kind]
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size + 3), max_size=40))
    parts = pieces(tokenizer, ids, skip=skip)
    check_whole_characters(parts)
    assert "".join(parts) == tokenizer.decode(ids, skip_special_tokens=skip)


@pytest.mark.parametrize("kind", ["byte-fallback", "byte-fallback-unstripped"])
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_broken_bytes_of_a_fallback_lose_no_sound_character(
    kind: str, tokenizers: dict[str, Tokenizer], data: st.DataObject
) -> None:
    tokenizer = tokenizers[kind]
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size + 3), max_size=40))
    raw = b""
    for i in ids:
        token = tokenizer.token(i)
        if token is not None and i not in tokenizer.special_ids:
            byte = 1 <= i <= 256
            raw += bytes([i - 1]) if byte else token.replace("▁", " ").encode("utf-8")
    expected = raw.decode("utf-8", "replace")
    if kind == "byte-fallback":
        expected = expected.removeprefix(" ")
    parts = pieces(tokenizer, ids)
    check_whole_characters(parts)
    assert "".join(parts) == expected
    if "\ufffd" not in expected:
        assert expected == tokenizer.decode(ids)


def test_a_character_comes_with_its_last_byte(tokenizers: dict[str, Tokenizer]) -> None:
    for kind in ("byte-level", "byte-fallback"):
        tokenizer = tokenizers[kind]
        spell = {tokenizer.token(i): i for i in range(tokenizer.vocab_size)}
        stream = TextStream(tokenizer)
        out = [stream.push(spell[byte_token(kind, byte)]) for byte in "é🙂a".encode()]
        assert out == ["", "é", "", "", "", "🙂", "a"]
        assert stream.finish() == ""


def test_an_unfinished_character_is_shown_as_broken_at_the_end(tokenizers: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers["byte-level"]
    spell = {tokenizer.token(i): i for i in range(tokenizer.vocab_size)}
    stream = TextStream(tokenizer)
    assert [stream.push(spell[byte_token("byte-level", b)]) for b in "🙂".encode()[:3]] == ["", "", ""]
    assert stream.finish() == "\ufffd"
    assert stream.push(spell["a"]) == "a", "after finish it is a new stream"


def test_the_space_before_a_text_is_taken_off_once(tokenizers: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers["byte-fallback"]
    spell = {tokenizer.token(i): i for i in range(tokenizer.vocab_size)}
    stream = TextStream(tokenizer)
    assert [stream.push(spell[t]) for t in ("<s>", "▁", "▁the", "▁the")] == ["", "", " the", " the"]
    stream.finish()
    assert [stream.push(spell[t]) for t in ("▁the", "▁the")] == ["the", " the"]


def test_a_decoder_nobody_knows_is_refused(tmp_path: Path) -> None:
    raw = RawTokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    raw.decoder = decoders.CTC()
    tokenizer = saved(raw, tmp_path / "odd")
    with pytest.raises(UserError, match="CTC") as caught:
        TextStream(tokenizer)
    assert caught.value.code == "unsupported-tokenizer"


@given(text=ANY_TEXT)
def test_any_text_streams_back_whole_from_a_real_vocabulary(smollm2: Path, text: str) -> None:
    tokenizer = real_tokenizer(smollm2)
    ids = tokenizer.encode(text, add_special_tokens=False)
    parts = pieces(tokenizer, ids)
    check_whole_characters(parts)
    assert "".join(parts) == tokenizer.decode(ids)
    if not any(unicodedata.category(c) in ("Cc", "Cn", "Co") or c in SPECIAL for c in text):
        # some control characters, and bytes of characters yet to be assigned, have no token: they are dropped
        assert "".join(parts) == text


@given(data=st.data())
def test_any_tokens_of_a_real_vocabulary_stream_as_they_decode(smollm2: Path, data: st.DataObject) -> None:
    tokenizer = real_tokenizer(smollm2)
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size), max_size=30))
    assert "".join(pieces(tokenizer, ids)) == tokenizer.decode(ids)


@cache
def real_tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer(folder)


@pytest.mark.parametrize("kind", ["byte-level", "byte-fallback"])
def test_a_cut_answer_ends_and_begins_with_a_whole_character(
    tokenizers: dict[str, Tokenizer], kind: str
) -> None:
    tokenizer = tokenizers[kind]
    text = "茶は青い🙂"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert len(ids) > 2 * len(text)  # its characters are spread over tokens
    for cut in range(len(ids) + 1):
        begin = whole_text(tokenizer, ids[:cut])
        rest = whole_text(tokenizer, ids[cut:], before=ids[:cut])
        assert "\ufffd" not in begin + rest and begin + rest == text
    assert whole_text(tokenizer, [], before=ids) == ""
