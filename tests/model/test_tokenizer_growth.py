"""A tokenizer that would make gigabytes of a letter is refused before it meets a text."""

import base64
import struct
from pathlib import Path

import pytest
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as RawTokenizer

from bitconverter.format.errors import UserError
from bitconverter.model.tokenizer import Tokenizer, open_tokenizer
from bitconverter.model.tokenizer_growth import check_growth


def byte_level() -> RawTokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = RawTokenizer(models.BPE({token: i for i, token in enumerate(alphabet)}, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return raw


def precompiled(longest: str) -> normalizers.Precompiled:
    """A table of one row, without a trie that leads to it: how long the row is decides."""
    return normalizers.Precompiled(struct.pack("<I", 1024) + bytes(1024) + longest.encode() + b"\0")


def template(single: str, ids: int = 1) -> processors.TemplateProcessing:
    state = processors.TemplateProcessing(single=single, special_tokens=[("<s>", 0)])
    if ids == 1:
        return state
    return processors.TemplateProcessing(
        single=single, special_tokens=[{"id": "<s>", "ids": [0] * ids, "tokens": ["!"] * ids}]
    )


@pytest.mark.parametrize(
    "normalizer",
    [
        normalizers.Sequence([normalizers.Replace("a", "aa")] * 40),
        normalizers.Sequence([normalizers.Sequence([normalizers.Replace("a", "aa")] * 4)] * 4),
        normalizers.Replace("a", "b" * 101),
        normalizers.Replace("", "b" * 100),
        normalizers.Replace(Regex("x*"), "b" * 100),
        normalizers.Prepend("▁" * 100),
        normalizers.Sequence([normalizers.NFKC()] * 2),
        precompiled("b" * 101),
    ],
    ids=["doubled", "nested", "long", "nothing", "expression", "before", "twice", "table"],
)
def test_a_normalizer_that_makes_a_text_endless_is_refused(normalizer: normalizers.Normalizer) -> None:
    raw = byte_level()
    raw.normalizer = normalizer
    with pytest.raises(ValueError, match="its normalizer makes a text more than 100 times longer"):
        open_tokenizer(raw.to_str().encode())


def test_a_pre_tokenizer_that_doubles_letters_again_and_again_is_refused() -> None:
    raw = byte_level()
    raw.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(add_prefix_space=False)] * 4)
    with pytest.raises(ValueError, match="its pre_tokenizer"):
        check_growth(raw)


def test_a_decoder_and_a_template_that_do_are_refused() -> None:
    raw = byte_level()
    raw.decoder = decoders.Sequence([decoders.Replace("a", "aa")] * 7)
    with pytest.raises(ValueError, match="its decoder"):
        check_growth(raw)
    for processor in (
        template(" ".join(["$A"] * 101)),
        processors.Sequence([template("$A $A")] * 7),
        template("<s> $A", ids=101),
    ):
        raw = byte_level()
        raw.post_processor = processor
        with pytest.raises(ValueError, match="its post_processor"):
            check_growth(raw)


def test_what_real_models_do_is_read() -> None:
    """Llama 2's spaces, SentencePiece's own table with the longest letter of NFKC, Llama 3's begin token."""
    raw = byte_level()
    raw.normalizer = normalizers.Sequence(
        [precompiled("صلى الله عليه وسلم"), normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    raw.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    raw.post_processor = processors.Sequence([processors.ByteLevel(), template("<s> $A")])
    check_growth(raw)
    check_growth(byte_level())


def test_the_file_is_named(tmp_path: Path) -> None:
    raw = byte_level()
    raw.normalizer = normalizers.Sequence([normalizers.Replace("a", "aa")] * 40)
    raw.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match="makes a text more than 100 times longer") as refused:
        Tokenizer(tmp_path)
    assert refused.value.code == "damaged-file"
    assert refused.value.fields["file"] == str(tmp_path / "tokenizer.json")


def test_a_table_without_its_size_is_damaged() -> None:
    charsmap = base64.b64encode(b"\0\0").decode()
    with pytest.raises(ValueError):
        open_tokenizer(
            byte_level()
            .to_str()
            .replace(
                '"normalizer":null',
                f'"normalizer":{{"type":"Precompiled","precompiled_charsmap":"{charsmap}"}}',
            )
            .encode()
        )
