"""A graphics card with little memory, and what placed layers take and refuse.

How much the emulated card has is read anew at each question, so that a test can say it.
"""

import gc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from card_models import EMULATED, VOCAB, Shape, an_engine, write_model

from bitconverter import engine
from bitconverter.engine import PlacementParams, Session

pytestmark = pytest.mark.gpu
small_card = pytest.mark.skipif(not EMULATED, reason="a real card has the memory it has")

LAYERS, N_CTX = 3, 100_000  # 26 MB of cache for each layer
SHAPE = Shape(64, 3, 1, layers=LAYERS, more={"max_position_embeddings": N_CTX})
TOKENS = np.random.default_rng(2).integers(0, VOCAB, 12).astype(np.int32)
PARAMS = PlacementParams(n_ctx=N_CTX, n_batch=16)
KEPT_FREE = 64 << 20  # what the engine leaves to the driver (devices.c)
ROUNDED = 512  # a driver gives out multiples of so many bytes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("memory"), SHAPE)


@pytest.fixture(scope="module")
def expected(folder: Path) -> np.ndarray:
    return answer(engine.Model(an_engine("scalar"), folder))


@pytest.fixture(scope="module")
def all_bytes(card: engine.Engine, folder: Path) -> int:
    """What the whole model and a session take."""
    found = engine.place(engine.Model(card, folder), PARAMS)
    assert found.n_layers == LAYERS and found.head
    assert found.weight_bytes + found.session_bytes == found.all_bytes
    return found.all_bytes


def answer(model: engine.Model, session: Session | None = None) -> np.ndarray:
    session = session or Session(model, n_ctx=N_CTX, n_batch=16)
    session.rewind(0)
    found = session.forward(TOKENS, all_positions=True)
    assert found is not None
    return found


def near(found: np.ndarray, expected: np.ndarray) -> None:
    """As test_gpu_shapes.py says of more layers than one."""
    worst = np.abs(found - expected).max(axis=1) / np.abs(expected).max()
    assert worst.max() <= 0.08 and worst.mean() <= 0.02, worst


def leave_free(monkeypatch: pytest.MonkeyPatch, card: engine.Engine, count: int) -> None:
    """From now on the card has `count` bytes more than are in use."""
    gc.collect()
    memory = engine.device_memory(card, 0)
    total = memory.total_bytes - memory.free_bytes + count
    monkeypatch.setenv("BC_EMULATED_MEMORY", str(total))
    assert engine.device_memory(card, 0).free_bytes == count


@small_card
def test_as_many_layers_as_fit_are_there_and_the_answer_is_the_same(
    card: engine.Engine,
    folder: Path,
    expected: np.ndarray,
    all_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    placed = []
    for share in (1.0, 0.7, 0.4):
        room = int(all_bytes * share)
        leave_free(monkeypatch, card, KEPT_FREE + room)
        model = engine.Model(card, folder)
        found = engine.place(model, PARAMS)
        assert found.room_bytes == room and found.all_bytes == all_bytes
        assert found.weight_bytes + found.session_bytes <= room
        near(answer(model), expected)
        placed.append((found.n_layers, found.head))
        del model
        monkeypatch.delenv("BC_EMULATED_MEMORY")
    assert placed == [(3, True), (2, True), (1, True)]


@small_card
def test_without_a_byte_the_head_stays_here(
    card: engine.Engine,
    folder: Path,
    expected: np.ndarray,
    all_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leave_free(monkeypatch, card, KEPT_FREE + all_bytes - 1)
    model = engine.Model(card, folder)
    found = engine.place(model, PARAMS)
    assert (found.n_layers, found.head) == (LAYERS, False)
    near(answer(model), expected)


@small_card
def test_prompts_go_in_smaller_batches_where_all_of_a_model_fits_then(
    card: engine.Engine, folder: Path, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def placed(n_batch: int) -> engine.Placement:
        model = engine.Model(card, folder)
        found = engine.place(model, replace(PARAMS, n_batch=n_batch))
        near(answer(model, Session(model, n_ctx=N_CTX, n_batch=n_batch)), expected)
        return found

    whole = {n_batch: placed(n_batch) for n_batch in (64, 128, 512)}
    assert whole[64].all_bytes < whole[128].all_bytes < whole[512].all_bytes
    for fits in whole.values():
        leave_free(monkeypatch, card, KEPT_FREE + fits.all_bytes)
        assert placed(512) == replace(fits, room_bytes=fits.all_bytes)
        monkeypatch.delenv("BC_EMULATED_MEMORY")
    leave_free(monkeypatch, card, KEPT_FREE + whole[64].all_bytes - 1)
    found = placed(512)  # batches as small as we go do not help: they stay as they were asked for
    assert (found.n_layers, found.head, found.all_bytes) == (LAYERS - 1, True, whole[512].all_bytes)


@small_card
@pytest.mark.parametrize("room", [0, 1 << 20, 20 << 20])
def test_where_no_layer_fits_the_numbers_are_told_and_the_model_runs_here(
    card: engine.Engine,
    folder: Path,
    expected: np.ndarray,
    all_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
    room: int,
) -> None:
    leave_free(monkeypatch, card, KEPT_FREE + room)
    model = engine.Model(card, folder)
    with pytest.raises(engine.NoRoomError) as raised:
        engine.place(model, PARAMS)
    assert (raised.value.all_bytes, raised.value.room_bytes) == (all_bytes, room)
    sentence = str(raised.value)
    assert f"{room >> 20} MB are free" in sentence and f"all of the model {all_bytes >> 20} MB" in sentence
    assert "one layer with its cache takes 25 MB" in sentence
    near(answer(model), expected)
    monkeypatch.delenv("BC_EMULATED_MEMORY")
    assert engine.place(model, PARAMS).n_layers == LAYERS  # and it can be tried again


@small_card
def test_a_session_for_which_there_is_no_room_is_refused_and_the_first_goes_on(
    card: engine.Engine,
    folder: Path,
    expected: np.ndarray,
    all_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leave_free(monkeypatch, card, KEPT_FREE + all_bytes + ROUNDED)
    model = engine.Model(card, folder)
    assert engine.place(model, PARAMS).n_layers == LAYERS
    first = Session(model, n_ctx=N_CTX, n_batch=16)
    before = answer(model, first)
    near(before, expected)
    used = engine.device_memory(card, 0).used_bytes
    with pytest.raises(engine.OutOfMemoryError, match=r"64 MB free and 74 MB are needed: close") as raised:
        Session(model, n_ctx=N_CTX, n_batch=16)
    assert not isinstance(raised.value, engine.NoRoomError)
    assert engine.device_memory(card, 0).used_bytes == used
    np.testing.assert_array_equal(answer(model, first), before)
    smaller = Session(model, n_ctx=N_CTX // 2, n_batch=16)
    np.testing.assert_array_equal(answer(model, smaller), before)
    del first, smaller, raised
    gc.collect()
    np.testing.assert_array_equal(answer(model), before)  # there is room again


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("matrix", ["q", "v", "gate", "down"])
def test_gains_change_the_answer_as_on_the_processor(
    card: engine.Engine, folder: Path, expected: np.ndarray, layer: int, matrix: str
) -> None:
    """Layer 0 is here, the others on the card."""
    there, here = engine.Model(card, folder), engine.Model(an_engine("scalar"), folder)
    params = PlacementParams(n_ctx=64, n_batch=16, n_layers=2)
    assert engine.place(there, params).n_layers == 2
    gain = np.linspace(0.25, 8, there.rows(matrix), dtype=np.float32)
    sessions = [Session(model, n_ctx=64, n_batch=16) for model in (there, here)]
    before = answer(there, sessions[0])
    near(before, expected)
    for model in (there, here):
        model.set_gain(layer, matrix, gain)
    changed = answer(there, sessions[0])
    near(changed, answer(here, sessions[1]))
    assert np.abs(changed - before).max() > 0.1 * np.abs(before).max()
    there.set_gain(layer, matrix, None)
    np.testing.assert_array_equal(answer(there, sessions[0]), before)


def test_low_rank_additions_are_for_layers_on_the_processor(card: engine.Engine, folder: Path) -> None:
    model, here = engine.Model(card, folder), engine.Model(an_engine("scalar"), folder)
    rows, cols = engine.matrix_shapes(model.info)["q"]
    draw = np.random.default_rng(3)
    pair = [draw.standard_normal((2, n)).astype(np.float32) for n in (cols, rows)]
    engine.place(model, PlacementParams(n_ctx=64, n_batch=16, n_layers=2))
    for layer in (1, 2):
        with pytest.raises(engine.UnsupportedError, match="processor") as raised:
            model.set_lora(layer, "q", *pair)
        assert raised.value.status == -3
        model.set_lora(layer, "q", None, None)
    session = Session(model, n_ctx=64, n_batch=16)
    before = answer(model, session)
    for each in (model, here):
        each.set_lora(0, "q", *pair)
    near(answer(model, session), answer(here, Session(here, n_ctx=64, n_batch=16)))
    assert not np.array_equal(answer(model, session), before)


def test_a_model_with_a_low_rank_addition_is_not_placed(card: engine.Engine, folder: Path) -> None:
    model = engine.Model(card, folder)
    rows, cols = engine.matrix_shapes(model.info)["up"]
    model.set_lora(1, "up", np.ones((1, cols), np.float32), np.ones((1, rows), np.float32))
    with pytest.raises(engine.UnsupportedError, match=r"^layer 1 has a low-rank addition") as raised:
        engine.place(model, PARAMS)
    assert raised.value.status == -3
    model.set_lora(1, "up", None, None)
    assert engine.place(model, PARAMS).n_layers == LAYERS


def test_a_4_bit_cache_is_for_the_processor(card: engine.Engine, folder: Path, expected: np.ndarray) -> None:
    model = engine.Model(card, folder)
    with pytest.raises(engine.UnsupportedError, match="use int8") as raised:
        engine.place(model, PlacementParams(n_ctx=64, kv="int4"))
    assert raised.value.status == -3
    Session(model, n_ctx=64, kv="int4").forward(TOKENS[:2])  # still here
    gc.collect()
    engine.place(model, PlacementParams(n_ctx=64, n_batch=16))
    with pytest.raises(engine.UnsupportedError, match="use int8") as raised:
        Session(model, n_ctx=64, kv="int4")
    assert raised.value.status == -3
    near(answer(model, Session(model, n_ctx=64, n_batch=16)), expected)
