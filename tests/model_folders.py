"""Small models for the tests of conversion: whole folders, broken ones, and GGUF files made of them."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import tokenizers
from safetensors.numpy import save_file
from tokenizers import decoders, models, pre_tokenizers

from bitconverter.format.safetensors_file import SafetensorsFile

GOLDEN = Path(__file__).parent / "golden"
GGUF_NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


def golden_copy(name: str, folder: Path) -> Path:
    """A golden model of the engine's tests, with a byte tokenizer."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(GOLDEN / name, folder)
    write_byte_tokenizer(folder, read_config(folder)["vocab_size"])
    return folder


def read_config(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))


def edit_config(folder: Path, **changes: Any) -> None:
    config = {**read_config(folder), **changes}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def tensors_of(folder: Path) -> dict[str, np.ndarray]:
    """Every tensor; BF16 as float32, which holds it exactly."""
    out: dict[str, np.ndarray] = {}
    for path in sorted(folder.glob("*.safetensors")):
        file = SafetensorsFile(path)
        for name, entry in file.tensors.items():
            values = file.read_rows(name, 0, entry.shape[0])
            if entry.dtype == "BF16":
                values = (values.astype(np.uint32) << 16).view(np.float32)
            out[name] = values
    return out


def edit_tensors(folder: Path, edit: Any) -> None:
    """Rewrite a folder of one file: edit(tensors) changes the dict in place."""
    tensors = tensors_of(folder)
    edit(tensors)
    save_file(tensors, folder / "model.safetensors")


def shard(folder: Path, count: int) -> list[str]:
    """Split the one file of a folder into `count` shards with an index; their names."""
    tensors = tensors_of(folder)
    names = list(tensors)
    files = [f"model-{k:05d}-of-{count:05d}.safetensors" for k in range(1, count + 1)]
    weight_map = {name: files[k * count // len(names)] for k, name in enumerate(names)}
    for file in files:
        save_file({name: tensors[name] for name in names if weight_map[name] == file}, folder / file)
    (folder / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return files


def gguf_name(name: str) -> str:
    stem, _, end = name.rpartition(".")
    if stem.startswith("model.layers."):
        _, _, layer, inside = stem.split(".", 3)
        return f"blk.{layer}.{GGUF_NAMES[inside]}.{end}"
    return f"{GGUF_NAMES[stem]}.{end}"


def write_gguf(folder: Path, path: Path, types: Any = None, metadata: Any = None) -> dict[str, np.ndarray]:
    """What llama.cpp's converter makes of a Hugging Face folder; the tensors as a reader should give them back.

    `types(name)` gives the gguf type of a tensor (all F32 if None); `metadata(writer)` adds keys.
    """
    config = read_config(folder)
    arch = "llama" if config["model_type"] == "mistral" else config["model_type"]
    writer = gguf.GGUFWriter(path, arch)
    _write_sizes(writer, config)
    (metadata or write_bpe)(writer)
    expected = {}
    for name, values in tensors_of(folder).items():
        kind = types(name) if types else gguf.GGMLQuantizationType.F32
        stored = values
        heads = _heads(name, config) if arch == "llama" else 0
        if heads:  # llama.cpp's converter does this to q and k of "llama"
            stored = stored.reshape(heads, 2, -1, *stored.shape[1:]).swapaxes(1, 2).reshape(stored.shape)
        data = gguf.quants.quantize(np.ascontiguousarray(stored), kind)
        read = gguf.quants.dequantize(data, kind).reshape(stored.shape)
        if heads:
            read = read.reshape(heads, -1, 2, *read.shape[1:]).swapaxes(1, 2).reshape(read.shape)
        expected[name] = read
        writer.add_tensor(gguf_name(name), data, raw_shape=data.shape, raw_dtype=kind)
    factors = _rope_factors(config)
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return expected


def write_bpe(writer: gguf.GGUFWriter, pre: str = "gpt-2", size: int = 101) -> None:
    """A byte vocabulary of `size` tokens, the first of them special."""
    letters = ["\u0120", *(chr(k) for k in range(33, 127)), *(chr(k) for k in range(161, 173))]
    tokens = ["<|endoftext|>", "th", "the", *letters][:size]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3] + [1] * (len(tokens) - 1))
    writer.add_token_merges(["t h", "th e"])
    writer.add_eos_token_id(0)


def _write_sizes(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    rope = config.get("rope_parameters") or {}
    scaling = config.get("rope_scaling") or {}
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config.get("rope_theta") or rope["rope_theta"])
    if config.get("head_dim"):
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(
        config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    )
    if (scaling.get("rope_type") or scaling.get("type")) == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling["factor"])
    if config["model_type"] == "mistral" and config.get("sliding_window"):
        writer.add_sliding_window(config["sliding_window"])


def _heads(name: str, config: dict[str, Any]) -> int:
    if "self_attn.q_proj" in name:
        return int(config["num_attention_heads"])
    return int(config["num_key_value_heads"]) if "self_attn.k_proj" in name else 0


def _rope_factors(config: dict[str, Any]) -> np.ndarray | None:
    """llama.cpp's converter's rope_freqs for rope_type llama3, one frequency after the other."""
    scaling = config.get("rope_scaling") or {}
    if scaling.get("rope_type") != "llama3":
        return None
    dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    low, high, old = (
        scaling[k] for k in ("low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    )
    factors = []
    for k in range(0, dim, 2):
        wavelength = 2 * np.pi * config["rope_theta"] ** (k / dim)
        if wavelength < old / high:
            factors.append(1.0)
        elif wavelength > old / low:
            factors.append(scaling["factor"])
        else:
            smooth = (old / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
    return np.array(factors, np.float32)


def hashes(folder: Path) -> dict[str, str]:
    """Of every file, by its place in the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def tensor_bytes(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """dtype and shape of every tensor of a file, padding left out."""
    tensors = SafetensorsFile(path).tensors
    return {n: (t.dtype, t.shape) for n, t in tensors.items() if not n.startswith("__pad__.")}


def write_byte_tokenizer(folder: Path, vocab: int = 256) -> None:
    """A tokenizer of one token per byte, ids 0..255 (`vocab` of them), without special tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet(), key=lambda c: (c not in "\u0120\u010a", c))
    alphabet = letters[:vocab]  # space and line end first, then ASCII; what does not fit is unknown
    table = {character: number for number, character in enumerate(alphabet)}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=table, merges=[], unk_token=alphabet[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
