"""Make tests/golden/<family>/: tiny random models and the logits that transformers computes for them.

    python tools/make_golden.py [FOLDER]          (FOLDER: tests/golden)

Needs torch and transformers (5.x was used); it is run by hand when a family is added and never at run
time or by the tests. Each folder is a Hugging Face model (config.json, model.safetensors) with

    tokens.npy   i32 [tokens]          what goes in
    logits.npy   f32 [tokens, vocab]   what transformers computes: weights widened to f32, eager attention

The configurations are written here by hand, as the families' published files look (old-style `rope_theta`
and `rope_scaling`, and the newer `rope_parameters`), and loaded from disk like anybody's, so that the goldens
also hold the reading of config.json. Weights are large and norms and biases random, so that an error anywhere
shows. The numbers come from numpy's PCG64 with a seed per family: a second run writes the same weights.
"""

import json
import shutil
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    "vocab_size": 101,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "torch_dtype": "float32",
}
MISTRAL = {
    **{k: v for k, v in LLAMA.items() if k not in ("attention_bias", "mlp_bias", "rope_scaling")},
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "num_key_value_heads": 2,
    "sliding_window": 13,
}
QWEN2 = {
    **{
        k: v
        for k, v in LLAMA.items()
        if k not in ("attention_bias", "mlp_bias", "rope_scaling", "bos_token_id")
    },
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "use_sliding_window": False,
    "sliding_window": 128,
    "max_window_layers": 2,
}
QWEN3 = {
    **QWEN2,
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "attention_bias": False,
    "head_dim": 16,
    "rope_scaling": None,
}

# name -> (config, how the weights are stored, number of shards)
FAMILIES: dict[str, tuple[dict[str, Any], torch.dtype, int]] = {
    "llama2": (LLAMA, torch.float32, 1),
    "llama3.1": (
        {
            **LLAMA,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "rope_theta": 500.0,  # head_dim 16: wavelengths below, inside and above the band that is blended
            "rope_scaling": {
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
                "rope_type": "llama3",
            },
            "eos_token_id": [2, 7],
        },
        torch.float32,
        1,
    ),
    "smollm2": (  # tied, head_dim != hidden/heads, nothing a multiple of anything; as published, bf16
        {
            **LLAMA,
            "hidden_size": 72,
            "intermediate_size": 45,
            "head_dim": 24,
            "num_key_value_heads": 2,
            "rope_theta": 100000.0,
            "tie_word_embeddings": True,
            "vocab_size": 149,
            "torch_dtype": "bfloat16",
        },
        torch.bfloat16,
        1,
    ),
    "llama-bias": (
        {
            **LLAMA,
            "num_key_value_heads": 1,
            "attention_bias": True,
            "mlp_bias": True,
            "rope_scaling": {"type": "linear", "factor": 2.5},
        },
        torch.float32,
        1,
    ),
    "llama-new-config": (  # the keys that transformers 5 writes; three layers in three shards, f16
        {
            **{k: v for k, v in LLAMA.items() if k not in ("rope_theta", "rope_scaling", "torch_dtype")},
            "num_hidden_layers": 3,
            "num_key_value_heads": 2,
            "tie_word_embeddings": True,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 800.0,
                "factor": 4.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 24,
            },
            "dtype": "float16",
        },
        torch.float16,
        3,
    ),
    "mistral": (MISTRAL, torch.float32, 1),
    "qwen2": (QWEN2, torch.float32, 1),
    "qwen2-window": (
        {
            **QWEN2,
            "num_hidden_layers": 3,
            "use_sliding_window": True,
            "sliding_window": 11,
            "max_window_layers": 1,
        },
        torch.bfloat16,
        1,
    ),
    "qwen3": (QWEN3, torch.float32, 1),
    "qwen3-window": (  # new style: layer_types says which layers slide
        {
            **{k: v for k, v in QWEN3.items() if k not in ("rope_theta", "rope_scaling", "torch_dtype")},
            "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0},
            "layer_types": ["sliding_attention", "full_attention"],
            "use_sliding_window": True,
            "sliding_window": 17,
            "max_window_layers": 0,
            "tie_word_embeddings": True,
            "dtype": "float32",
        },
        torch.float32,
        2,
    ),
}
TOKENS = 61


def random_weights(config: dict[str, Any], seed: int) -> dict[str, torch.Tensor]:
    """f32 tensors named as a Hugging Face checkpoint of this configuration names them."""
    rng = np.random.Generator(np.random.PCG64(seed))
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    tensors = {}
    for name, parameter in sorted(model.named_parameters()):
        shape = tuple(parameter.shape)
        if name.endswith("norm.weight"):
            value = rng.uniform(0.4, 1.6, shape)
        elif name.endswith(".bias"):
            value = rng.normal(0, 0.3, shape)
        elif "embed_tokens" in name or "lm_head" in name:
            value = rng.normal(0, 0.5, shape)
        else:
            value = rng.normal(0, 1.2 / np.sqrt(shape[1]), shape)
        tensors[name] = torch.from_numpy(value.astype(np.float32))
    return tensors


def save_weights(folder: Path, tensors: dict[str, torch.Tensor], shards: int) -> None:
    """One model.safetensors, or shards with an index."""
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names, weight_map = sorted(tensors), {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: tensors[name] for name in names[shard::shards]}
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(part, file))
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def make(folder: Path, name: str, config: dict[str, Any], dtype: torch.dtype, shards: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    seed = zlib.crc32(name.encode())
    tensors = {n: t.to(dtype).contiguous() for n, t in random_weights(config, seed).items()}
    save_weights(folder, tensors, shards)

    tokens = np.random.Generator(np.random.PCG64(seed + 1)).integers(0, config["vocab_size"], TOKENS)
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        logits = model(torch.from_numpy(tokens)[None]).logits[0].float().numpy()
    np.save(folder / "tokens.npy", tokens.astype(np.int32))
    np.save(folder / "logits.npy", logits.astype(np.float32))
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(
        f"{name:18} {size / 1000:6.0f} kB, logits std {logits.std():.2f}, max |logit| {abs(logits).max():.1f}"
    )


def main() -> None:
    root = (
        Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "tests" / "golden"
    )
    torch.set_num_threads(1)
    for name, (config, dtype, shards) in FAMILIES.items():
        make(root / name, name, config, dtype, shards)


if __name__ == "__main__":
    main()
