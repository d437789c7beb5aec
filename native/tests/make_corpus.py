"""Write the fuzzer's hand-made inputs into native/tests/corpus (names seed-*).

Run: python native/tests/make_corpus.py. Each is a tiny model folder in the text form of
fuzz_model.c, one per family, weight form and way a folder can be wrong; what fuzzing found
besides them lies in the same folder under other names and is not touched here.
"""

import json
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).parent / "corpus"
SIZES = {"F32": 4, "F16": 2, "BF16": 2, "U8": 1, "I8": 1, "I64": 8}
HIDDEN, MLP, HEADS, KV_HEADS, HEAD_DIM, VOCAB = 12, 10, 2, 1, 8, 18
ROTATION = {"kind": "permute_sign_hadamard", "seed": 7}
TERNARY = {"quant_method": "ternary_planes", "format_version": 1, "rotation": ROTATION}
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
Tensors = dict[str, tuple[str, list[int]]]


def config(family: str, **changes: Any) -> dict[str, Any]:
    """A complete config.json of the tiny model; a change to None leaves the key out."""
    keys: dict[str, Any] = {
        "model_type": family, "hidden_act": "silu", "vocab_size": VOCAB, "hidden_size": HIDDEN,
        "intermediate_size": MLP, "num_hidden_layers": 1, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM, "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    }  # fmt: skip
    keys.update(changes)
    return {key: value for key, value in keys.items() if value is not None}


def matrices() -> dict[str, list[int]]:
    """[rows, cols] of the matrices of layer 0."""
    q, kv = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
    shapes = {
        "self_attn.q_proj": [q, HIDDEN], "self_attn.k_proj": [kv, HIDDEN],
        "self_attn.v_proj": [kv, HIDDEN], "self_attn.o_proj": [HIDDEN, q],
        "mlp.gate_proj": [MLP, HIDDEN], "mlp.up_proj": [MLP, HIDDEN],
        "mlp.down_proj": [HIDDEN, MLP],
    }  # fmt: skip
    return {f"model.layers.0.{name}": shape for name, shape in shapes.items()}


def matrix(name: str, shape: list[int], form: str, scales: str = "F16") -> Tensors:
    """The tensors of one matrix; form is "planes1" to "planes4", "int8" or a dense dtype."""
    rows, cols = shape
    if form.startswith("planes"):
        planes = [int(form[-1]), -(-rows // 5), cols]
        return {f"{name}.planes": ("U8", planes), f"{name}.scales": (scales, [rows])}
    if form == "int8":
        return {f"{name}.int8": ("I8", shape), f"{name}.scales": (scales, [rows])}
    return {f"{name}.weight": (form, shape)}


def model(
    form: str,
    *,
    table: str | None = None,
    tied: bool = False,
    bias: str = "",
    qk_norm: bool = False,
    norm: str = "F32",
    scales: str = "F16",
) -> Tensors:
    """Every tensor of the tiny model; `bias` names the parts (q k v o gate up down) with one."""
    tensors: Tensors = {}
    for name in ["model.embed_tokens"] if tied else ["model.embed_tokens", "lm_head"]:
        tensors |= matrix(name, [VOCAB, HIDDEN], table or form, scales)
    tensors["model.norm.weight"] = (norm, [HIDDEN])
    for part in ("input_layernorm", "post_attention_layernorm"):
        tensors[f"model.layers.0.{part}.weight"] = (norm, [HIDDEN])
    for name, shape in matrices().items():
        tensors |= matrix(name, shape, form, scales)
        if name.split(".")[-1].removesuffix("_proj") in bias.split():
            tensors[f"{name}.bias"] = (norm, [shape[0]])
    for part in ("q_norm", "k_norm") if qk_norm else ():
        tensors[f"model.layers.0.self_attn.{part}.weight"] = (norm, [HEAD_DIM])
    return tensors


def weights(name: str, tensors: Tensors, *, fill: int = 60, data: str = "r", delta: int = 0) -> str:
    """A weight file's section: `data` bytes ("r": as the tensors need) after a header off by `delta`."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for tensor, (dtype, shape) in tensors.items():
        size = SIZES[dtype]
        for n in shape:
            size *= n
        header[tensor] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":"))
    return f"@@ {name} {data} {fill} {delta}\n{text}\n"


def folder(keys: dict[str, Any], *sections: str) -> str:
    return f"@@ config.json\n{json.dumps(keys)}\n" + "".join(sections)


def sharded(tensors: Tensors) -> list[str]:
    """Two shards with their index."""
    names = ["a.safetensors", "b.safetensors"]
    parts: list[Tensors] = [dict(list(tensors.items())[half::2]) for half in (0, 1)]
    where = {tensor: name for name, part in zip(names, parts, strict=True) for tensor in part}
    index = json.dumps({"metadata": {"total_size": 1}, "weight_map": where})
    files = [weights(name, part) for name, part in zip(names, parts, strict=True)]
    return [*files, f"@@ model.safetensors.index.json\n{index}\n"]


def inputs() -> dict[str, str]:
    """Name -> text of every hand-made input."""
    one = "model.safetensors"
    tied = {"tie_word_embeddings": True}
    ternary = {"quantization_config": TERNARY}
    all_bias = "q k v o gate up down"
    rope5 = {"rope_theta": None, "rope_parameters": {"rope_theta": 500000.0, **LLAMA3}}
    slides = {
        "use_sliding_window": True, "sliding_window": 2, "layer_types": ["sliding_attention"],
    }  # fmt: skip
    made = {
        "llama-f32": folder(config("llama", rope_scaling=LLAMA3), weights(one, model("F32"))),
        "llama-bf16-tied": folder(config("llama", **tied), weights(one, model("BF16", tied=True))),
        "llama-bias": folder(
            config("llama", attention_bias=True, mlp_bias=True, **rope5),
            weights(one, model("F16", bias=all_bias, norm="F16")),
        ),
        "mistral": folder(config("mistral", sliding_window=2), weights(one, model("BF16"))),
        "mistral-v3": folder(
            config("mistral", rope_scaling={"type": "linear", "factor": 2}),
            weights(one, model("F16", norm="BF16")),
        ),
        "qwen2": folder(config("qwen2", **slides), weights(one, model("F32", bias="q k v"))),
        "qwen3": folder(config("qwen3", **tied), weights(one, model("F32", tied=True, qk_norm=True))),
        "shards": folder(config("llama"), *sharded(model("F32"))),
        "int8": folder(config("llama", **ternary), weights(one, model("int8", scales="F32"))),
        "mixed": folder(config("llama", **ternary), weights(one, model("planes2", table="BF16"))),
    }
    for n in range(1, 5):
        tensors = model(f"planes{n}", table="int8", tied=True)
        made[f"planes{n}"] = folder(config("llama", **tied, **ternary), weights(one, tensors))
    tensors = model("planes2", table="int8", bias="q k v", norm="BF16")
    made["qwen2-planes"] = folder(config("qwen2", **ternary), weights(one, tensors))
    tensors = model("planes3", table="int8", qk_norm=True)
    made["qwen3-planes"] = folder(config("qwen3", **ternary), weights(one, tensors))
    good = model("F32")
    made["bad-nan"] = folder(config("llama"), weights(one, good, fill=255))
    made["bad-short"] = folder(config("llama"), weights(one, good, data="100"))
    made["bad-length"] = folder(config("llama"), weights(one, good, delta=1000000))
    made["bad-family"] = folder(config("gemma3"), weights(one, good))
    made["bad-missing"] = folder(config("llama"), weights(one, dict(list(good.items())[:-1])))
    made["bad-index"] = folder(config("llama"), *sharded(good)[1:])
    return made


def main() -> None:
    CORPUS.mkdir(exist_ok=True)
    for old in CORPUS.glob("seed-*"):
        old.unlink()
    for name, text in inputs().items():
        (CORPUS / f"seed-{name}").write_bytes(text.encode())


if __name__ == "__main__":
    main()
