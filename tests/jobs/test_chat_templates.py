"""A chat whose template is chosen: what is sent, what ends an answer, and switching it while the model is open."""

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from talking import ASK, GREEDY, finished, greedy_tokens, load, make_folder

from bitconverter.format.errors import UserError
from bitconverter.jobs.chat import ChatSession, LoadChatJob, PromptJob, UseTemplateJob
from bitconverter.jobs.job import Cancel, Failed, Finished, Note, run_job

CHATML = "<|im_start|>user\nhello there<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without a template."""
    return make_folder(tmp_path_factory.mktemp("bare") / "型なし", template=None)


def outcome(job: Any) -> tuple[Any, list[Note]]:
    notes: list[Note] = []
    last = run_job(job, lambda e: notes.append(e) if isinstance(e, Note) else None, Cancel())
    if isinstance(last, Failed):
        raise last.error
    assert isinstance(last, Finished)
    return last.result, notes


def special(folder: Path, number: int) -> str:
    """Make the token `number` of the folder's tokenizer a special one. Returns its text."""
    path = folder / "tokenizer.json"
    raw = tokenizers.Tokenizer.from_file(str(path))
    text = raw.id_to_token(number)
    value = json.loads(path.read_text(encoding="utf-8"))
    value["added_tokens"].append(
        {"id": number, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
    )  # fmt: skip
    path.write_text(json.dumps(value), encoding="utf-8")
    return text


def test_a_model_without_a_template_talks_after_a_choice_and_says_why_before(bare: Path) -> None:
    with pytest.raises(UserError, match="chatml, llama-3") as caught:
        load(bare)
    assert caught.value.code == "no-chat-template"
    chat = load(bare, template="chatml")
    assert chat.prompt_text(ASK) == CHATML and not chat.has_own_template and chat.template == "chatml"
    result = finished(chat)
    said = greedy_tokens(bare, chat.tokenizer.encode(CHATML, add_special_tokens=False), GREEDY.max_tokens)
    assert result.text == chat.tokenizer.decode(said) and result.prompt_tokens == len(chat.prompt(ASK))


def test_what_is_counted_and_shown_is_what_is_sent(bare: Path) -> None:
    chat = load(bare, template="llama-2")
    prompt, _ = outcome(PromptJob(chat, ASK))
    result = finished(chat)
    assert prompt.text == "[INST] hello there [/INST]" and prompt.template == "llama-2"
    sent = chat.tokenizer.encode(prompt.text, add_special_tokens=False)
    assert prompt.tokens == result.prompt_tokens == len(sent) and chat._held[: len(sent)] == sent


def test_the_token_that_the_template_writes_behind_an_answer_ends_it(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m", template=None)
    plain = load(folder, template="plain")
    prompt = plain.tokenizer.encode(plain.prompt_text(ASK), add_special_tokens=False)
    said = greedy_tokens(folder, prompt, 24)
    end = said[9]
    text = special(folder, end)
    path = tmp_path / "mine.jinja"
    path.write_text(
        "{% for m in messages %}{{ 'User: ' if m.role == 'user' else ' ' }}{{ m.content }}"
        f"{{{{ '\\n' if m.role == 'user' else {text!r} }}}}{{% endfor %}}Assistant:",
        encoding="utf-8",
    )
    chat = load(folder, template=str(path))
    assert chat.prompt(ASK) == prompt and chat.end_ids == {end}
    result = finished(chat)
    assert (result.finish, result.tokens) == ("stop", said.index(end))


def test_where_the_end_is_no_token_its_letters_cut_the_answer(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m", template=None)
    whole = finished(load(folder, template="plain")).text
    stop = whole[7:10]
    assert len(stop) == 3
    chat = load(folder, template="plain")
    chat.stop_text = stop
    result = finished(chat)
    assert (result.text, result.finish) == (whole.partition(stop)[0], "stop")


@pytest.mark.parametrize(
    ("template", "codes"), [("chatml", ["template-no-end"]), ("plain", []), ("llama-2", ["template-no-end"])]
)
def test_it_is_told_when_the_format_ends_an_answer_with_what_the_model_has_not(
    bare: Path, template: str, codes: list[str]
) -> None:
    chat, notes = outcome(LoadChatJob(str(bare), threads=1, template=template))
    assert [note.code for note in notes] == codes
    if template == "chatml":
        assert notes[0].fields == {"mark": "<|im_end|>"} and chat.stop_text == "<|im_end|>"


def test_it_is_switched_while_the_model_is_open(bare: Path, tmp_path: Path) -> None:
    chat: ChatSession = load(bare, template="chatml")
    first = finished(chat)
    switched, _ = outcome(UseTemplateJob(chat, "plain"))
    assert switched is chat and chat.template == "plain"
    assert chat.prompt_text(ASK) == "User: hello there\nAssistant:"
    assert finished(chat).text == finished(load(bare, template="plain")).text
    for word, code in (("", "no-chat-template"), (str(tmp_path / "gone.jinja"), "template-unknown")):
        with pytest.raises(UserError) as caught:
            outcome(UseTemplateJob(chat, word))
        assert caught.value.code == code and chat.template == "plain"  # as before
    outcome(UseTemplateJob(chat, "chatml"))
    assert finished(chat).text == first.text


def test_the_models_own_is_the_usual_one_and_its_words_end_nothing(tmp_path: Path) -> None:
    chat = load(make_folder(tmp_path / "m"))
    assert chat.has_own_template and chat.template == "" and chat.stop_text == ""
    assert chat.prompt_text(ASK) == "u:hello there\na:"
