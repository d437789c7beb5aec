"""A Hugging Face folder as a source: config.json, one or many safetensors shards, the files beside them."""

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bitconverter.format.errors import UserError
from bitconverter.format.safetensors_file import SafetensorsFile, as_bytes
from bitconverter.model import bitnet
from bitconverter.model.source import CheckItem, Hasher, SourceTensor, fingerprint, slab_rows

if TYPE_CHECKING:
    from bitconverter.model.chat_template import ChatTemplate

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
COPIED = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model",
    "vocab.json", "merges.txt", "generation_config.json", "chat_template.jinja", "chat_template.json",
)  # fmt: skip
_LICENCE = re.compile(r"(?i)^(licen[cs]e|copying|notice|use_policy|acceptable_use|copyright)[^/\\]*$")
_LICENCE_FIELD = re.compile(r"(?m)^(license|license_name)[ \t]*:[ \t]*(.*(?:\n[ \t]*-[ \t].*)*)")
_NUMBERED = re.compile(r"^(.+)-(\d{5})-of-(\d{5})\.safetensors$")


def read_weight_map(folder: Path) -> Any:
    """What the index of `folder` says, unchecked. Raises OSError, ValueError, KeyError, TypeError, RecursionError."""
    return json.loads((folder / INDEX).read_text(encoding="utf-8-sig"))["weight_map"]


class HfSource:
    """Opens every shard's header at once, nothing else; defects are collected in `problems`."""

    kind = "safetensors"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = _model_name(path.resolve())
        self.problems: list[CheckItem] = []
        self.config: dict[str, Any] = self._read_config()
        self.tensors: dict[str, SourceTensor] = {}
        self._files: dict[str, SafetensorsFile] = {}
        self._shards: list[Path] = []
        self._open_shards(*self._list_shards())
        self.total_bytes = sum(tensor.bytes for tensor in self.tensors.values())
        self.declared_ternary = bitnet.is_dense(self.config, self.tensors.values())
        if self.declared_ternary:
            self.config = bitnet.as_dense(self.config)

    def read_rows(self, name: str, start: int, stop: int, hasher: Hasher | None = None) -> np.ndarray:
        out = self._files[name].read_rows(name, start, stop)
        if hasher is not None:
            hasher.update(as_bytes(out))
        return out

    def weight_files(self) -> list[Path]:
        return list(self._shards)

    def slab_rows(self, name: str, max_bytes: int) -> int:
        return slab_rows(self.tensors[name].shape, max_bytes)

    def side_files(self) -> dict[str, bytes | Path]:
        files: dict[str, bytes | Path] = {}
        for entry in sorted(self.path.iterdir()):
            if entry.is_file() and (entry.name in COPIED or _LICENCE.match(entry.name)):
                files[entry.name] = entry
        templates = self.path / "additional_chat_templates"
        if templates.is_dir():
            for entry in sorted(templates.glob("*.jinja")):
                files[f"additional_chat_templates/{entry.name}"] = entry
        if (self.path / "README.md").is_file():
            files["SOURCE_README.md"] = self.path / "README.md"
        return files

    def fingerprint(self) -> str:
        return fingerprint(self.config, self.tensors, {file.path for file in self._files.values()})

    def licence(self) -> str | None:
        """From the README's front matter, else the name of a licence file."""
        readme = self.path / "README.md"
        if readme.is_file():
            text = readme.read_text(encoding="utf-8", errors="replace")
            front = re.match(r"\A---\r?\n(.*?)\r?\n---", text, re.DOTALL)
            if front:
                fields = {name: _texts_of(value) for name, value in _LICENCE_FIELD.findall(front[1])}
                named = fields.get("license_name") or fields.get("license")
                if named:
                    return named
        for entry in sorted(self.path.iterdir()):
            if entry.is_file() and _LICENCE.match(entry.name):
                return f"see {entry.name}"
        return None

    def chat_template(self) -> "ChatTemplate | None":
        from bitconverter.model.chat_template import load_chat_template  # with jinja2 and the tokenizers

        try:
            return load_chat_template(self.path)
        except UserError as error:
            if error.code == "no-chat-template":
                return None
            raise

    def _read_config(self) -> dict[str, Any]:
        path = self.path / CONFIG
        if not path.is_file():
            raise config_missing(self.path)
        try:
            config = json.loads(path.read_text(encoding="utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise UserError(
                "config-broken",
                f"{path} is not valid JSON ({error}). Download this file again.",
                path=str(path),
            ) from None
        if not isinstance(config, dict):
            raise UserError("config-broken", f"{path} does not hold a JSON object.", path=str(path))
        return config

    def _list_shards(self) -> tuple[list[str], dict[str, str] | None]:
        """The shards' names, and the index's {tensor: shard} if it counts: as in the engine, SINGLE wins over it."""
        found = self.path.glob("*.safetensors")
        present = sorted(entry.name for entry in found if entry.is_file() or lost_link(entry))
        indexed = (self.path / INDEX).is_file()
        if (self.path / SINGLE).is_file():
            if indexed:
                text = f"{SINGLE} and {INDEX} are both there; the weights are read from {SINGLE}, the index is ignored."
                self.problems.append(CheckItem("index-ignored", "warning", text, {}))
            return [SINGLE], None
        if indexed:
            weight_map = self._read_index()
            if weight_map is not None:
                return sorted(set(weight_map.values())), weight_map
            return present, None
        if SINGLE in present:
            return [SINGLE], None
        for name in present:
            numbered = _NUMBERED.match(name)
            if numbered:
                count = int(numbered[3])
                return [
                    f"{numbered[1]}-{k:05d}-of-{count:05d}.safetensors" for k in range(1, count + 1)
                ], None
        if not present:
            self._no_weights()
        return present, None

    def _read_index(self) -> dict[str, str] | None:
        try:
            weight_map = read_weight_map(self.path)
            assert isinstance(weight_map, dict)
            assert all(_plain_name(name) for name in weight_map.values())
        except (ValueError, KeyError, TypeError, AssertionError, RecursionError):
            self._error(
                "index",
                f"{INDEX} is broken: it must map every tensor to a file of this folder. Download it again.",
            )
            return None
        return weight_map

    def _no_weights(self) -> None:
        others = sorted(
            e.name for e in self.path.iterdir() if e.suffix in (".bin", ".pt", ".pth", ".gguf", ".h5")
        )
        hint = f" Found {others[0]}, which is another format." if others else ""
        self._error(
            "shards", f"{self.path} holds no .safetensors file, so there are no weights to read.{hint}"
        )

    def _open_shards(self, shards: Iterable[str], weight_map: dict[str, str] | None) -> None:
        for shard in shards:
            try:
                file = SafetensorsFile(self.path / shard)
            except FileNotFoundError:
                self._missing(self.path / shard)
                continue
            except UserError as error:
                self._error("shards", str(error), **{"file": shard, **error.fields})
                continue
            except OSError as error:
                self._error("shards", f"{shard} cannot be read: {error.strerror or error}.", file=shard)
                continue
            self._shards.append(file.path)
            for entry in file.tensors.values():
                if weight_map is not None and weight_map.get(entry.name, shard) != shard:
                    continue  # the index says another shard holds it
                if entry.name in self.tensors:
                    self._error(
                        "tensors",
                        f"Tensor {entry.name} is in more than one shard ({shard}).",
                        file=shard,
                        tensor=entry.name,
                    )
                self.tensors[entry.name] = SourceTensor(entry.name, entry.dtype, entry.shape, entry.bytes)
                self._files[entry.name] = file

    def _missing(self, path: Path) -> None:
        what = lost_link(path) or f"{path.name} is missing"
        self._error("shards", f"{what}. Download it into {self.path}.", file=path.name)

    def _error(self, code: str, message: str, **fields: Any) -> None:
        self.problems.append(CheckItem(code, "error", message, fields))


def _texts_of(value: str) -> str:
    """A text of YAML, or a list of them, with commas between them; "" if there is none."""
    lines = [
        re.sub(r"(^|\s)#.*", "", line).strip().removeprefix("- ").strip("[]") for line in value.split("\n")
    ]
    parts = (part.strip().strip("\"'") for line in lines for part in line.split(","))
    return ", ".join(part for part in parts if part)


def _model_name(path: Path) -> str:
    """The folder's name; in the Hugging Face cache (models--OWNER--NAME/snapshots/HASH) that of the model."""
    if path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--"):
        return path.parent.parent.name.split("--")[-1]
    return path.name


def config_missing(folder: Path) -> UserError:
    """For a folder that is no model; perhaps a .gguf file lies in it."""
    ggufs = sorted(entry.name for entry in folder.glob("*.gguf"))
    folders = "Choose the folder that holds config.json, which may be one inside of it."
    hint = f"For a GGUF model choose the file itself: {ggufs[0]}." if ggufs else folders
    return UserError(
        "config-missing",
        f"{folder} has no config.json, so it is not a Hugging Face model folder. {hint}",
        folder=str(folder),
    )


def lost_link(path: Path) -> str:
    """Where a link leads that leads to no file, in words; "" if `path` is anything else."""
    if not path.is_symlink() or path.exists():
        return ""
    return f"{path.name} is a link that leads to {os.readlink(path)}, where no file is"


def _plain_name(name: Any) -> bool:
    """\ud800 to \udfff: half a character, which no file name of a download holds."""
    return (
        isinstance(name, str)
        and name not in ("", ".", "..")
        and not re.search(r"[/\\:\0\ud800-\udfff]", name)
    )
