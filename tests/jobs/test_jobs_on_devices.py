"""Jobs with a device: what they say of it, and what of their memory is the card's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cards import GB, Pretended, card
from model_folders import edit_config
from reference.converted import write_converted

from bitconverter import engine
from bitconverter.engine import Engine, Model, Session
from bitconverter.format.errors import UserError
from bitconverter.format.soul_file import Soul, soul_bytes, weights_hash
from bitconverter.jobs import chat_memory
from bitconverter.jobs.benchmark import BenchmarkJob
from bitconverter.jobs.benchmark_sweep import SweepJob, markdown
from bitconverter.jobs.chat import AnswerJob, LoadChatJob, Message, Sampling
from bitconverter.jobs.device_word import Device
from bitconverter.jobs.evaluate import EvaluateJob
from bitconverter.jobs.hardware import CardsJob, Hardware, HardwareJob, bits_on_card
from bitconverter.jobs.job import Cancel, Event, Failed, Finished, Job, Note, run_job
from bitconverter.jobs.logits import LogitsJob
from bitconverter.jobs.placement import Placed
from bitconverter.model.budget import session_bytes

AUTO = Device("auto")
Pretend = Callable[..., Pretended]


def outcome(job: Job, events: list[Event] | None = None) -> Any:
    last = run_job(job, (events if events is not None else []).append, Cancel())
    if isinstance(last, Failed):
        raise last.error
    assert isinstance(last, Finished)
    return last.result


def device_notes(events: list[Event]) -> list[dict[str, Any]]:
    return [event.fields for event in events if isinstance(event, Note) and event.code == "device"]


@pytest.fixture(scope="module")
def place(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """base/, converted, with a.soul of gains and b.soul of low-rank additions."""
    place = tmp_path_factory.mktemp("devices")
    base = place / "base"
    write_converted(tiny_model, base, 2, seed=3)
    template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    (base / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}), encoding="utf-8")
    edit_config(base, max_position_embeddings=4096)
    model = Model(Engine(threads=1), base)
    rows, cols = engine.matrix_shapes(model.info)["q"]
    name, whose = "model.layers.1.self_attn.q_proj", weights_hash(base.glob("*.safetensors"))
    gains = {name: np.full(rows, 1.5, np.float32)}
    lora = {name: (np.ones((2, cols), np.float32), np.ones((rows, 2), np.float32))}
    (place / "a.soul").write_bytes(soul_bytes(Soul(gains, "base", whose, {})))
    (place / "b.soul").write_bytes(soul_bytes(Soul({}, "base", whose, {}, lora)))
    return place


def test_a_chat_without_a_card_says_why(place: Path, no_cards: None) -> None:
    events: list[Event] = []
    chat = outcome(LoadChatJob(str(place / "base"), threads=1, device=AUTO), events)
    assert (chat.placed.where, chat.placed.code) == ("cpu", "no-backend") and not device_notes(events)
    answer = outcome(AnswerJob(chat, (Message("user", "hello"),), Sampling(temperature=0, max_tokens=4)))
    assert answer.tokens == 4
    chat.close()
    with pytest.raises(UserError) as raised:
        outcome(LoadChatJob(str(place / "base"), threads=1, device=Device("cuda:0")))
    assert raised.value.code == "device-none"


def test_jobs_that_are_not_told_run_on_the_processor(place: Path, pretend: Pretend) -> None:
    asked = pretend(card())
    chat = outcome(LoadChatJob(str(place / "base"), threads=1))
    assert chat.placed == Placed(all_layers=chat.placed.all_layers) and not asked.params
    chat.close()


def test_a_chat_on_a_card_says_which_and_takes_its_usual_context_there(place: Path, pretend: Pretend) -> None:
    asked, events = pretend(card()), list[Event]()
    chat = outcome(LoadChatJob(str(place / "base"), threads=1, kv="int8", device=AUTO), events)
    assert (chat.placed.where, chat.placed.device) == ("cuda:0", "NVIDIA GeForce RTX 4070")
    assert (asked.params[0].n_ctx, asked.params[0].kv) == (4096, "int8") and not device_notes(events)
    chat.close()


def test_a_chat_of_which_a_part_is_on_the_card_is_told(place: Path, pretend: Pretend) -> None:
    pretend(card(), layers=1)
    events: list[Event] = []
    outcome(LoadChatJob(str(place / "base"), threads=1, n_ctx=64, device=AUTO), events).close()
    (fields,) = device_notes(events)
    assert (fields["code"], fields["layers"], fields["needs"]) == ("some-layers", 1, "4.00 GB")


def test_a_soul_of_gains_stays_on_the_card_and_one_of_additions_takes_the_processor(
    place: Path, pretend: Pretend
) -> None:
    asked, events = pretend(card()), list[Event]()
    job = LoadChatJob(str(place / "base"), threads=1, soul=str(place / "a.soul"), device=AUTO)
    chat = outcome(job, events)
    assert chat.placed.on_device and chat.soul_is_on and not device_notes(events)
    chat.close()
    job = LoadChatJob(str(place / "base"), threads=1, soul=str(place / "b.soul"), device=AUTO)
    chat = outcome(job, events)
    assert chat.placed.code == "lora-needs-cpu" and chat.soul_is_on and len(asked.params) == 1
    assert device_notes(events)[0]["code"] == "lora-needs-cpu"
    chat.close()
    soul = str(place / "b.soul")
    with pytest.raises(UserError) as raised:
        outcome(LoadChatJob(str(place / "base"), threads=1, soul=soul, device=Device("cuda:0")))
    assert raised.value.code == "device-lora"


def test_a_cache_on_the_card_takes_no_main_memory(
    place: Path, pretend: Pretend, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = Model(Engine(threads=1), place / "base").info
    free = session_bytes(info, 4096, "f16") - 1000
    monkeypatch.setattr(chat_memory, "free_memory", lambda: free)
    with pytest.raises(UserError, match="context"):
        outcome(LoadChatJob(str(place / "base"), threads=1, n_ctx=4096))
    pretend(card())
    outcome(LoadChatJob(str(place / "base"), threads=1, n_ctx=4096, device=AUTO)).close()


def test_a_card_that_has_filled_up_meanwhile_is_told(
    place: Path, pretend: Pretend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> Session:
        raise engine.OutOfMemoryError("the device has 12 MB free, 40 MB are needed.", -2)

    pretend(card())
    monkeypatch.setattr(chat_memory, "Session", refuse)
    with pytest.raises(UserError) as raised:
        outcome(LoadChatJob(str(place / "base"), threads=1, device=AUTO))
    assert raised.value.code == "device-memory" and "RTX 4070" in str(raised.value)
    assert "40 MB are needed. Close" in str(raised.value)


def test_other_jobs_say_on_what_they_ran(place: Path, pretend: Pretend, tmp_path: Path) -> None:
    text, base = tmp_path / "t.txt", str(place / "base")
    text.write_text("the quick brown fox jumps over the lazy dog", encoding="utf-8")
    asked = pretend(card())
    result = outcome(EvaluateJob(base, str(text), threads=1, window=32, device=AUTO))
    assert result.placed.where == "cuda:0" and asked.params[-1].n_ctx == 32
    result = outcome(LogitsJob(base, (1, 2, 3), str(tmp_path / "l.npy"), threads=1, device=AUTO))
    assert result.placed.where == "cuda:0" and (asked.params[-1].n_ctx, asked.params[-1].kv) == (3, "f32")
    job = BenchmarkJob(base, prompt_tokens=10, new_tokens=3, threads=1, repeat=1, device=AUTO)
    result = outcome(job)
    assert result.placed.weight_bytes == 3 * GB and result.device_memory.peak_bytes == 4 * GB
    assert asked.params[-1].n_ctx == 13


def test_the_sweep_on_a_card_leaves_out_what_is_the_processors(place: Path, pretend: Pretend) -> None:
    asked = pretend(card())
    job = SweepJob(str(place / "base"), threads=2, rounds=1, prompt_tokens=8, new_tokens=4, device=AUTO)
    result = outcome(job)
    rows = {row.what for row in result.rows}
    assert {
        "prefill 8",
        "decode 4",
        "decode at 2048",
        "decode at 4092",
        "decode, 32 sequences",
        "load",
    } <= rows
    assert "reading the weight files" not in rows and {row.threads for row in result.rows} == {2}
    assert all(row.share is None for row in result.rows)
    assert (4096, 1) in {(params.n_ctx, params.n_sessions) for params in asked.params}  # the deepest session
    assert "4000 MB" in markdown(result) and "(cuda:0)" in markdown(result)


@pytest.mark.parametrize(("sequences", "n_batch"), [((1, 3), 0), ((2, 300), 300)])
def test_only_texts_at_once_have_room_for_all_of_them(
    place: Path, pretend: Pretend, sequences: tuple[int, ...], n_batch: int
) -> None:
    asked = pretend(card())
    job = SweepJob(
        str(place / "base"), threads=1, rounds=1, sequences=sequences, new_tokens=2, whole=False,
        device=AUTO,
    )  # fmt: skip
    result = outcome(job)
    names = ["decode, 1 sequence" if n == 1 else f"decode, {n} sequences" for n in sequences]
    assert [row.what for row in result.rows] == names
    (params,) = asked.params
    assert (params.n_ctx, params.n_sessions, params.n_batch) == (max(sequences), max(sequences), n_batch)


def test_no_texts_at_once_are_refused(place: Path) -> None:
    for sequences in ((), (0, 2)):
        with pytest.raises(UserError):
            outcome(SweepJob(str(place / "base"), sequences=sequences))


def test_the_hardware_says_which_cards_can_be_used(
    pretend: Pretend, no_cards: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("bitconverter.jobs.hardware.gpu_names", lambda: ("Some card",))
    found = outcome(CardsJob())
    assert (found.cards, found.code, found.names) == ((), "no-backend", ("Some card",))
    pc: Hardware = outcome(HardwareJob(str(tmp_path)))
    assert (pc.gpus, pc.no_cards) == (("Some card",), "no-backend") and "no CUDA backend" in pc.why
    pretend(card("NVIDIA A"))
    found = outcome(CardsJob())
    assert found.names == ("NVIDIA A",) and found.cards[0].free_bytes == 11 * GB and found.code == ""


def test_what_fits_on_a_card() -> None:
    assert bits_on_card(8 * 10**9, 4 * GB) == pytest.approx(3.3)
    assert bits_on_card(8 * 10**9, GB // 10) == 0 and bits_on_card(10**9, 80 * GB) == 16
