"""Write an f16 .gguf file with pseudo-random weights in the shape of a well-known model, for llama.cpp's llama-quantize
and llama-bench: what `bitconverter benchmark --synthetic` is compared with.

    python tools/synthetic_gguf.py FILE [--shape 1.1b] [--layers N]

One block of normal numbers, repeated from different offsets. There is no tokenizer in it: a benchmark needs none.
"""

import argparse
import json
import math
from pathlib import Path

import gguf
import numpy as np

from bitconverter.engine import check_config
from bitconverter.model.names import EMBEDDING, HEAD, NORM, expected_tensors
from bitconverter.model.shapes import SHAPES, config_of

BLOCK = 1 << 24
ENDS = {EMBEDDING: "token_embd.weight", NORM: "output_norm.weight", HEAD: "output.weight"}
LAYER = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


def write(path: Path, shape: str, layers: int | None) -> None:
    config = config_of(shape, layers)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(shape)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    tensors = expected_tensors(check_config(json.dumps(config).encode()))
    for name, size in tensors.items():
        norm = len(size) == 1
        writer.add_tensor_info(
            gguf_name(name),
            size,
            np.dtype(np.float32 if norm else np.float16),
            math.prod(size) * (4 if norm else 2),
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    block = np.random.default_rng(0).normal(0, 0.02, BLOCK).astype(np.float16)
    for number, size in enumerate(tensors.values()):
        writer.write_tensor_data(values(block, size, number))
    writer.close()


def gguf_name(name: str) -> str:
    if name in ENDS:
        return ENDS[name]
    _, _, layer, inside = name.split(".", 3)
    return f"blk.{layer}.{LAYER[inside.removesuffix('.weight')]}.weight"


def values(block: np.ndarray, size: tuple[int, ...], number: int) -> np.ndarray:
    if len(size) == 1:
        return np.ones(size, np.float32)
    return np.resize(np.roll(block, -7919 * number), size)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="1.1b")
    parser.add_argument("--layers", type=int)
    arguments = parser.parse_args()
    write(arguments.file, arguments.shape, arguments.layers)


if __name__ == "__main__":
    main()
