"""The engine on a graphics card against the scalar kernels of the processor.

Needs a card, or BC_CUDA_DRIVER, the path of an emulated driver (tiny models only: it is slow). BC_GPU_MODEL, the folder
of a converted model, adds its perplexity on both.
"""

import gc
import os
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from card_models import EMULATED, an_engine
from model_folders import edit_config
from reference.converted import LINEAR, write_converted

from bitconverter import engine
from bitconverter.engine import PlacementParams, Session, device
from bitconverter.jobs.device_word import Device
from bitconverter.jobs.evaluate import EvaluateJob, EvaluateResult
from bitconverter.jobs.job import Cancel, Finished, run_job

pytestmark = pytest.mark.gpu

GOLDEN = Path(__file__).parents[1] / "golden"
FAMILIES = sorted(path.parent.name for path in GOLDEN.glob("*/logits.npy"))
TOKENS = 20 if EMULATED else 60
# (largest, mean) difference of logits whose standard deviation is about 3. Planes and int8 are exact integers on both
# sides; the order of float sums differs, and where that moves an activation, a key or a value over a rounding boundary
# it becomes a whole step: rare, so the mean stays small (test_golden.py says the same of instruction sets).
BOUNDS = {"f16": (0.3, 0.02), "int8": (0.6, 0.05)}
DENSE = (0.05, 0.01)  # weights as they are, an f16 cache
REAL = (1.6, 0.25)  # thirty real layers: AVX2 differs from the scalar kernels by 0.7 and 0.1


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function: the golden model of a family at so many planes."""
    place = tmp_path_factory.mktemp("gpu")

    @cache
    def converted(family: str, planes: int = 2) -> Path:
        write_converted(GOLDEN / family, place / f"{family}-{planes}", planes, seed=7)
        return place / f"{family}-{planes}"

    return converted


def tokens_of(family: str) -> np.ndarray:
    return np.load(GOLDEN / family / "tokens.npy")[:TOKENS]


def placed(card: engine.Engine, folder: Path, layers: int = -1, **more: Any) -> engine.Model:
    model = engine.Model(card, folder)
    params = {"n_ctx": 64, "n_layers": layers, **more}
    placement = engine.place(model, PlacementParams(**params))
    assert placement.n_layers == (model.info.n_layers if layers < 0 else layers)
    assert placement.head or layers >= 0
    return model


def logits(model: engine.Model, tokens: np.ndarray, kv: str = "f16", **more: Any) -> np.ndarray:
    found = Session(model, n_ctx=64, kv=kv, **more).forward(tokens, all_positions=True)
    assert found is not None
    return found


def on_processor(folder: Path, tokens: np.ndarray, kv: str = "f16") -> np.ndarray:
    return logits(engine.Model(an_engine("scalar"), folder), tokens, kv)


def near(found: np.ndarray, expected: np.ndarray, bounds: tuple[float, float] = BOUNDS["f16"]) -> None:
    difference = np.abs(found - expected)
    assert difference.max() <= bounds[0] and difference.mean() <= bounds[1], (
        difference.max(),
        difference.mean(),
    )


@pytest.mark.parametrize("kv", ["f16", "int8"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_computes_what_the_processor_computes(
    card: engine.Engine, folders: Any, family: str, kv: str
) -> None:
    folder, tokens = folders(family), tokens_of(family)
    found = logits(placed(card, folder, kv=kv), tokens, kv)
    near(found, on_processor(folder, tokens, kv), REAL)


@pytest.mark.parametrize("planes", [1, 3, 4])
def test_any_number_of_planes(card: engine.Engine, folders: Any, planes: int) -> None:
    folder, tokens = folders("llama3.1", planes), tokens_of("llama3.1")
    near(logits(placed(card, folder), tokens), on_processor(folder, tokens))


@pytest.mark.parametrize("family", FAMILIES)
def test_models_as_they_are_run_there_or_are_refused(card: engine.Engine, family: str) -> None:
    tokens = tokens_of(family)
    try:
        model = placed(card, GOLDEN / family)
    except engine.UnsupportedError as error:
        pytest.skip(str(error))
    near(logits(model, tokens), on_processor(GOLDEN / family, tokens), DENSE)


@pytest.mark.parametrize("family", ["smollm2", "mistral", "qwen3"])
def test_token_by_token_is_as_all_at_once(card: engine.Engine, folders: Any, family: str) -> None:
    folder, tokens = folders(family), tokens_of(family)
    model = placed(card, folder, n_sessions=2)
    single = one_by_one(model, tokens)
    near(single, on_processor(folder, tokens))
    near(logits(model, tokens, n_batch=7), single)


def one_by_one(model: engine.Model, tokens: np.ndarray, kv: str = "f16") -> np.ndarray:
    session = Session(model, n_ctx=64, kv=kv)
    answers = [session.forward([int(token)]) for token in tokens]
    assert all(answer is not None for answer in answers)
    return np.concatenate([answer for answer in answers if answer is not None])


# A single token's vectors lie in the order of a rotation where the matrices that read them share it, so: nothing is
# rotated but the head; what writes them is not; one of three matrices is not, which cannot share the others' order.
@pytest.mark.parametrize("direct", [LINEAR, ("o_proj", "down_proj"), ("k_proj",), ("gate_proj", "down_proj")])
def test_matrices_that_are_not_rotated(card: engine.Engine, tmp_path: Path, direct: tuple[str, ...]) -> None:
    folder, tokens = tmp_path / "model", tokens_of("smollm2")
    write_converted(GOLDEN / "smollm2", folder, 2, seed=7, direct=direct)
    model, expected = placed(card, folder), on_processor(folder, tokens)
    near(one_by_one(model, tokens), expected)
    near(logits(model, tokens), expected)


def test_some_layers_there_and_the_others_here(card: engine.Engine, folders: Any) -> None:
    folder, tokens = folders("llama3.1"), tokens_of("llama3.1")
    count = engine.Model(card, folder).info.n_layers
    assert count > 1
    for layers in range(1, count + 1):
        model = placed(card, folder, layers)
        near(logits(model, tokens), on_processor(folder, tokens))
        near(one_by_one(model, tokens), on_processor(folder, tokens))


def test_kernels_are_timed_in_single_steps_and_the_answer_is_the_same(
    card: engine.Engine, folders: Any
) -> None:
    folder, tokens = folders("smollm2"), tokens_of("smollm2")
    model = placed(card, folder)
    session, out = Session(model, n_ctx=64), list[Any]()
    expected = [session.forward(tokens), session.forward([1])]
    session.rewind(0)
    many = device.kernel_times(card, 0, lambda: out.append(session.forward(tokens)))
    one = device.kernel_times(card, 0, lambda: out.append(session.forward([1])))
    assert np.array_equal(out, expected)
    for found in (many, one):
        layers = model.info.n_layers
        assert len({kernel.name for kernel in found}) == len(found) > 2
        assert all(kernel.name.startswith("bc_") and kernel.launches > 0 for kernel in found)
        assert sum(kernel.launches for kernel in found) >= 5 * layers
        seconds = [kernel.seconds for kernel in found]
        assert seconds == sorted(seconds, reverse=True) and seconds[-1] >= 0
    assert {kernel.name for kernel in many} != {kernel.name for kernel in one}
    with pytest.raises(engine.InvalidError, match="timed already"):
        device.kernel_times(card, 0, lambda: device.kernel_times(card, 0, lambda: None))
    with pytest.raises(engine.InvalidError, match="more than 2047 kernels"):
        device.kernel_times(card, 0, lambda: [(session.rewind(1), session.forward([2])) for _ in range(400)])
    session.rewind(0)
    assert np.array_equal([session.forward(tokens), session.forward([1])], expected)  # as graphs again


def test_sessions_together_are_as_alone(card: engine.Engine, folders: Any) -> None:
    folder, tokens = folders("smollm2"), tokens_of("smollm2")
    model = placed(card, folder, n_sessions=9)
    samplers = [engine.Sampler(temperature=3.0, seed=seed) for seed in range(10)]
    starts = [tokens[:3], tokens[3:8], tokens[8:9]]
    together, alone, kept = ([Session(model, n_ctx=64) for _ in starts] for _ in range(3))
    for group in (together, alone, kept):
        for session, start in zip(group, starts, strict=True):
            session.forward(start, want_logits=False)
    for step in range(4):
        ids = [int(token) for token in tokens[10 + step : 13 + step]]
        found = engine.forward_together(together, ids)
        single = [session.forward([token]) for session, token in zip(alone, ids, strict=True)]
        near(found, np.concatenate(single))  # type: ignore[arg-type]
        engine.forward_together(kept, ids, want_logits=False)
        for one, other in zip(together, kept, strict=True):
            assert all(one.sample(s) == other.sample(s) for s in samplers)


def test_after_a_rewind_the_session_goes_on_from_there(card: engine.Engine, folders: Any) -> None:
    folder, tokens = folders("qwen2-window"), tokens_of("qwen2-window")
    session = Session(placed(card, folder), n_ctx=64)
    session.forward(tokens[:12])
    session.forward((tokens[:5] + 1) % session.model.info.vocab_size)  # another history, to be forgotten
    session.rewind(9)
    found = session.forward(tokens[9:], all_positions=True)
    assert found is not None and session.position == len(tokens)
    near(found, on_processor(folder, tokens)[9:])


def test_gains_are_put_on_and_taken_off(card: engine.Engine, folders: Any) -> None:
    folder, tokens = folders("smollm2"), tokens_of("smollm2")
    model, here = placed(card, folder, n_sessions=2), engine.Model(an_engine("scalar"), folder)
    last = model.info.n_layers - 1
    gain = np.linspace(0.5, 2, model.rows("down"), dtype=np.float32)
    before = logits(model, tokens)
    for each in (model, here):
        each.set_gain(last, "down", gain)
    changed = logits(model, tokens)
    near(changed, logits(here, tokens))
    assert np.abs(changed - before).max() > 1
    model.set_gain(last, "down", None)
    np.testing.assert_array_equal(logits(model, tokens), before)


def test_what_only_the_processor_does_is_refused(card: engine.Engine, folders: Any) -> None:
    model = placed(card, folders("smollm2"))
    rows, cols = engine.matrix_shapes(model.info)["q"]
    pair = np.ones((2, cols), np.float32), np.ones((2, rows), np.float32)
    with pytest.raises(engine.UnsupportedError, match="processor"):
        model.set_lora(model.info.n_layers - 1, "q", *pair)
    other = engine.Model(card, folders("smollm2"))
    with pytest.raises(engine.UnsupportedError, match="int8"):
        engine.place(other, PlacementParams(n_ctx=64, kv="int4"))


def test_too_little_room_is_told_with_numbers_and_the_model_runs_here(
    card: engine.Engine, folders: Any
) -> None:
    folder, tokens = folders("smollm2"), tokens_of("smollm2")
    model = engine.Model(card, folder)
    with pytest.raises(engine.NoRoomError) as raised:
        engine.place(model, PlacementParams(n_ctx=64, memory_limit=1000))
    assert raised.value.all_bytes > raised.value.room_bytes >= 0 and str(raised.value)
    near(logits(model, tokens), on_processor(folder, tokens))


def test_memory_is_counted_and_given_back(card: engine.Engine, folders: Any) -> None:
    gc.collect()
    before = engine.device_memory(card, 0)
    model = engine.Model(card, folders("smollm2"))
    placement = engine.place(model, PlacementParams(n_ctx=64))
    session = Session(model, n_ctx=64)
    session.forward([1, 2, 3])
    during = engine.device_memory(card, 0)
    assert during.used_bytes >= before.used_bytes + placement.weight_bytes
    assert during.peak_bytes >= during.used_bytes and during.total_bytes >= during.free_bytes > 0
    del session, model
    gc.collect()
    after = engine.device_memory(card, 0)
    assert after.used_bytes <= before.used_bytes and after.peak_bytes >= during.used_bytes


def test_devices_are_described(card: engine.Engine) -> None:
    found = engine.devices(card)
    assert len(found) == engine.open_backend(card) >= 1
    for each in found:
        assert each.name and each.backend == "cuda" and each.compute_major >= 5
        assert each.total_bytes >= each.free_bytes > 0


LONG = PlacementParams(n_ctx=4096, n_batch=64)  # no smaller batch makes room


def room_and_need(card: engine.Engine, folder: Path, limit: int) -> tuple[int, int]:
    """What a card of `limit` bytes has left for the model, and what everything would take."""
    try:
        found = engine.place(engine.Model(card, folder), replace(LONG, memory_limit=limit))
    except engine.NoRoomError as error:
        return error.room_bytes, error.all_bytes
    return found.room_bytes, found.all_bytes


def test_what_does_not_fit_whole_is_there_in_part(card: engine.Engine, folders: Any, tmp_path: Path) -> None:
    """With a byte less than everything takes, what fits is there and the answer is the same."""
    folder, tokens = tmp_path / "long", tokens_of("llama3.1")
    write_converted(GOLDEN / "llama3.1", folder, 2, seed=7)
    edit_config(folder, max_position_embeddings=4096)
    memory = engine.device_memory(card, 0)
    limit = memory.total_bytes - memory.free_bytes + (256 << 20)
    if limit >= memory.total_bytes:
        pytest.skip(f"only {memory.free_bytes} bytes of the card are free")
    room, need = room_and_need(card, folder, limit)
    gc.collect()
    model = engine.Model(card, folder)
    found = engine.place(model, replace(LONG, memory_limit=limit - room + need - 1))
    assert found.n_layers > 0 and not (found.n_layers == model.info.n_layers and found.head)
    session = Session(model, n_ctx=4096)
    answer = session.forward(tokens, all_positions=True)
    assert answer is not None
    samplers = [engine.Sampler(temperature=3.0, seed=seed) for seed in range(10)]
    picks = []
    for wanted in (True, False):  # logits in the session alone, wherever the head is
        session.rewind(len(tokens))
        engine.forward_together([session], [5], want_logits=wanted)
        picks.append([session.sample(sampler) for sampler in samplers])
    assert picks[0] == picks[1]
    near(answer, on_processor(folder, tokens))


@pytest.mark.skipif(not os.environ.get("BC_GPU_MODEL"), reason="BC_GPU_MODEL names no converted model")
def test_the_perplexity_of_a_real_model_is_the_processors(card: engine.Engine) -> None:
    text = str(files("bitconverter") / "resources" / "report" / "english.txt")

    def perplexity(word: str) -> EvaluateResult:
        job = EvaluateJob(os.environ["BC_GPU_MODEL"], text, max_tokens=2048, device=Device(word))
        last = run_job(job, lambda _: None, Cancel())
        assert isinstance(last, Finished), last
        result: EvaluateResult = last.result
        assert result.placed is not None and result.placed.where == word
        return result

    here, there = perplexity("cpu"), perplexity("cuda:0")
    assert here.tokens == there.tokens > 500
    # Sums in another order move roundings of activations: the processor's AVX2 and scalar kernels are a KL divergence
    # of 0.0037 apart so, which is a standard deviation of 0.086 of a token's logarithm. Three of the mean's.
    noise = 3 * 0.086 / here.tokens**0.5
    assert there.perplexity == pytest.approx(here.perplexity, rel=max(2e-3, noise))


@pytest.mark.skipif(not os.environ.get("BC_GPU_MODEL"), reason="BC_GPU_MODEL names no converted model")
@pytest.mark.parametrize("kv", ["f16", "int8"])
def test_a_real_model_token_by_token(card: engine.Engine, kv: str) -> None:
    """One token has kernels of its own: a prompt of eight, each alone, against the processor's prompt."""
    folder = Path(os.environ["BC_GPU_MODEL"])
    text = (files("bitconverter") / "resources" / "report" / "english.txt").read_bytes()
    model = placed(card, folder)
    tokens = np.frombuffer(text[:8], np.uint8).astype(np.int32) % model.info.vocab_size
    near(one_by_one(model, tokens, kv), on_processor(folder, tokens, kv), REAL)
