"""A model folder's tokenizer: text to token ids and back, and which ids end an answer."""

import hashlib
import json
import re
import stat
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from bitconverter.format.errors import UserError
from bitconverter.model.tokenizer_growth import check_growth

_NAMED_TOKENS = (
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
)  # fmt: skip
# What the class that wrote a tokenizer_config.json takes for granted and so may leave out.
_CLASS_TOKENS = {
    "LlamaTokenizer": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    "Qwen2Tokenizer": {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
}
# Added by many who trained a model further (Llama 2 has none), often without a row in the model: no text has it.
_PADDING = {"<pad>", "<PAD>", "[PAD]", "<|pad|>", "<|padding|>"}
_SIZE_LIMIT = 256 << 20  # bytes of a JSON file; the largest real tokenizer.json has about 35 MB


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a model folder; {} when the file is not there.

    Raises UserError("damaged-file") when it is not a JSON object.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # reading a pipe waits for ever
            raise ValueError("it is no file")
        if found.st_size > _SIZE_LIMIT:
            raise ValueError("it is too large to be what its name says")
        value = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(value, dict):
            raise ValueError("it does not hold an object")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            "damaged-file",
            f"{path} cannot be used: {error}. Copy the file from the model's source again.",
            file=str(path),
        ) from error
    return value


def special_tokens(folder: Path) -> dict[str, str]:
    """bos_token, eos_token, ... as text, from tokenizer_config.json and special_tokens_map.json."""
    config = read_json(folder / "tokenizer_config.json")
    written_by = str(config.get("tokenizer_class", "")).removesuffix("Fast")
    tokens: dict[str, Any] = {**_CLASS_TOKENS.get(written_by, {})}
    tokens.update({name: config[name] for name in _NAMED_TOKENS if name in config})
    if "added_tokens_decoder" not in config:  # an older folder: the map has the last word
        older = read_json(folder / "special_tokens_map.json")
        tokens.update({name: older[name] for name in _NAMED_TOKENS if name in older})
    texts = {name: t.get("content") if isinstance(t, dict) else t for name, t in tokens.items()}
    return {name: _whole_characters(text) for name, text in texts.items() if isinstance(text, str)}


def open_tokenizer(data: bytes) -> tokenizers.Tokenizer:
    """The library's tokenizer of a tokenizer.json's bytes. Raises ValueError, whatever the library does not like."""
    with _as_value_error():
        if re.search(rb'"continuing_subword_prefix"\s*:\s*"[^"]', data):
            _check_prefix(json.loads(data.decode("utf-8-sig")))
        tokenizer = tokenizers.Tokenizer.from_buffer(data.removeprefix(BOM_UTF8))
        check_growth(tokenizer)
        return tokenizer


@contextmanager
def _as_value_error() -> Iterator[None]:
    """The library raises plain Exception, and where it panics a BaseException that nobody expects."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        raise ValueError(str(error)[:300] or type(error).__name__) from error


def _check_prefix(file: dict[str, Any]) -> None:
    """The library takes the prefix off every right half of a merge; where it is not there, that may end the process."""
    model = file["model"]
    if model.get("type", "BPE") != "BPE":
        return
    for merge in model["merges"]:
        right = (merge.split(" ") if isinstance(merge, str) else merge)[-1]
        if not right.startswith(model["continuing_subword_prefix"]):
            raise ValueError(f"the merge {merge!r} lacks the prefix of its right half")


def rows_needed(tokenizer: tokenizers.Tokenizer) -> int:
    """One more than the largest id that text can come to; a token that only fills batches does not count."""
    fillers = {i for i, t in tokenizer.get_added_tokens_decoder().items() if t.content in _PADDING}
    ids = tokenizer.get_vocab(with_added_tokens=True).values()
    return 1 + max((i for i in ids if i not in fillers), default=-1)


class Tokenizer:
    """Text to ids and back. Immutable; safe to use from several threads.

    What turns text to ids or back raises UserError("damaged-file") where the tokenizer fails over it.
    """

    def __init__(self, folder: Path) -> None:
        """Raises UserError("no-tokenizer" or "damaged-file") saying what to do."""
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise _missing(folder)
        try:
            self._tokenizer = open_tokenizer(path.read_bytes())
        except (OSError, ValueError) as error:
            raise UserError(
                "damaged-file",
                f"{path} is not a tokenizer that can be read ({error}). "
                "Copy tokenizer.json from the model's source again.",
                file=str(path),
            ) from error
        # a file may ask for cutting or padding; a chat's text is taken whole
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.folder = folder
        self.special_tokens = special_tokens(folder)
        self.special_ids = frozenset(
            i for i, t in self._tokenizer.get_added_tokens_decoder().items() if t.special
        )
        self.bos_id = self._named_id("bos_token")
        self.eos_ids = self._find_eos_ids()

    @cached_property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)

    def check_fits(self, model_vocab: int) -> None:
        """Raises UserError("tokenizer-mismatch") when text can come to ids that the model has no row for.

        (A model may well have more rows than the tokenizer has ids: padding.)
        """
        needed = rows_needed(self._tokenizer)
        if needed > model_vocab:
            raise UserError(
                "tokenizer-mismatch",
                f"The tokenizer of {self.folder.absolute().name} has {needed} tokens, the model only "
                f"{model_vocab}: they do not belong together. Copy tokenizer.json from the model's source again.",
                tokenizer=needed,
                model=model_vocab,
            )

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Ids of `text`. A chat template writes its own special tokens: encode its text without adding any."""
        # of the library's two ways only the batch lets other threads run meanwhile: the window, for one
        with self._works():
            (encoding,) = self._tokenizer.encode_batch(
                [_whole_characters(text)], add_special_tokens=add_special_tokens
            )
            return list(encoding.ids)

    def encode_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids of `text` without added ones, and for each the part of the text (start, stop) that it stands for.

        `text` must hold no lone surrogates: replacing them would shift the places.
        """
        with self._works():
            (encoding,) = self._tokenizer.encode_batch([text], add_special_tokens=False)
            return list(encoding.ids), list(encoding.offsets)

    @contextmanager
    def _works(self) -> Iterator[None]:
        try:
            with _as_value_error():
                yield
        except ValueError as error:
            path = self.folder / "tokenizer.json"
            raise UserError(
                "damaged-file",
                f"{path} cannot turn a text into tokens or back ({error}). "
                "Copy tokenizer.json from the model's source again.",
                file=str(path),
            ) from error

    @cached_property
    def _plain(self) -> tokenizers.Tokenizer:
        copy = tokenizers.Tokenizer.from_str(self._tokenizer.to_str())
        copy.encode_special_tokens = True
        return copy

    def encode_plainly(self, text: str) -> list[int]:
        """Ids of a text in which the spelling of a special token (<s>, <|im_end|>) is nothing but letters."""
        with self._works():
            (encoding,) = self._plain.encode_batch([_whole_characters(text)], add_special_tokens=False)
            return list(encoding.ids)

    def begin_ids(self) -> list[int]:
        """What the tokenizer puts before a text of its own accord: the begin token, or nothing."""
        added = self.encode("", add_special_tokens=True)[:1]
        return added if added == [self.bos_id] else []

    @property
    def end_id(self) -> int | None:
        """The token that ends a text: eos_token, else the smallest of what the model's files call so."""
        named = self._named_id("eos_token")
        return named if named is not None else min(self.eos_ids, default=None)

    @cached_property
    def sha256(self) -> str:
        """Of tokenizer.json's bytes: what was encoded with one must not be learned by the model of another."""
        return hashlib.sha256((self.folder / "tokenizer.json").read_bytes()).hexdigest()

    @cached_property
    def special_texts(self) -> tuple[str, ...]:
        """The spelling of every special token, which a text must not hold by accident."""
        table = self._tokenizer.get_added_tokens_decoder()
        return tuple(sorted({token.content for token in table.values() if token.special and token.content}))

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Text of `ids`; broken UTF-8 becomes U+FFFD."""
        with self._works():
            return str(self._tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens))

    def token(self, token_id: int) -> str | None:
        """The vocabulary's own spelling of one token, None when there is no such id."""
        return self._tokenizer.id_to_token(token_id)

    def id_of(self, token: str) -> int | None:
        """The id of a token by the vocabulary's own spelling, None when there is none."""
        found = self._tokenizer.token_to_id(token)
        return None if found is None else int(found)

    def decoder(self) -> dict[str, Any] | None:
        """What tokenizer.json says under "decoder": how tokens become text. None: joined by spaces."""
        decoder = self._tokenizer.decoder
        return None if decoder is None else dict(json.loads(decoder.__getstate__()))

    def _named_id(self, name: str) -> int | None:
        text = self.special_tokens.get(name)
        return None if text is None else self._tokenizer.token_to_id(text)

    def _find_eos_ids(self) -> frozenset[int]:
        """Every id that any of the folder's files calls the end: a model may use several."""
        found: set[int] = set()
        for name in ("generation_config.json", "config.json"):
            value = read_json(self.folder / name).get("eos_token_id")
            found.update(_ids(value))
        named = self._named_id("eos_token")
        if named is not None:
            found.add(named)
        return frozenset(found)


def _ids(value: Any) -> Iterable[int]:
    values = value if isinstance(value, list) else [value]
    return (v for v in values if isinstance(v, int) and not isinstance(v, bool) and v >= 0)


def _whole_characters(text: str) -> str:
    """Lone surrogates (halves of characters, from broken input) become U+FFFD; everything else stays."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _missing(folder: Path) -> UserError:
    if not folder.is_dir():
        return UserError(
            "no-model", f"There is no folder {folder}. Choose a model folder.", folder=str(folder)
        )
    if (folder / "tokenizer.model").is_file():
        return UserError(
            "no-tokenizer",
            f"{folder.absolute().name} has its tokenizer only as tokenizer.model (SentencePiece), which is not read "
            "here. Get the tokenizer.json of the same model (most publishers have it beside the weights), or make "
            'one with: python -c "from transformers import AutoTokenizer as T; '
            "T.from_pretrained('FOLDER').save_pretrained('FOLDER')\".",
            folder=str(folder),
        )
    return UserError(
        "no-tokenizer",
        f"{folder.absolute().name} has no tokenizer.json, so text cannot be turned into tokens. "
        "Copy tokenizer.json and tokenizer_config.json from the model's source into the folder.",
        folder=str(folder),
    )
