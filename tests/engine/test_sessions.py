"""Many sessions of one model in one call, and the 4-bit cache, on a model with heads of 32."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from model_folders import edit_config, edit_tensors, golden_copy, tensors_of
from safetensors.numpy import save_file

from bitconverter import engine
from bitconverter.engine import Engine, InvalidError, Model, Session, forward_together
from bitconverter.model.budget import THREADS, session_bytes

TEXT = [(7 * i * i + 3 * i) % 64 for i in range(700)]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_heads(tmp_path_factory.mktemp("wide") / "model", heads=4, kv_heads=2)


def with_heads(folder: Path, heads: int, kv_heads: int) -> Path:
    """The golden llama with so many heads of 32 dimensions instead of its own: other random weights."""
    golden_copy("llama3.1", folder)
    tensors, random = tensors_of(folder), np.random.default_rng(5)
    hidden = tensors["model.norm.weight"].shape[0]
    edit_config(folder, head_dim=32, num_attention_heads=heads, num_key_value_heads=kv_heads,
                max_position_embeddings=1024)  # fmt: skip
    for name in tensors:
        rows = {"q_proj": heads * 32, "k_proj": kv_heads * 32, "v_proj": kv_heads * 32}
        for part, size in rows.items():
            if f"{part}.weight" in name:
                tensors[name] = random.normal(0, 0.2, (size, hidden)).astype(np.float32)
        if "o_proj.weight" in name:
            tensors[name] = random.normal(0, 0.2, (hidden, heads * 32)).astype(np.float32)
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("isa", ["scalar", "avx2", "auto"])
@pytest.mark.parametrize("threads", [1, 3])
def test_sessions_together_are_the_sessions_alone(wide: Path, isa: str, threads: int) -> None:
    model = Model(Engine(threads=threads, cpu=isa), wide)
    lengths, kinds = (1, 5, 300, 17, 2), ("f16", "int8", "int4", "f32", "f16")
    together = [Session(model, n_ctx=310 + n, n_batch=3, kv=kv) for n, kv in zip(lengths, kinds, strict=True)]
    alone = [Session(model, n_ctx=310 + n, kv=kv) for n, kv in zip(lengths, kinds, strict=True)]
    for group in (together, alone):
        for session, n in zip(group, lengths, strict=True):
            session.forward(TEXT[:n])
    for step in range(3):
        tokens = [TEXT[n + step] for n in lengths]
        logits = forward_together(together, tokens)
        assert logits is not None
        for i, session in enumerate(alone):
            expected = session.forward([tokens[i]])
            assert expected is not None
            assert np.abs(logits[i] - expected[0]).max() <= 1e-3
            assert together[i].position == session.position
    assert [s.sample(engine.Sampler(seed=3)) for s in together] == [
        s.sample(engine.Sampler(seed=3)) for s in alone
    ]


@pytest.mark.parametrize("n_batch", [2, 8])
def test_sessions_keep_the_logits_that_nobody_wants(wide: Path, n_batch: int) -> None:
    model = Model(Engine(threads=2), wide)
    told, kept = ([Session(model, n_ctx=32, n_batch=n_batch) for _ in range(5)] for _ in range(2))
    samplers = [engine.Sampler(temperature=3.0, seed=seed) for seed in range(20)]
    for step in range(3):
        tokens = [TEXT[5 * step + i] for i in range(5)]
        assert forward_together(told, tokens) is not None
        assert forward_together(kept, tokens, want_logits=False) is None
        for one, other in zip(told, kept, strict=True):
            assert [one.sample(s) for s in samplers] == [other.sample(s) for s in samplers]
            assert one.position == other.position


def test_what_cannot_run_together(wide: Path) -> None:
    model = Model(Engine(threads=1), wide)
    first, second = Session(model, n_ctx=8), Session(model, n_ctx=1)
    other = Session(Model(Engine(threads=1), wide), n_ctx=8)
    second.forward([1])
    for sessions, tokens in (
        ([], []), ([first], [1, 2]), ([first, first], [1, 2]), ([first, other], [1, 2]), ([first], [10**6]),
    ):  # fmt: skip
        with pytest.raises(InvalidError):
            forward_together(sessions, tokens)
    with pytest.raises(engine.ContextFullError):
        forward_together([first, second], [1, 2])
    cancel = engine.Cancel()
    cancel.request()
    with pytest.raises(engine.Cancelled):
        forward_together([first, Session(model, n_ctx=8)], [1, 2], cancel)
    assert first.position == 0


@pytest.mark.parametrize("isa", ["scalar", "avx2", "auto"])
def test_a_four_bit_cache_stays_close(wide: Path, isa: str) -> None:
    """Its logits differ from those of an exact cache by less than a few times what int8's do."""
    engine_ = Engine(threads=2, cpu=isa)
    logits = {}
    for kv in ("f32", "int8", "int4"):
        logits[kv] = Session(Model(engine_, wide), n_ctx=600, kv=kv).forward(TEXT[:600], all_positions=True)
    spread = logits["f32"].std()
    error8 = np.sqrt(np.mean((logits["int8"] - logits["f32"]) ** 2)) / spread
    error4 = np.sqrt(np.mean((logits["int4"] - logits["f32"]) ** 2)) / spread
    assert 0 < error8 < error4 < 0.3


def test_one_token_at_a_time_is_the_prompt_at_once(wide: Path) -> None:
    """Attention in blocks, shared between threads or not, gives the same bits."""
    model = Model(Engine(threads=3), wide)
    for kv in ("f16", "int4"):
        whole = Session(model, n_ctx=700, kv=kv).forward(TEXT, all_positions=True)
        steps = Session(model, n_ctx=700, kv=kv)
        steps.forward(TEXT[:500])
        for i in range(500, 700, 60):
            if i > 500:
                steps.forward(TEXT[500:i])
            last = steps.forward([TEXT[i]])
            steps.rewind(500)
            assert np.abs(last[0] - whole[i]).max() <= 1e-3


def changed(wide: Path, folder: Path, change: Callable[[dict[str, np.ndarray]], None]) -> Path:
    """The model with other weights."""
    shutil.copytree(wide, folder)
    edit_tensors(folder, change)
    return folder


def last_logits(folder: Path, kv: str, n: int = 300) -> np.ndarray:
    """Those behind so many tokens of the text."""
    found = Session(Model(Engine(threads=2), folder), n_ctx=n, kv=kv).forward(TEXT[:n])
    assert found is not None
    return found[0]


def test_one_huge_element_of_a_head_leaves_the_others_in_a_four_bit_cache(wide: Path, tmp_path: Path) -> None:
    def one_huge(tensors: dict[str, np.ndarray]) -> None:
        for name, tensor in tensors.items():
            if "v_proj.weight" in name:
                tensor[::32] *= 30
            elif "o_proj.weight" in name:
                tensor[:, ::32] = 0  # nobody sees it

    folder = changed(wide, tmp_path / "huge", one_huge)
    exact, rounded = (last_logits(folder, kv) for kv in ("f16", "int4"))
    assert np.sqrt(np.mean((rounded - exact) ** 2)) < 0.3 * exact.std()


@pytest.mark.parametrize("kv", ["f32", "int4"])
def test_scores_of_hundreds_stay_finite_over_more_than_one_block(wide: Path, tmp_path: Path, kv: str) -> None:
    def loud(tensors: dict[str, np.ndarray]) -> None:
        for name, tensor in tensors.items():
            if "q_proj.weight" in name or "k_proj.weight" in name:
                tensor *= 10

    assert np.isfinite(last_logits(changed(wide, tmp_path / "loud", loud), kv)).all()


def scaled_values(factor: float) -> Callable[[dict[str, np.ndarray]], None]:
    """Values so much smaller, and an output that makes up for it."""

    def change(tensors: dict[str, np.ndarray]) -> None:
        for name, tensor in tensors.items():
            if "v_proj.weight" in name:
                tensor *= factor
            elif "o_proj.weight" in name:
                tensor *= 1e35

    return change


def test_values_below_1e_30_are_zero_in_a_four_bit_cache(wide: Path, tmp_path: Path) -> None:
    small, zero = (changed(wide, tmp_path / f"{k}", scaled_values(k)) for k in (1e-39, 0.0))
    np.testing.assert_array_equal(last_logits(small, "int4"), last_logits(zero, "int4"))
    assert (last_logits(small, "f32") != last_logits(zero, "f32")).any()


@pytest.mark.parametrize("part", ["k_proj", "v_proj"])
def test_what_is_no_number_is_not_hidden_by_a_four_bit_cache(wide: Path, tmp_path: Path, part: str) -> None:
    def spoilt(tensors: dict[str, np.ndarray]) -> None:
        for name, tensor in tensors.items():
            if f"{part}.weight" in name:
                tensor[0] = np.nan

    assert np.isnan(last_logits(changed(wide, tmp_path / "spoilt", spoilt), "int4", 3)).any()


@pytest.mark.parametrize("kv_heads", [2, 32])
def test_what_a_longer_context_takes_is_what_is_reckoned(tmp_path: Path, kv_heads: int) -> None:
    folder = with_heads(tmp_path / "model", heads=32, kv_heads=kv_heads)
    model = Model(Engine(threads=THREADS), folder)
    for kv in ("f32", "f16", "int8", "int4"):
        more = Session(model, n_ctx=1024, kv=kv).bytes - Session(model, n_ctx=256, kv=kv).bytes
        reckoned = session_bytes(model.info, 1024, kv) - session_bytes(model.info, 256, kv)
        assert reckoned == pytest.approx(more, abs=500)  # parts are rounded up to whole lines of the cache
