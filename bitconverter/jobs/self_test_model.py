"""A model made on the spot that says one Japanese sentence, token by token: the self-test's known answer.

Each token's embedding is a random vector of signs, and the head's row of a token is the embedding of the token
before it in the sentence; the layers between are random and small. So the whole way of a token is needed
(embedding, both layers, norm, head) and the most probable next token is known. The tokens are pieces of UTF-8,
most of them ending inside a character: the stream must put the characters together.
"""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from bitconverter.format.safetensors_file import TensorEntry, as_bytes, header_bytes

SENTENCE = "三値の重みで静かに動く。日本語も一字ずつ届く。"
HIDDEN, INNER, LAYERS, HEADS, KV_HEADS = 128, 256, 2, 4, 2
BYTES = 256
HEADER = 8192  # bytes reserved for the table of tensors
TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|answer|>{% endif %}"
)


def pieces(text: str) -> list[bytes]:
    """`text` cut into pieces that differ from one another, two bytes long where that is possible."""
    data, out = text.encode("utf-8"), list[bytes]()
    while data:
        piece = next(data[:n] for n in (2, 3, 4, 5, 6) if data[:n] not in out)
        out.append(piece)
        data = data[len(piece) :]
    return out


def write_model(folder: Path) -> None:
    """A Hugging Face folder of the Llama family, about 1 MB."""
    folder.mkdir(parents=True)
    sentence = pieces(SENTENCE)
    answer, end = BYTES + len(sentence), BYTES + len(sentence) + 1
    chain = [answer, *range(BYTES, answer), end]
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "vocab_size": end + 1, "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HIDDEN // HEADS,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 1024,
        "tie_word_embeddings": False, "bos_token_id": None, "eos_token_id": end, "torch_dtype": "float16",
    }  # fmt: skip
    _write_json(folder / "config.json", config)
    _write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>", "chat_template": TEMPLATE},
    )
    _write_tokenizer(folder / "tokenizer.json", sentence)
    _write_weights(folder / "model.safetensors", end + 1, chain)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def _write_tokenizer(path: Path, sentence: list[bytes]) -> None:
    """One token per byte, one per piece of the sentence (no merge makes those), two special ones."""
    letters = _byte_letters()
    table = {letters[byte]: byte for byte in range(BYTES)}
    table |= {"".join(letters[b] for b in piece): BYTES + k for k, piece in enumerate(sentence)}
    tokenizer = Tokenizer(models.BPE(vocab=table, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken("<|answer|>", special=True), AddedToken("<|end|>", special=True)]
    )
    path.write_text(tokenizer.to_str(), encoding="utf-8")


def _byte_letters() -> list[str]:
    """The letter that stands for each byte in a byte-level vocabulary: itself if printable, else one from 256 on."""
    plain = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(BYTES)]


def _write_weights(path: Path, vocab: int, chain: list[int]) -> None:
    random = np.random.default_rng(3)
    embedding = random.choice([-1.0, 1.0], (vocab, HIDDEN))
    head = random.standard_normal((vocab, HIDDEN)) * 0.05
    for before, after in pairwise(chain):
        head[after] = embedding[before]
    tensors = {
        "model.embed_tokens.weight": embedding,
        "model.norm.weight": np.ones(HIDDEN),
        "lm_head.weight": head,
    }
    kv = HIDDEN // HEADS * KV_HEADS
    shapes = {
        "self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (kv, HIDDEN), "self_attn.v_proj": (kv, HIDDEN),
        "self_attn.o_proj": (HIDDEN, HIDDEN), "mlp.gate_proj": (INNER, HIDDEN), "mlp.up_proj": (INNER, HIDDEN),
        "mlp.down_proj": (HIDDEN, INNER),
    }  # fmt: skip
    for layer in range(LAYERS):
        for name, shape in shapes.items():
            tensors[f"model.layers.{layer}.{name}.weight"] = random.standard_normal(shape) * 0.02
        for name in ("input", "post_attention"):
            tensors[f"model.layers.{layer}.{name}_layernorm.weight"] = np.ones(HIDDEN)
    values = {name: tensor.astype(np.float16) for name, tensor in tensors.items()}
    entries, offset = list[TensorEntry](), HEADER
    for name, tensor in values.items():
        entries.append(TensorEntry(name, "F16", tensor.shape, offset, tensor.nbytes))
        offset += tensor.nbytes
    with path.open("wb") as file:
        file.write(header_bytes(entries, HEADER, {"format": "pt"}))
        for tensor in values.values():
            file.write(as_bytes(tensor))
