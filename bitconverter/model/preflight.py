"""Everything that can be known to be wrong with a source before its weights are read: headers only, in seconds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitconverter.engine import ModelInfo
from bitconverter.format.errors import UserError
from bitconverter.format.safetensors_file import WEIGHT_DTYPES
from bitconverter.model import bitnet, names
from bitconverter.model.architecture import model_info
from bitconverter.model.source import CheckItem, Source, SourceTensor
from bitconverter.model.tokenizer import open_tokenizer, read_json, rows_needed

TOKENIZER_FILES = ("tokenizer_config.json", "special_tokens_map.json", "generation_config.json")
READ_HERE = ("tokenizer.json", *TOKENIZER_FILES)  # whatever is wrong with them
FAMILIES = "Llama 2/3, Mistral, Qwen2, Qwen3 and SmolLM2"
NAMED = 10  # defects of one kind that are named one by one


def check_source(
    source: Source, need_tokenizer: bool = True
) -> tuple[list[CheckItem], ModelInfo | None, dict[str, Any]]:
    """All items about a source, its shape if it is a model we run, and its side files."""
    items = list(source.problems)
    info = None
    quantized = _quantization(source)
    if quantized is not None:
        items.append(quantized)
    else:
        info, item = _architecture(source.config)
        items.append(item)
        if source.declared_ternary:
            text = "The weights are said to be ternary already (BitNet); they are kept exactly if they are."
            items.append(_ok("bitnet", text))
    if info is not None:
        items += _tensors(source, info)
    side_files, more = _side_files(source, need_tokenizer)
    items += more
    items += _tokenizer(side_files, info, need_tokenizer)
    damaged = _damaged(side_files, need_tokenizer)
    items += damaged
    items += _chat_template(source, {item.fields["file"] for item in damaged})
    items.append(_licence(source))
    return items, info, side_files


def _quantization(source: Source) -> CheckItem | None:
    quantization = source.config.get("quantization_config")
    if quantization is None:
        return None
    method = quantization.get("quant_method", "unknown") if isinstance(quantization, dict) else "unknown"
    if method == "ternary_planes":
        return _error(
            "already-converted",
            "This model is converted already. Choose the original folder it was made from.",
        )
    if bitnet.has_inner_norms(source.config):
        return _error(
            "bitnet-norms",
            "The linear maps of this BitNet model have norms inside (use_rms_norm), which BitConverter does not run. "
            f"It converts {FAMILIES} models.",
        )
    tensor = bitnet.packed(source.tensors.values()) if bitnet.declared(source.config) else None
    if tensor is not None:
        return _error(
            "bitnet-packed",
            f"The BitNet weights of this model are packed ({tensor.name} is {tensor.dtype}), which is not read. Choose "
            "the version of the model whose weights are stored unpacked, as bf16, f16 or f32.",
            tensor=tensor.name, dtype=tensor.dtype,
        )  # fmt: skip
    return _error(
        "quantized-source",
        f"The weights of this model are already quantized ({method}). Quantizing them a second time would only lose "
        f"quality: choose the original model with bf16, f16 or f32 weights. BitConverter converts {FAMILIES} models.",
        method=str(method),
    )


def _architecture(config: Mapping[str, Any]) -> tuple[ModelInfo | None, CheckItem]:
    try:
        info = model_info(config)
    except UserError as error:
        return None, _error(error.code, str(error), **error.fields)
    text = f"Architecture: {info.family}, {info.n_layers} layers."
    return info, _ok("architecture", text, family=info.family, layers=info.n_layers)


def _tensors(source: Source, info: ModelInfo) -> list[CheckItem]:
    expected = names.expected_tensors(info)
    found = source.tensors
    items: list[CheckItem] = []
    shards_bad = any(item.level == "error" for item in source.problems)
    if not shards_bad:  # else the tensors of the bad files would all be named
        missing = [name for name in expected if name not in found]
        items += _some(
            missing, lambda name: _error("tensors", f"Tensor {name} is missing.", tensor=name), "missing"
        )
    wrong = [name for name, shape in expected.items() if name in found and found[name].shape != shape]
    items += _some(wrong, lambda name: _wrong_shape(found[name], expected[name]), "of the wrong shape")
    if source.kind == "safetensors":
        odd = [name for name in expected if name in found and found[name].dtype not in WEIGHT_DTYPES]
        items += _some(odd, lambda name: _wrong_dtype(found[name]), "of an unreadable kind")
    extra = [name for name in found if name not in expected]
    unknown = [name for name in extra if not names.is_harmless(name, info.tied)]
    items += _some(unknown, _unknown, "unknown")
    skipped = len(extra) - len(unknown)
    if skipped:
        text = (
            f"{skipped} tensors are not needed and are left out (computed tables, the copy of a tied head)."
        )
        items.append(_ok("tensors-extra", text, count=skipped))
    if not shards_bad and not any(item.level == "error" for item in items):
        items.append(_ok("tensors", f"All {len(expected)} tensors are there.", count=len(expected)))
    return items


def _some(found: list[str], item_of: Any, what: str) -> list[CheckItem]:
    items = [item_of(name) for name in found[:NAMED]]
    if len(found) > NAMED:
        rest = len(found) - NAMED
        items.append(_error("tensors", f"... and {rest} more tensors are {what}.", count=rest))
    return items


def _wrong_shape(tensor: SourceTensor, expected: tuple[int, ...]) -> CheckItem:
    return _error(
        "tensors",
        f"Tensor {tensor.name} has the shape {list(tensor.shape)}; config.json asks for {list(expected)}.",
        tensor=tensor.name, shape=list(tensor.shape), expected=list(expected),
    )  # fmt: skip


def _wrong_dtype(tensor: SourceTensor) -> CheckItem:
    return _error(
        "tensors",
        f"Tensor {tensor.name} is stored as {tensor.dtype}; only BF16, F16 and F32 weights are read.",
        tensor=tensor.name, dtype=tensor.dtype,
    )  # fmt: skip


def _unknown(name: str) -> CheckItem:
    return _error(
        "tensors",
        f"Tensor {name} has no place in this architecture; leaving it out could break the model.",
        tensor=name, unknown=name,
    )  # fmt: skip


def _side_files(source: Source, needed: bool) -> tuple[dict[str, Any], list[CheckItem]]:
    try:
        files = dict(source.side_files())
    except UserError as error:
        return {}, [CheckItem("tokenizer", "error" if needed else "warning", str(error), error.fields)]
    copied = [content for name, content in files.items() if name not in READ_HERE]
    return files, [item for content in copied if isinstance(content, Path) for item in _unreadable(content)]


def _unreadable(path: Path) -> list[CheckItem]:
    """It is copied when all is converted: too late to be told."""
    try:
        with path.open("rb"):
            return []
    except OSError as error:
        why = error.strerror or str(error)
        return [_error("source-unreadable", f"{path} cannot be read: {why}.", path=str(path), why=why)]


def _tokenizer(side_files: dict[str, Any], info: ModelInfo | None, needed: bool) -> list[CheckItem]:
    content = side_files.get("tokenizer.json")
    if content is None:
        if not needed:
            text = "tokenizer.json is missing, as allowed: the result cannot read or write text."
            return [CheckItem("tokenizer", "warning", text, {})]
        if "tokenizer.model" in side_files:
            how = "Only tokenizer.model is there; saving the tokenizer once with the transformers library makes it."
        else:
            how = "Download it into the same folder."
        return [_error("tokenizer", f"tokenizer.json is missing, so the model could not read text. {how}")]
    try:
        tokenizer = open_tokenizer(content if isinstance(content, bytes) else content.read_bytes())
    except (OSError, ValueError) as error:
        return [_error("tokenizer", f"tokenizer.json cannot be used: {error}. Download it again.")]
    size = rows_needed(tokenizer)  # as Tokenizer.check_fits
    if info is not None and size > info.vocab_size:
        text = f"The tokenizer has {size} tokens, the model only {info.vocab_size}"
        if needed:  # calibration, chat and evaluate would refuse it
            text += ": they do not belong together. Copy tokenizer.json from the model's source again."
            return [_error("tokenizer-mismatch", text, tokenizer=size, model=info.vocab_size)]
        text += "; they may not belong together."
        return [CheckItem("tokenizer", "warning", text, {"tokens": size, "vocab_size": info.vocab_size})]
    return [_ok("tokenizer", f"Tokenizer with {size} tokens.", tokens=size)]


def _damaged(side_files: dict[str, Any], needed: bool) -> list[CheckItem]:
    """The files without which the tokenizer reads no text, if they are there and no JSON objects."""
    items = []
    for name in TOKENIZER_FILES:
        content = side_files.get(name)
        if not isinstance(content, Path):  # not there, or made by ourselves
            continue
        try:
            read_json(content)
        except UserError as error:
            items.append(CheckItem(error.code, "error" if needed else "warning", str(error), error.fields))
    return items


def _chat_template(source: Source, damaged: set[str]) -> list[CheckItem]:
    """The template is parsed as a chat would do it. Without one, the result is still good for texts."""
    try:
        template = source.chat_template()
    except UserError as error:
        if error.fields.get("file") in damaged:  # and said so already
            return []
        text = f"{error} As it is, the result cannot chat; it can still be evaluated."
        return [CheckItem("chat-template-broken", "warning", text, error.fields)]
    if template is not None:
        return [_ok("chat-template", "The chat template is there.")]
    text = "There is no chat template: this may be a base model, which continues text instead of answering."
    return [CheckItem("chat-template", "warning", text, {})]


def _licence(source: Source) -> CheckItem:
    licence = source.licence()
    if licence:
        return _ok("licence", f"Licence: {licence}.", licence=licence)
    text = "No licence was found beside the model. Check its page before you pass the result on."
    return CheckItem("licence", "warning", text, {})


def _ok(code: str, message: str, **fields: Any) -> CheckItem:
    return CheckItem(code, "ok", message, fields)


def _error(code: str, message: str, **fields: Any) -> CheckItem:
    return CheckItem(code, "error", message, fields)
