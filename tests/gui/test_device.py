"""On what a chat runs: the setting, the badge with its reason, and the graphics cards on the welcome page."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from cards import GB, Pretended, card
from window_checks import left_in_english

from bitconverter import engine
from bitconverter.gui import messages
from bitconverter.gui.chat_page import State
from bitconverter.gui.device_text import answer_device, badge, cards_text, short_name
from bitconverter.gui.messages import device_reason, error_text, note_text
from bitconverter.gui.texts.errors import ERRORS_JA
from bitconverter.gui.train_card import TrainCard
from bitconverter.jobs.errors import UserError
from bitconverter.jobs.hardware import Hardware
from bitconverter.jobs.job import Note
from bitconverter.jobs.placement import ERRORS, SURPRISES, Placed
from bitconverter.settings import Settings
from bitconverter.store.ran_on import RanOn

LONG = 60_000  # milliseconds; a bound for a broken program, not a promise
NATIVE = Path(__file__).parents[2] / "native"
CODES = {
    "asked-cpu", "no-backend", "no-driver", "device-failed", "kv-needs-cpu", "lora-needs-cpu", "unsupported",
    "device-wrong",    "too-small", "all-layers", "asked-layers", "some-layers", "delta-needs-cpu", "train-too-small",
    "train-some-layers",
}  # fmt: skip
Pretend = Callable[..., Pretended]


@pytest.fixture(autouse=True)
def _back_to_english():
    yield
    messages.set_language("en")


def a_session(**placed) -> SimpleNamespace:
    """As far as a badge needs one."""
    return SimpleNamespace(
        isa="avx2", threads=4, n_ctx=4096, family="llama", placed=Placed(all_layers=32, **placed)
    )


def whole(**more) -> SimpleNamespace:
    return a_session(where="cuda:0", device="NVIDIA GeForce RTX 4070", layers=32, code="all-layers", **more)


def some() -> SimpleNamespace:
    return a_session(
        where="cuda:1", device="NVIDIA A2", layers=20, code="some-layers", needs=5 * GB, room=4 * GB
    )


def test_why_no_card_can_be_used_is_said_in_japanese():
    why = "there is no NVIDIA driver on this computer"
    messages.set_language("ja")
    text = messages.device_reason("no-driver", {"why": why})
    assert "NVIDIA のドライバーが入っていません" in text and why not in text
    assert "something new" in messages.device_reason("no-driver", {"why": "something new"})
    messages.set_language("en")
    assert "there is no" in messages.device_reason("no-driver", {"why": why})


def test_the_badge_says_where_and_its_tip_why():
    words, tip = badge(whole())
    assert words == "GPU · RTX 4070" and "NVIDIA GeForce RTX 4070" in tip and "4,096" in tip
    words, tip = badge(some())
    assert words == "GPU 20 of 32 layers + CPU"
    assert "AVX2" in tip and "5.00 GB" in tip and "4.00 GB" in tip
    words, tip = badge(a_session(code="no-driver", why="there is no NVIDIA driver on this computer"))
    assert words == "CPU · AVX2 · 4 threads"
    assert tip.endswith("No graphics card can be used: there is no NVIDIA driver on this computer.")


def test_the_badge_in_japanese():
    messages.set_language("ja")
    assert badge(some())[0] == "GPU 20/32 層 + CPU"
    assert badge(whole())[1].startswith("グラフィックスカード NVIDIA GeForce RTX 4070")
    assert "プロセッサー」が選ばれて" in badge(a_session())[1]


@pytest.mark.parametrize("language", ["en", "ja"])
def test_where_the_steps_of_a_training_run_is_on_its_card(language, qtbot):
    """A badge with the reason in its tool tip, said again in another language."""
    messages.set_language("en")
    shown = TrainCard()
    qtbot.addWidget(shown)
    shown.begin("taste", 20)
    assert not shown.device.text()
    fields = Placed(device="NVIDIA A2", layers=4, all_layers=6, needs=5 * GB, room=4 * GB).told()
    note = Note("train-device", {**fields, "where": "cuda:0", "code": "train-some-layers", "bytes": 3 * GB})
    shown.show_device(note)
    messages.set_language(language)
    shown.retranslate()
    assert shown.device.text() == {"en": "GPU 4 of 6 layers + CPU", "ja": "GPU 4/6 層 + CPU"}[language]
    assert "NVIDIA A2" in shown.device.toolTip() and "5.00 GB" in shown.device.toolTip()
    assert note_text(note) == shown.device.toolTip()
    shown.show_device(Note("train-device", {**note.fields, "layers": 6, "code": "all-layers"}))
    assert shown.device.text() == "GPU · A2" and "\n" not in shown.device.toolTip()
    shown.show_device(Note("train-device", {**note.fields, "where": "cpu", "code": "delta-needs-cpu"}))
    assert shown.device.text() == {"en": "Processor", "ja": "プロセッサー"}[language]
    assert shown.device.toolTip().count("\n") == 1


def test_that_a_training_goes_on_somewhere_else_is_said():
    here = asdict(RanOn("cpu", all_layers=6, before=10))
    there = asdict(RanOn("cuda:0", "NVIDIA A2", 4, 6, True, 10))
    note = Note("train-device-changed", {"before": there, "now": here})
    messages.set_language("en")
    assert note_text(note) == (
        "This training ran on NVIDIA A2 (4 of 6 layers that learn and the head, 10 of those before them) until now "
        "and goes on on the processor: the last digits of its result will differ from those of a run without a break."
    )
    messages.set_language("ja")
    assert "NVIDIA A2（学習する 6 層のうち 4 層と出力層、その手前の 10 層）" in note_text(note)
    assert "プロセッサー」で続けます" in note_text(note)


def test_an_answer_keeps_names_only():
    assert answer_device(a_session()) == "CPU AVX2"
    assert answer_device(whole()) == "GPU RTX 4070"
    assert answer_device(some()) == "GPU A2 20/32 + CPU AVX2"
    assert short_name("Tesla T4") == "Tesla T4"


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("code", sorted(CODES))
def test_every_reason_is_a_sentence_in_both_languages(code, language):
    messages.set_language(language)
    placed = Placed(code=code, device="NVIDIA A2", kv="int4", needs=5 * GB, room=4 * GB, why="a reason.")
    text = device_reason(code, placed.told())
    assert text and text[-1] in ".。" and ".." not in text and "{" not in text
    note = Note("device", {"code": code, **placed.told()})
    assert note_text(note) == text
    assert set(SURPRISES) <= CODES


def test_every_error_of_a_device_is_spoken_in_japanese():
    messages.set_language("ja")
    for code, sentence in ERRORS.values():
        fields = {
            "word": "cuda:1",
            "cards": "cuda:0 (A)",
            "context": 9,
            **Placed(device="A2", why="w").told(),
        }
        text = error_text(UserError(code, sentence, **fields)).text
        assert text == ERRORS_JA[code].format(**fields) and "cuda:1" in text


def pc(*cards, **more) -> Hardware:
    return Hardware(16 * GB, 8 * GB, 4, 8, "avx2", tuple(c.name for c in cards), 100 * GB, cards, **more)


def test_the_welcome_says_what_a_card_is_good_for():
    here = pc(card("NVIDIA A", 24 * GB, 20 * GB), card("NVIDIA B", 2 * GB, GB))
    first, second = cards_text(here, "auto").split("\n")
    assert first.startswith("NVIDIA A, 24 GB (20 GB free now): will be used. A model of 8B fits")
    assert second.startswith("NVIDIA B, 2 GB (1 GB free now): will be used. Only some layers")
    first, second = cards_text(here, "cuda:1").split("\n")
    assert "not used, because the settings say so" in first and "will be used" in second
    assert "will be used" in cards_text(here, "cuda").split("\n")[0]
    assert cards_text(here, "cpu").count("not used") == 2
    assert "1B fits" in cards_text(pc(card(free=3 * GB // 2)), "auto")
    messages.set_language("ja")
    assert "使います" in cards_text(here, "auto") and "8B のモデル" in cards_text(here, "auto")


def test_the_welcome_says_why_a_card_is_not_used():
    bare = replace(pc(no_cards="no-driver", why="there is no driver"), gpus=("Old card",))
    assert cards_text(bare, "auto") == (
        "Old card: not used, the processor does the work. No graphics card can be used: there is no driver."
    )
    assert cards_text(pc(no_cards="no-backend"), "auto") == "None needed: the processor does the work"


def settings_page(window, qtbot):
    window.show_page("settings")
    page = window.pages["settings"]
    qtbot.waitUntil(lambda: page._cards_known and not page.busy, timeout=LONG)
    return page


def test_the_setting_offers_each_card_by_name(window, settings: Settings, qtbot, pretend: Pretend):
    pretend(card("NVIDIA A", 24 * GB), card("NVIDIA B"))
    page = settings_page(window, qtbot)
    field = page.rows["device"].field
    assert field.words() == ["Automatic (usual)", "Processor", "NVIDIA A (24 GB)", "NVIDIA B (12 GB)"]
    assert field.currentData() == "auto"
    field.setCurrentIndex(3)
    assert settings["device"] == "cuda:1"
    page.search.setText("NVIDIA B")
    assert page.rows["device"].isVisible() and not page.rows["threads"].isVisible()
    page.search.setText("")
    page.reset_button.click()
    assert settings["device"] == "auto" and field.currentData() == "auto"
    settings["language"] = "ja"
    window.apply_setting("language")
    assert field.accessibleName() == "計算に使うデバイス" and not left_in_english(page)


def test_a_card_that_is_gone_stays_set_and_is_shown_as_gone(window, settings, qtbot, no_cards):
    settings["device"] = "cuda:3"
    field = settings_page(window, qtbot).rows["device"].field
    assert field.currentText() == "Graphics card 3 (not there now)" and settings["device"] == "cuda:3"
    settings["device"] = "cuda"
    field.show_word("cuda")
    assert field.currentData() == "cuda:0"
    assert "3" not in "".join(field.words())


def test_what_is_no_device_is_not_kept(tmp_path):
    path = tmp_path / "s.json"
    path.write_text(json.dumps({"device": "warp drive"}), encoding="utf-8")
    read = Settings(path)
    assert read["device"] == "auto" and read.problems == ["device"]
    with pytest.raises(ValueError, match="device"):
        read["device"] = "cuda:x"
    read["device"] = "cuda:2"


def opened(window, model, qtbot):
    window.open_model(str(model))
    page = window.chat
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    return page


def test_without_a_card_the_chat_is_on_the_processor_and_the_tip_says_why(
    window, chat_model, qtbot, settings, no_cards
):
    page = opened(window, chat_model, qtbot)
    assert page.state is State.READY
    assert page.bar._device.text().startswith("CPU · ")
    assert "this installation lacks the part for them" in page.bar._device.toolTip()
    settings["language"] = "ja"
    window.apply_setting("language")
    assert "部品がない" in page.bar._device.toolTip()


def test_on_a_card_the_badge_and_the_answers_name_it(window, chat_model, qtbot, pretend: Pretend):
    asked = pretend(card())
    page = opened(window, chat_model, qtbot)
    assert page.bar._device.text() == "GPU · RTX 4070" and asked.params[0].kv == "f16"
    page.drawer.numbers["max_tokens"].field.setValue(4)
    page.composer.set_text("hello")
    page.send()
    qtbot.waitUntil(lambda: page.state is State.READY, timeout=LONG)
    assert page.log.turns[-1].numbers.device == "GPU RTX 4070"


def test_what_does_not_fit_whole_is_said_when_it_is_opened(window, chat_model, qtbot, pretend: Pretend):
    pretend(card(), layers=1)
    page = opened(window, chat_model, qtbot)
    assert page.bar._device.text().startswith("GPU 1 of ")
    assert "Not all of it fits on NVIDIA GeForce RTX 4070" in page.toast._text.text()


def test_the_setting_reaches_the_job(window, chat_model, qtbot, settings, pretend: Pretend):
    asked = pretend(card("A"), card("B"))
    settings["device"] = "cpu"
    page = opened(window, chat_model, qtbot)
    assert page.bar._device.text().startswith("CPU") and not asked.params
    settings["device"] = "cuda:1"
    page = opened(window, chat_model, qtbot)
    assert asked.params[0].device == 1 and page.bar._device.text() == "GPU · B"


def test_a_card_that_was_chosen_and_cannot_be_had_leaves_the_choice_to_the_user(
    window, chat_model, qtbot, settings, pretend: Pretend
):
    pretend(card(), error=engine.NoRoomError("no room", -2, 5 * GB, 2 * GB))
    settings["device"] = "cuda:0"
    page = opened(window, chat_model, qtbot)
    assert page.state is State.NO_MODEL
    assert "5.00 GB" in page.notice.text() and "2.00 GB" in page.notice.text()
    assert page.processor_button.isVisible() and not page.smaller_button.isVisible()
    settings["language"] = "ja"
    window.apply_setting("language")
    assert "1 層も入りません" in page.notice.text() and page.processor_button.text() == "プロセッサーで開く"
    page.processor_button.click()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert page.state is State.READY and page.bar._device.text().startswith("CPU")
    assert settings["device"] == "cuda:0" and not page.processor_button.isVisible()
