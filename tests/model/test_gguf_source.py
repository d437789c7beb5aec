"""GGUF files read back as the model they were made of."""

import json
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_folders import edit_config, edit_tensors, golden_copy, read_config, write_bpe, write_gguf

from bitconverter import engine
from bitconverter.format.errors import FormatError, UserError
from bitconverter.format.gguf_file import GgufFile, can_dequantize
from bitconverter.jobs.job import Cancel, Context
from bitconverter.model.gguf_config import llama3_scaling
from bitconverter.model.gguf_source import GgufSource, expand

Q = gguf.GGMLQuantizationType
FAMILIES = ["llama2", "llama3.1", "llama-bias", "mistral", "qwen2", "qwen3", "smollm2"]
SHAPE_KEYS = (
    "model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "rope_theta", "tie_word_embeddings", "vocab_size",
)  # fmt: skip


def context() -> Context:
    return Context(lambda _: None, Cancel())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_comes_back_as_it_was(family: str, tmp_path: Path) -> None:
    folder = golden_copy(family, tmp_path / "source")
    expected = write_gguf(folder, tmp_path / "モデル 😀.gguf")
    source = GgufSource(tmp_path / "モデル 😀.gguf")
    config = read_config(folder)
    assert source.problems == []
    assert {key: source.config[key] for key in SHAPE_KEYS} == {key: config[key] for key in SHAPE_KEYS}
    assert set(source.tensors) == set(expected)
    for name, values in expected.items():
        assert np.array_equal(source.read_rows(name, 0, values.shape[0]), values), name
        size = source.slab_rows(name, 1)
        slabs = [source.read_rows(name, k, min(k + size, len(values))) for k in range(0, len(values), size)]
        assert np.array_equal(np.concatenate(slabs), values), name


@pytest.mark.parametrize("family", FAMILIES)
def test_an_expanded_file_has_the_logits_of_transformers(family: str, tmp_path: Path) -> None:
    folder = golden_copy(family, tmp_path / "source")
    write_gguf(folder, tmp_path / "m.gguf")
    expand(tmp_path / "m.gguf", tmp_path / "out", context())
    model = engine.Model(engine.Engine(threads=1), tmp_path / "out")
    tokens = np.load(folder / "tokens.npy")
    logits = engine.Session(model, n_ctx=len(tokens), kv="f32").forward(tokens, all_positions=True)
    assert logits is not None
    assert np.abs(logits - np.load(folder / "logits.npy")).max() < 1e-3


@pytest.mark.parametrize("kind", [Q.F16, Q.BF16, Q.Q8_0, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1])
@pytest.mark.parametrize("family", ["llama2", "qwen2"])
def test_tensor_types_read_as_the_library_dequantizes_them(kind: Q, family: str, tmp_path: Path) -> None:
    folder = golden_copy(family, tmp_path / "source")

    def types(name: str) -> Q:
        return kind if name.endswith("proj.weight") and "down_proj" not in name else Q.F32

    expected = write_gguf(folder, tmp_path / "m.gguf", types)
    source = GgufSource(tmp_path / "m.gguf")
    for name, values in expected.items():
        rows = source.read_rows(name, 0, values.shape[0])
        if rows.dtype == np.uint16:
            rows = (rows.astype(np.uint32) << 16).view(np.float32)
        assert np.array_equal(rows.astype(np.float32), values), name
    expand(tmp_path / "m.gguf", tmp_path / "out", context())
    assert engine.Model(engine.Engine(threads=1), tmp_path / "out").info.family == family.removesuffix(
        "2"
    ) + ("2" if family == "qwen2" else "")


def test_every_type_the_library_dequantizes_is_offered() -> None:
    for kind in (
        "Q2_K",
        "Q3_K",
        "Q4_K",
        "Q5_K",
        "Q6_K",
        "IQ2_XXS",
        "IQ4_XS",
        "TQ1_0",
        "TQ2_0",
        "MXFP4",
        "BF16",
    ):
        assert can_dequantize(kind)
    assert not can_dequantize("Q8_1")
    assert not can_dequantize("I32")


def test_a_missing_output_means_a_tied_head(tmp_path: Path) -> None:
    folder = golden_copy("llama2", tmp_path / "source")
    edit_tensors(folder, lambda tensors: tensors.pop("lm_head.weight"))
    write_gguf(folder, tmp_path / "m.gguf")
    assert GgufSource(tmp_path / "m.gguf").config["tie_word_embeddings"] is True


@pytest.mark.parametrize(
    ("theta", "dim", "factor", "low", "high", "original"),
    [(500000.0, 128, 8.0, 1.0, 4.0, 8192), (500000.0, 64, 32.0, 1.0, 4.0, 8192), (10000.0, 128, 4.0, 1.0, 32.0, 4096)],
)  # fmt: skip
def test_llama3_scaling_is_recovered_from_its_factors(
    theta: float, dim: int, factor: float, low: float, high: float, original: int
) -> None:
    wave = 2 * np.pi * theta ** (np.arange(0, dim, 2) / dim)
    smooth = np.clip((original / wave - low) / (high - low), 0, 1)
    factors = (1 / ((1 - smooth) / factor + smooth)).astype(np.float32).astype(np.float64)
    found = llama3_scaling(factors, theta, dim, 131072)
    assert found is not None
    assert found["factor"] == factor
    assert found["low_freq_factor"] == low
    assert found["high_freq_factor"] == pytest.approx(high, rel=1e-2)
    assert found["original_max_position_embeddings"] == pytest.approx(original, rel=1e-2)


def test_rope_factors_of_no_known_rule_are_refused() -> None:
    with pytest.raises(UserError, match="follow no rule"):
        llama3_scaling(np.linspace(1, 5, 32), 10000.0, 64, 8192)
    assert llama3_scaling(np.ones(32), 10000.0, 64, 8192) is None


def with_key(add: Any) -> Any:
    def metadata(writer: gguf.GGUFWriter) -> None:
        write_bpe(writer)
        add(writer)

    return metadata


def test_a_mixture_of_experts_and_yarn_are_left_to_the_engine_to_refuse(tmp_path: Path) -> None:
    folder = golden_copy("llama2", tmp_path / "source")
    write_gguf(folder, tmp_path / "moe.gguf", metadata=with_key(lambda w: w.add_expert_count(8)))
    with pytest.raises(engine.UnsupportedError, match="mixture of experts"):
        engine.check_config(json.dumps(GgufSource(tmp_path / "moe.gguf").config).encode())

    def yarn(writer: gguf.GGUFWriter) -> None:
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(4.0)

    write_gguf(folder, tmp_path / "yarn.gguf", metadata=with_key(yarn))
    with pytest.raises(engine.UnsupportedError, match="yarn"):
        engine.check_config(json.dumps(GgufSource(tmp_path / "yarn.gguf").config).encode())


def test_another_architecture_is_named(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "gemma3")
    writer.add_tensor("token_embd.weight", np.zeros((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(engine.UnsupportedError, match="gemma3"):
        engine.check_config(json.dumps(GgufSource(tmp_path / "m.gguf").config).encode())


def test_a_part_of_a_split_model_is_refused(tmp_path: Path) -> None:
    folder = golden_copy("llama2", tmp_path / "source")
    write_gguf(folder, tmp_path / "m.gguf", metadata=with_key(lambda w: w.add_uint16("split.count", 3)))
    with pytest.raises(UserError, match="one of 3 parts"):
        GgufSource(tmp_path / "m.gguf")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = golden_copy("llama2", tmp_path_factory.mktemp("gguf") / "source")
    write_gguf(folder, folder / "m.gguf")
    return (folder / "m.gguf").read_bytes()


def test_our_table_is_that_of_the_library(small: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(small)
    ours, library = GgufFile(path), gguf.GGUFReader(path)
    assert set(ours.metadata) == {key for key in library.fields if not key.startswith("GGUF.")}
    for key, value in ours.metadata.items():
        read = library.fields[key].contents()
        assert value == (pytest.approx(read) if isinstance(value, float) else read), key
    for tensor in library.tensors:
        mine = ours.tensors[tensor.name]
        assert (mine.offset, mine.bytes, mine.type) == (
            tensor.data_offset,
            tensor.n_bytes,
            tensor.tensor_type.name,
        )
        assert list(mine.shape) == [int(n) for n in reversed(tensor.shape)]


def test_cut_anywhere_it_is_refused_with_its_name(small: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    for size in [*range(0, 64), *range(64, len(small), 997)]:
        path.write_bytes(small[:size])
        with pytest.raises(FormatError, match=r"cut\.gguf"):
            GgufFile(path)


def moved(data: bytes, name: str, change: Any) -> bytes:
    """With another offset of a tensor in the header: change(what it is)."""
    at = data.index(name.encode()) + len(name)
    (dims,) = struct.unpack_from("<I", data, at)
    at += 4 + 8 * dims + 4
    (offset,) = struct.unpack_from("<Q", data, at)
    return data[:at] + struct.pack("<Q", change(offset)) + data[at + 8 :]


def test_tensors_that_overlap_are_refused(small: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(moved(small, "blk.1.attn_q.weight", lambda offset: offset + 32))
    with pytest.raises(FormatError, match=r"m\.gguf.*overlap") as caught:
        GgufFile(tmp_path / "m.gguf")
    assert caught.value.code == "gguf-broken"


def test_a_tensor_that_is_not_aligned_is_refused(small: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(moved(small, "blk.1.attn_q.weight", lambda offset: offset - 1))
    with pytest.raises(FormatError, match=r"blk\.1\.attn_q\.weight begins at byte"):
        GgufFile(tmp_path / "m.gguf")


def test_two_names_of_one_tensor_are_refused(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    for name in ("output_norm.weight", "model.norm.weight"):
        writer.add_tensor(name, np.zeros(32, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UserError, match=r"output_norm.weight and model.norm.weight are both") as caught:
        GgufSource(tmp_path / "m.gguf")
    assert caught.value.code == "gguf-broken"


@given(position=st.integers(0, 5000), value=st.integers(0, 2**64 - 1))
def test_damaged_anywhere_it_is_read_or_refused(
    small: bytes, tmp_path_factory: pytest.TempPathFactory, position: int, value: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.gguf"
    data = bytearray(small)
    data[position : position + 8] = struct.pack("<Q", value)
    path.write_bytes(data[: len(small)])
    try:
        source = GgufSource(path)
        source.side_files()
    except UserError as error:
        assert "damaged.gguf" in str(error)


def test_an_array_that_claims_more_than_the_file_holds_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "long.gguf"
    pair = struct.pack("<Q", 1) + b"k" + struct.pack("<IIQ", 9, 0, 2**60)
    path.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + pair)
    with pytest.raises(FormatError, match="announced"):
        GgufFile(path)


def test_the_real_model_comes_back_with_its_tied_head(smollm2_gguf: Path) -> None:
    source = GgufSource(smollm2_gguf)
    info = engine.check_config(json.dumps(source.config).encode())
    assert (info.n_layers, info.hidden_size, info.head_dim, info.vocab_size, info.tied) == (
        30,
        576,
        64,
        49152,
        True,
    )
    assert source.licence() == "apache-2.0"
    template = source.chat_template()
    assert template is not None and "<|im_start|>" in template.source


def test_a_float_of_the_metadata_is_the_shortest_decimal(tmp_path: Path) -> None:
    folder = golden_copy("llama2", tmp_path / "x")
    edit_config(folder, rms_norm_eps=1e-6)
    write_gguf(folder, tmp_path / "m.gguf")
    assert GgufSource(tmp_path / "m.gguf").config["rms_norm_eps"] == 1e-6
