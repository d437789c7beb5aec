"""tokenizer.json and its companions from a GGUF file's metadata.

Two kinds: "gpt2" (byte-level BPE with a merge list and a named pre-tokenizer) and "llama" (SentencePiece:
pieces with scores, from which the merges of an equal BPE follow).
"""

import json
from collections.abc import Mapping
from typing import Any

from bitconverter.format.errors import UserError
from bitconverter.model.gguf_pretokenizers import PRE_TOKENIZERS, PreTokenizer

UNKNOWN, CONTROL, USER_DEFINED = 2, 3, 4  # tokenizer.ggml.token_type; 1 normal, 5 unused, 6 byte
PIECE_LIMIT = (
    1000  # letters of a piece with a score: of every cut of it is asked whether it is one; real ones have 16
)
SPACE = "\u2581"  # SentencePiece's mark for a space
# Control tokens that end an answer in some model family, whether or not the file calls them EOS.
END_TOKENS = {
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<end_of_turn>",
}


def tokenizer_files(metadata: Mapping[str, Any], name: str) -> dict[str, bytes]:
    """tokenizer.json, tokenizer_config.json, special_tokens_map.json, generation_config.json.

    `metadata` is a GGUF file's, `name` the file's for errors. Raises UserError for a kind that cannot be rebuilt.
    """
    vocabulary = _Vocabulary(metadata, name)
    config = vocabulary.config()
    special = {
        key: config[key] for key in ("bos_token", "eos_token", "unk_token", "pad_token") if key in config
    }
    files = {
        "tokenizer.json": vocabulary.tokenizer(),
        "tokenizer_config.json": config,
        "special_tokens_map.json": special,
        "generation_config.json": vocabulary.generation_config(),
    }
    return {key: _json(value) for key, value in files.items()}


class _Vocabulary:
    """The tokenizer's metadata, checked."""

    def __init__(self, metadata: Mapping[str, Any], name: str) -> None:
        self._metadata = metadata
        self._name = name
        self.model = self._get("model")
        if self.model not in ("gpt2", "llama"):
            raise self._error(
                f'its tokenizer is of the kind {self.model!r}; "gpt2" and "llama" can be rebuilt'
            )
        self.tokens = self._list("tokens", str)
        if not self.tokens or len(set(self.tokens)) != len(self.tokens):
            raise self._error("its tokenizer has no tokens, or one of them twice")
        self.types = self._list("token_type", int) if "tokenizer.ggml.token_type" in metadata else []
        if len(self.types) > len(self.tokens):
            raise self._error("its tokenizer has more token types than tokens")
        self.types += [1] * (len(self.tokens) - len(self.types))
        self.pre = self._pre_tokenizer() if self.model == "gpt2" else None

    def tokenizer(self) -> dict[str, Any]:
        """The content of tokenizer.json (the format of the `tokenizers` library)."""
        parts = self._byte_level() if self.pre else self._sentence_piece()
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [{"id": k, **self._added(k)} for k in self._added_ids()],
            **parts,
            "post_processor": self._post_processor(),
        }

    def config(self) -> dict[str, Any]:
        """The content of tokenizer_config.json."""
        config: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "add_bos_token": self.adds("bos"),
            "add_eos_token": self.adds("eos"),
            "added_tokens_decoder": {str(k): self._added(k) for k in self._added_ids()},
            "clean_up_tokenization_spaces": False,
        }
        for key, short in (("bos", "bos"), ("eos", "eos"), ("unknown", "unk"), ("padding", "pad")):
            token = self.special_id(key)
            if token is not None:
                config[f"{short}_token"] = self.tokens[token]
        template = self._metadata.get("tokenizer.chat_template")
        if isinstance(template, str) and template:
            config["chat_template"] = template
        return config

    def generation_config(self) -> dict[str, Any]:
        """The ids that begin, end and pad; every token that ends an answer is named."""
        out: dict[str, Any] = {}
        ends = [self.special_id(key) for key in ("eos", "eot", "eom")]
        ends += [k for k, token in enumerate(self.tokens) if token in END_TOKENS and self.types[k] == CONTROL]
        known = list(dict.fromkeys(k for k in ends if k is not None))
        if self.special_id("bos") is not None:
            out["bos_token_id"] = self.special_id("bos")
        if known:
            out["eos_token_id"] = known if len(known) > 1 else known[0]
        if self.special_id("padding") is not None:
            out["pad_token_id"] = self.special_id("padding")
        return out

    def special_id(self, key: str) -> int | None:
        value = self._get(f"{key}_token_id")
        if type(value) is int and 0 <= value < len(self.tokens):
            return value
        usual = {"bos": 1, "eos": 2, "unknown": 0}.get(key) if self.model == "llama" else None
        return usual if usual is not None and usual < len(self.tokens) else None

    def adds(self, key: str) -> bool:
        """Whether "bos" or "eos" is added to plain text; the kind decides where the file is silent."""
        value = self._get(f"add_{key}_token")
        if isinstance(value, bool):
            return value and self.special_id(key) is not None
        default = key == "bos" and (self.pre.add_bos if self.pre else True)
        return default and self.special_id(key) is not None

    def _pre_tokenizer(self) -> PreTokenizer:
        name = self._get("pre")
        if name is None:
            raise self._error("it does not say how its tokenizer cuts text (an old converter made it)")
        if not isinstance(name, str) or name not in PRE_TOKENIZERS:
            known = ", ".join(sorted(PRE_TOKENIZERS))
            raise self._error(f"its pre-tokenizer {name!r} is not known; known are {known}")
        return PRE_TOKENIZERS[name]

    def _byte_level(self) -> dict[str, Any]:
        assert self.pre is not None
        splits = [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
            for pattern in self.pre.patterns
        ]
        byte_level = {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": False,
        }
        merges = [_pair(merge) for merge in self._list("merges", str)]
        vocab = {token: k for k, token in enumerate(self.tokens)}
        for left, right in merges:
            if left not in vocab or right not in vocab or left + right not in vocab:
                raise self._error(f"its tokenizer merges {left!r} and {right!r}, which are not all tokens")
        return {
            "normalizer": {"type": "NFC"} if self.pre.nfc else None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*splits, byte_level]},
            "decoder": {
                "type": "ByteLevel",
                "add_prefix_space": True,
                "trim_offsets": True,
                "use_regex": True,
            },
            "model": _bpe(vocab, merges, ignore_merges=self.pre.whole_words),
        }

    def _sentence_piece(self) -> dict[str, Any]:
        scores = self._list("scores", int | float)
        if len(scores) < len(self.tokens):
            raise self._error("its tokenizer has fewer scores than tokens")
        prefix = self._get("add_space_prefix", True)
        escape = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
        prepend = [{"type": "Prepend", "prepend": SPACE}] if prefix else []
        strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
        unescape = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
        pieces = {
            token: (k, scores[k])
            for k, token in enumerate(self.tokens)
            if self.types[k] not in (UNKNOWN, CONTROL)
        }
        longest = max(map(len, pieces), default=0)
        if longest > PIECE_LIMIT:
            raise self._error(
                f"its tokenizer has a token of {longest} letters; at most {PIECE_LIMIT} are read"
            )
        unknown = self.special_id("unknown")
        return {
            "normalizer": {"type": "Sequence", "normalizers": [*prepend, escape]},
            "pre_tokenizer": None,
            "decoder": {
                "type": "Sequence",
                "decoders": [unescape, {"type": "ByteFallback"}, {"type": "Fuse"}, *strip],
            },
            "model": _bpe(
                {token: k for k, token in enumerate(self.tokens)},
                merges_of_scores(pieces),
                unk_token=None if unknown is None else self.tokens[unknown],
                fuse_unk=True,
                byte_fallback=True,
            ),
        }

    def _post_processor(self) -> dict[str, Any] | None:
        byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
        edges = [("bos", True), ("eos", False)]
        added = [(self.special_id(key), first) for key, first in edges if self.adds(key)]
        if not added:
            return byte_level if self.pre else None

        def template(sequence: str, kind: int) -> list[dict[str, Any]]:
            def token(k: int) -> dict[str, Any]:
                return {"SpecialToken": {"id": self.tokens[k], "type_id": kind}}

            before = [token(k) for k, first in added if first and k is not None]
            after = [token(k) for k, first in added if not first and k is not None]
            return [*before, {"Sequence": {"id": sequence, "type_id": kind}}, *after]

        texts = {self.tokens[k]: k for k, _ in added if k is not None}
        templates = {
            "type": "TemplateProcessing",
            "single": template("A", 0),
            "pair": [*template("A", 0), *template("B", 1)],
            "special_tokens": {text: {"id": text, "ids": [k], "tokens": [text]} for text, k in texts.items()},
        }
        return {"type": "Sequence", "processors": [byte_level, templates]} if self.pre else templates

    def _added_ids(self) -> list[int]:
        return [k for k, kind in enumerate(self.types) if kind in (UNKNOWN, CONTROL, USER_DEFINED)]

    def _added(self, k: int) -> dict[str, Any]:
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        return {"content": self.tokens[k], **flags, "special": self.types[k] != USER_DEFINED}

    def _get(self, key: str, default: Any = None) -> Any:
        return self._metadata.get(f"tokenizer.ggml.{key}", default)

    def _list(self, key: str, kind: Any) -> list[Any]:
        value = self._get(key)
        if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
            raise self._error(f"tokenizer.ggml.{key} is missing or of the wrong type")
        return list(value)

    def _error(self, why: str) -> UserError:
        return UserError(
            "gguf-tokenizer",
            f"The tokenizer of {self._name} cannot be rebuilt: {why}. Choose the original model instead.",
            file=self._name,
        )


def merges_of_scores(pieces: Mapping[str, tuple[int, float]]) -> list[tuple[str, str]]:
    """The merges whose BPE cuts text as SentencePiece does: pieces {text: (id, score)}, the best score first.

    Every way to put a piece together from two others is a merge with that piece's score. Among equals the longer
    left part comes first, then the longer right part, then the lower ids: so do the tokenizers that transformers
    makes of SentencePiece models (convert_slow_tokenizer.py).
    """
    ranked: list[tuple[float, int, int, int, int, int, str, str]] = []
    for text, (number, score) in pieces.items():
        for cut in range(1, len(text)):
            left, right = text[:cut], text[cut:]
            if left in pieces and right in pieces:
                ids = (number, pieces[left][0], pieces[right][0])
                ranked.append((-score, -len(left), -len(right), *ids, left, right))
    ranked.sort()
    return [(left, right) for *_, left, right in ranked]


def _bpe(vocab: dict[str, int], merges: list[tuple[str, str]], **options: Any) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        **options,
        "vocab": vocab,
        "merges": [list(merge) for merge in merges],
    }


def _pair(merge: str) -> tuple[str, str]:
    cut = merge.find(" ", 1)
    return (merge[:cut], merge[cut + 1 :]) if cut > 0 else (merge, "")


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode("utf-8")
