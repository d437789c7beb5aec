"""A chat with a soul: the answers are the trained model's, and the model is as it was without it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference.converted import write_converted
from safetensors.numpy import load_file, save_file

from bitconverter.format.errors import UserError
from bitconverter.format.soul_file import Soul, soul_bytes, weights_hash
from bitconverter.jobs.chat import Answer, AnswerJob, ChatSession, LoadChatJob, Message, Sampling
from bitconverter.jobs.job import Cancel, Failed, Finished, Job, run_job

TEMPLATE = "{% for m in messages %}{{ m.content }}\n{% endfor %}"


def outcome(job: Job) -> Any:
    last = run_job(job, lambda _: None, Cancel())
    if isinstance(last, Failed):
        raise last.error
    assert isinstance(last, Finished)
    return last.result


def load(folder: Path, soul: str = "") -> ChatSession:
    chat: ChatSession = outcome(LoadChatJob(str(folder), threads=1, soul=soul))
    return chat


def finished(chat: ChatSession, with_soul: bool | None = None) -> Answer:
    asked, greedy = (Message("user", "hello there"),), Sampling(temperature=0, max_tokens=24, seed=0)
    answer: Answer = outcome(AnswerJob(chat, asked, greedy, with_soul=with_soul))
    return answer


@pytest.fixture(scope="module")
def place(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """base/, trained/ (its scales multiplied) and a.soul with the factors."""
    place = tmp_path_factory.mktemp("soul")
    for name in ("base", "trained"):
        write_converted(tiny_model, place / name, 2, seed=3)
        (place / name / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    tensors, gains, rng = load_file(place / "base" / "model.safetensors"), {}, np.random.default_rng(2)
    for name in [name for name in tensors if name.startswith("model.layers.1.") and name.endswith(".scales")]:
        gain = np.exp(rng.normal(0, 1.0, tensors[name].shape)).astype(np.float32)
        tensors[name] = tensors[name].astype(np.float32) * gain
        gains[name.removesuffix(".scales")] = gain
    save_file(tensors, place / "trained" / "model.safetensors")
    base = weights_hash((place / "base").glob("*.safetensors"))
    (place / "a.soul").write_bytes(soul_bytes(Soul(gains, "base", base, {})))
    return place


def test_it_answers_as_the_trained_model_and_switches(place: Path) -> None:
    chat = load(place / "base", soul=str(place / "a.soul"))
    trained = finished(load(place / "trained")).text
    plain = finished(load(place / "base")).text
    assert chat.soul_is_on and trained != plain
    assert finished(chat).text == trained
    assert finished(chat, with_soul=False).text == plain
    assert finished(chat, with_soul=False).cached_tokens > 0  # nothing was changed, so the context was kept
    again = finished(chat, with_soul=True)
    assert again.text == trained and again.cached_tokens == 0


def test_a_chat_without_a_soul_has_none_to_switch_on(place: Path) -> None:
    chat = load(place / "base")
    assert finished(chat, with_soul=True).text and not chat.soul_is_on


def test_souls_of_others_are_refused(place: Path, tmp_path: Path) -> None:
    def code(model: str, soul: Path) -> str:
        with pytest.raises(UserError) as raised:
            load(place / model, soul=str(soul))
        return raised.value.code

    assert code("base", tmp_path / "none.soul") == "soul-missing"
    assert code("base", tmp_path) == "soul-folder"
    (tmp_path / "魂.soul.aside").write_bytes((place / "a.soul").read_bytes())
    with pytest.raises(UserError, match=r"魂\.soul\.aside.*bitconverter adopt .*魂\.soul") as raised:
        load(place / "base", soul=str(tmp_path / "魂.soul"))
    assert raised.value.code == "soul-aside"
    with pytest.raises(
        UserError, match=r"魂\.soul\.aside was set aside.*bitconverter adopt .*魂\.soul"
    ) as raised:
        load(place / "base", soul=str(tmp_path / "魂.soul.aside"))
    assert raised.value.code == "soul-is-aside"
    assert code("trained", place / "a.soul") == "soul-base"
    base = weights_hash((place / "base").glob("*.safetensors"))
    for name in (
        "model.layers.9.mlp.up_proj",
        "model.layers.1.mlp.side_proj",
        "lm_head",
        "model.layers.1.mlp.up_proj",
    ):
        (tmp_path / "c.soul").write_bytes(soul_bytes(Soul({name: np.ones(3, np.float32)}, "", base, {})))
        assert code("base", tmp_path / "c.soul") == "soul-broken"
