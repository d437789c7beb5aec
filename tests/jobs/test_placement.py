"""On what a model runs: the word, the reason, and what happens where there is no graphics card."""

from pathlib import Path

import pytest
from cards import GB, card

from bitconverter import engine
from bitconverter.format.errors import UserError
from bitconverter.jobs import placement
from bitconverter.jobs.device_word import AUTO, CPU, Device, card_number, is_device_word
from bitconverter.jobs.placement import ERRORS, Placed, Sessions, choose_device, memory_of

CHAT = Sessions(512)


@pytest.fixture
def model(tiny_model: Path) -> engine.Model:
    return engine.Model(engine.Engine(threads=1), tiny_model)


@pytest.mark.parametrize(
    ("word", "number"),
    [("auto", None), ("cpu", None), ("cuda", 0), ("cuda:0", 0), ("cuda:7", 7), ("cuda:12", 12)],
)
def test_a_word_asks_for_a_card_by_its_number(word: str, number: int | None) -> None:
    assert card_number(word) == number and is_device_word(word)


@pytest.mark.parametrize(
    "word", ["", "gpu", "CUDA", "cuda:", "cuda:-1", "cuda:01", "cuda:1x", "cuda:100", "cpu ", 3]
)
def test_other_words_are_refused(word: object) -> None:
    assert not is_device_word(word)
    with pytest.raises(UserError) as raised:
        card_number(str(word))
    assert raised.value.code == "device-word" and repr(str(word)) in str(raised.value)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (Device("auto", memory=0), "device-limit"),
        (Device("cuda:0", layers=0), "device-limit"),
        (Device("cpu", memory=GB), "device-unused"),
        (Device("cpu", layers=3), "device-unused"),
        (Device("nowhere"), "device-word"),
    ],
)
def test_limits_that_cannot_be_are_refused_before_anything_is_opened(asked: Device, code: str) -> None:
    with pytest.raises(UserError) as raised:
        asked.check()
    assert raised.value.code == code


def test_the_processor_is_asked_for_and_nothing_is_looked_for(model, monkeypatch) -> None:
    monkeypatch.setattr(placement, "open_backend", lambda _: pytest.fail("the driver was asked"))
    placed = choose_device(model, Device(CPU), CHAT)
    assert (placed.where, placed.code, placed.all_layers) == ("cpu", "asked-cpu", model.info.n_layers)
    assert not placed.on_device and not placed.surprising and memory_of(model, placed) is None


def test_without_a_backend_auto_is_the_processor_and_says_why(model, no_cards) -> None:
    placed = choose_device(model, Device(AUTO), CHAT)
    assert (placed.where, placed.code) == ("cpu", "no-backend") and not placed.surprising
    assert placed.why == "this installation has no CUDA backend"
    assert engine.Session(model, n_ctx=16).forward([1]) is not None


@pytest.mark.parametrize("word", ["cuda", "cuda:0", "cuda:5"])
def test_without_a_backend_a_card_is_an_error_not_the_processor(model, no_cards, word: str) -> None:
    with pytest.raises(UserError) as raised:
        choose_device(model, Device(word), CHAT)
    assert raised.value.code == "device-none"
    assert str(raised.value) == (
        f"{word} cannot be used: this installation has no CUDA backend. Use --device cpu, or auto."
    )


def test_without_a_driver_its_sentence_is_kept(model, monkeypatch) -> None:
    def open_backend(_: engine.Engine) -> int:
        raise engine.UnsupportedError("there is no NVIDIA driver on this computer", -3)

    monkeypatch.setattr(placement, "open_backend", open_backend)
    placed = choose_device(model, Device(AUTO), CHAT)
    assert (placed.code, placed.why) == ("no-driver", "there is no NVIDIA driver on this computer")
    with pytest.raises(UserError, match="cuda:0 cannot be used: there is no NVIDIA driver"):
        choose_device(model, Device("cuda:0"), CHAT)


def test_a_model_that_fits_is_there_whole(model, pretend) -> None:
    asked = pretend(card())
    placed = choose_device(model, Device("cuda"), Sessions(300, "int8", 7, 4))
    assert (placed.where, placed.code, placed.layers) == ("cuda:0", "all-layers", model.info.n_layers)
    assert placed.device == "NVIDIA GeForce RTX 4070" and placed.head and not placed.surprising
    assert asked.params == [engine.PlacementParams(0, -1, 300, 7, "int8", 4, 0)]
    memory = memory_of(model, placed)
    assert memory is not None and memory.used_bytes == 3 * GB


def test_limits_reach_the_engine(model, pretend) -> None:
    asked = pretend(card())
    placed = choose_device(model, Device("auto", memory=4 * GB, layers=1), CHAT)
    assert (asked.params[0].n_layers, asked.params[0].memory_limit) == (1, 4 * GB)
    assert (placed.layers, placed.code) == (1, "asked-layers") and not placed.surprising


def test_what_does_not_fit_stays_on_the_processor(model, pretend) -> None:
    pretend(card(), layers=1)
    placed = choose_device(model, Device("cuda:0"), CHAT)
    assert (placed.where, placed.code, placed.layers) == ("cuda:0", "some-layers", 1) and placed.surprising
    assert placed.told()["needs"] == "4.00 GB" and placed.told()["room"] == "11.00 GB"


def test_auto_takes_the_card_with_most_room(model, pretend) -> None:
    pretend(card("A", free=GB), card("B", free=3 * GB), card("C", free=3 * GB))
    placed = choose_device(model, Device(AUTO), CHAT)
    assert (placed.where, placed.device) == ("cuda:1", "B")
    assert choose_device(model, Device("cuda:2"), CHAT).device == "C"


def test_a_single_card_is_not_described_before_something_is_on_it(model, pretend, monkeypatch) -> None:
    asked, described = pretend(card()), []

    def device_info(_: engine.Engine, number: int) -> engine.DeviceInfo:
        described.append(len(asked.params))
        return card()

    monkeypatch.setattr(placement, "device_info", device_info)
    choose_device(model, Device(AUTO), CHAT)
    assert described == [1]


def test_a_card_that_cannot_be_described_has_its_number(model, pretend, monkeypatch) -> None:
    def device_info(_: engine.Engine, number: int) -> engine.DeviceInfo:
        raise engine.EngineError("no")

    pretend(card())
    monkeypatch.setattr(placement, "device_info", device_info)
    assert choose_device(model, Device("cuda:0"), CHAT).device == "cuda:0"


def test_a_card_that_is_not_there_is_an_error_that_names_those_that_are(model, pretend) -> None:
    pretend(card("A"), card("B"))
    with pytest.raises(UserError) as raised:
        choose_device(model, Device("cuda:2"), CHAT)
    assert raised.value.code == "device-number" and "cuda:0 (A), cuda:1 (B)" in str(raised.value)


REFUSALS = [
    (engine.NoRoomError("a layer needs more", -2, 5 * GB, 2 * GB), "too-small", "device-small"),
    (
        engine.UnsupportedError("weights of f32 are for the processor.", -3),
        "unsupported",
        "device-unsupported",
    ),
    (engine.WrongDeviceError("it calculates wrongly", -8), "device-wrong", "device-wrong"),
    (engine.EngineError("the driver says: 719", -1), "device-failed", "device-failed"),
]


@pytest.mark.parametrize(("error", "code", "error_code"), REFUSALS)
def test_what_a_card_refuses_is_a_reason_with_auto_and_an_error_otherwise(
    model, pretend, error: engine.EngineError, code: str, error_code: str
) -> None:
    pretend(card(), error=error)
    placed = choose_device(model, Device(AUTO), CHAT)
    assert (placed.where, placed.code, placed.layers) == ("cpu", code, 0) and placed.surprising
    assert placed.device == "NVIDIA GeForce RTX 4070" and placed.why == str(error)
    with pytest.raises(UserError) as raised:
        choose_device(model, Device("cuda:0"), CHAT)
    assert raised.value.code == error_code and "cuda:0" in str(raised.value)
    assert raised.value.__cause__ is error
    if code == "too-small":
        text = str(raised.value)
        assert "5.00 GB" in text and "2.00 GB" in text and "512" in text and "--device cpu" in text
        assert (placed.needs, placed.room) == (5 * GB, 2 * GB)


def test_what_only_the_processor_has_is_not_tried_on_a_card(model, pretend) -> None:
    asked = pretend(card())
    placed = choose_device(model, Device(AUTO), Sessions(512, "int4"))
    assert (placed.where, placed.code, placed.kv) == ("cpu", "kv-needs-cpu", "int4")
    placed = choose_device(model, Device(AUTO), CHAT, lora=True)
    assert (placed.where, placed.code) == ("cpu", "lora-needs-cpu") and asked.params == []
    for sessions, lora, code in ((Sessions(512, "int4"), False, "device-kv"), (CHAT, True, "device-lora")):
        with pytest.raises(UserError) as raised:
            choose_device(model, Device("cuda:0"), sessions, lora=lora)
        assert raised.value.code == code


def test_every_refusal_fills_its_sentence() -> None:
    for code, (_, sentence) in ERRORS.items():
        told = {**Placed(code=code).told(), "word": "cuda:1", "cards": "cuda:0 (A)", "context": 9}
        assert "cuda:1" in sentence.format(**told)
