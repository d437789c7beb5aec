"""Held-out chat: the model's own answers in its own template, the same ones each time."""

import json
import shutil
from importlib.resources import files
from pathlib import Path

import held_out_chat
import pytest
from held_out_chat import QUESTIONS, SECOND_QUESTION_EACH, SECOND_QUESTIONS, Talker, conversations

TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}|{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture
def talking_model(tiny_model: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "talking"
    shutil.copytree(tiny_model, folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return folder


def test_the_same_answers_each_time_and_some_to_a_second_question(
    talking_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_out_chat, "ANSWER", 5)
    monkeypatch.setattr(held_out_chat, "SECOND_QUESTIONS", ("And?", "Why?"))
    questions = ("Who?", "What?", "Where?", "When?")  # the tiny model's context is short
    assert len(questions) == SECOND_QUESTION_EACH + 1
    texts = conversations(Talker(talking_model, 1), questions)
    assert texts == conversations(Talker(talking_model, 1), questions)
    assert [text.count("<user>") for text in texts] == [2, 1, 1, 2]
    assert all(
        text.startswith(f"<user>{question}|<assistant>")
        for text, question in zip(texts, questions, strict=True)
    )
    assert "|<user>Why?|<assistant>" in texts[3]


def test_no_question_is_in_the_calibration_text() -> None:
    place = files("bitconverter") / "resources" / "calibration"
    chat = json.loads((place / "chat.json").read_text(encoding="utf-8"))
    own = json.loads((place / "questions.json").read_text(encoding="utf-8"))
    asked = {turn["content"] for turns in chat for turn in turns}
    asked |= {*own["questions"], *own["second_questions"]}
    assert len(asked) > 90
    assert not asked & {*QUESTIONS, *SECOND_QUESTIONS}
