"""The chat templates that can be chosen: what they write, and what ends an answer in them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tokenizers
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing

from bitconverter.cli.arguments import TEMPLATES
from bitconverter.format.errors import UserError
from bitconverter.model.chat_template import ChatTemplate
from bitconverter.model.known_templates import KNOWN, OWN, ending_of, has_own, suggested, template_for
from bitconverter.model.tokenizer import Tokenizer

GOLDEN = Path(__file__).parents[1] / "golden" / "templates"


def read(name: str) -> dict:
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


EXPECTED, DIALOGUES, TOKENS = read("expected.json"), read("dialogues.json"), read("special_tokens.json")
# ours -> the same format as transformers renders it (tests/golden/templates), and the dialogues in which that one has
# a rule of its own: it refuses what ours writes all the same, or says by itself what nobody said
SAME = {
    "chatml": ("chatml", set()),
    "llama-3": ("llama-3", set()),
    "llama-2": ("llama-2-chat", {"two questions in a row", "a system message late"}),
    "mistral": ("mistral-v0.3", {"two questions in a row", "a system message late"}),
    "zephyr": ("zephyr", set()),
    "alpaca": ("alpaca", {"a system message late"}),
}
GEMMA = (
    "<bos><start_of_turn>user\nYou are a pirate.\n\nHello!<end_of_turn>\n<start_of_turn>model\nArr.<end_of_turn>\n"
    "<start_of_turn>user\nThanks.<end_of_turn>\n<start_of_turn>model\n"
)
PLAIN = "<s>You are a pirate.\n\nUser: Hello!\nAssistant: Arr.\nUser: Thanks.\nAssistant:"
TALK = [
    {"role": "system", "content": "You are a pirate."}, {"role": "user", "content": "Hello!"},
    {"role": "assistant", "content": "Arr."}, {"role": "user", "content": "Thanks."},
]  # fmt: skip
Made = Callable[..., Tokenizer]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A tokenizer with these special tokens and values of tokenizer_config.json; `begins`: it puts its BOS before a
    text."""

    def make(*special: str, begins: bool = False, **config: str) -> Tokenizer:
        letters = {letter: number for number, letter in enumerate(sorted(ByteLevel.alphabet()))}
        raw = tokenizers.Tokenizer(BPE(vocab=letters, merges=[]))
        raw.pre_tokenizer = ByteLevel(add_prefix_space=False)
        raw.add_special_tokens(list(special))
        if begins:
            bos = config["bos_token"]
            raw.post_processor = TemplateProcessing(
                single=[bos, "$A"], special_tokens=[(bos, raw.token_to_id(bos))]
            )
        raw.save(str(tmp_path / "tokenizer.json"))
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
        return Tokenizer(tmp_path)

    return make


def with_tokens(made: Made, tokens: dict[str, str]) -> Tokenizer:
    return made(*dict.fromkeys(tokens.values()), begins="bos_token" in tokens, **tokens)


@pytest.mark.parametrize("dialogue", DIALOGUES)
@pytest.mark.parametrize("name", SAME)
def test_a_known_format_is_what_its_publisher_writes(made: Made, name: str, dialogue: str) -> None:
    other, apart = SAME[name]
    asked, expected = DIALOGUES[dialogue], EXPECTED[other][dialogue]
    template = template_for(name, with_tokens(made, TOKENS[other]))
    text = template.render(asked["messages"], add_generation_prompt=asked.get("add_generation_prompt", True))
    if name == "alpaca":  # the other one leaves that to the tokenizer
        text = text.removeprefix("<s>")
    if dialogue not in apart:
        assert text == expected["text"]
    else:
        for message in asked["messages"]:
            assert message["content"].strip() in text


def test_gemma(made: Made) -> None:
    gemma = made("<bos>", "<eos>", begins=True, bos_token="<bos>", eos_token="<eos>")
    assert template_for("gemma", gemma).render(TALK) == GEMMA


def test_names_before_the_lines(made: Made) -> None:
    tokenizer = made("<s>", "</s>", begins=True, bos_token="<s>", eos_token="</s>")
    assert template_for("plain", tokenizer).render(TALK) == PLAIN


@pytest.mark.parametrize("name", KNOWN)
def test_a_begin_token_that_the_tokenizer_itself_does_not_write_is_not_written(made: Made, name: str) -> None:
    tokenizer = made("<|im_start|>", "</s>", bos_token="<|im_start|>", eos_token="</s>")
    text = template_for(name, tokenizer).render(TALK)
    assert text.startswith("<|im_start|>system\n" if name == "chatml" else ("<", "[", "You"))
    assert "<|im_start|><" not in text and text.count("<|im_start|>") == (5 if name == "chatml" else 0)


@pytest.mark.parametrize("name", KNOWN)
def test_a_tokenizer_without_any_special_token_will_do(made: Made, name: str) -> None:
    assert "Thanks." in template_for(name, made()).render(TALK)


def test_the_command_line_knows_the_same_names() -> None:
    assert tuple(KNOWN) == TEMPLATES


# ---- what ends an answer


@pytest.mark.parametrize(
    ("name", "end"), [("chatml", "<|im_end|>"), ("llama-3", "<|eot_id|>"), ("gemma", "<end_of_turn>")]
)
def test_the_mark_that_the_format_ends_with_ends_an_answer(made: Made, name: str, end: str) -> None:
    tokenizer = made("<|endoftext|>", *KNOWN[name], eos_token="<|endoftext|>")
    ending = ending_of(template_for(name, tokenizer), tokenizer)
    assert ending.ids == {tokenizer.id_of(end)} and tokenizer.eos_ids.isdisjoint(ending.ids)
    assert (ending.text, ending.missing) == ("", "")


@pytest.mark.parametrize(
    ("name", "end"), [("chatml", "<|im_end|>"), ("llama-3", "<|eot_id|>"), ("gemma", "<end_of_turn>")]
)
def test_a_mark_that_is_no_token_is_said_and_its_letters_end_an_answer(
    made: Made, name: str, end: str
) -> None:
    tokenizer = made("</s>", eos_token="</s>")
    ending = ending_of(template_for(name, tokenizer), tokenizer)
    assert (ending.ids, ending.missing) == (frozenset(), end)
    assert ending.text.startswith(end)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("llama-2", ""), ("mistral", ""), ("zephyr", "\n<|user|>"), ("alpaca", "\n### Instruction:"),
        ("plain", "\nUser:"),
    ],
)  # fmt: skip
def test_the_models_own_end_token_and_the_words_that_come_next_end_an_answer(
    made: Made, name: str, text: str
) -> None:
    tokenizer = made("</s>", eos_token="</s>")
    ending = ending_of(template_for(name, tokenizer), tokenizer)
    assert ending.ids == (frozenset() if name == "plain" else {tokenizer.id_of("</s>")})
    assert (ending.text, ending.missing) == (text, "")


@pytest.mark.parametrize("source", ["{{ raise_exception('never') }}", "", "{{ messages[0].content }}"])
def test_a_template_that_says_nothing_of_an_answer_ends_none(made: Made, source: str) -> None:
    ending = ending_of(ChatTemplate(source), made("</s>"))
    assert (ending.ids, ending.text, ending.missing) == (frozenset(), "", "")


# ---- which one


def test_the_own_one_is_the_folders_and_without_one_the_fitting_format_is_suggested(made: Made) -> None:
    tokenizer = made(*KNOWN["llama-3"])
    with pytest.raises(UserError, match=r"llama-3 are in its vocabulary") as caught:
        template_for(OWN, tokenizer)
    assert (caught.value.code, caught.value.fields["suggested"]) == ("no-chat-template", "llama-3")
    assert not has_own(tokenizer)
    (tokenizer.folder / "chat_template.jinja").write_text("own {{ messages[0].content }}", encoding="utf-8")
    assert template_for(OWN, tokenizer).render(TALK) == "own You are a pirate." and has_own(tokenizer)


@pytest.mark.parametrize("name", [name for name, marks in KNOWN.items() if marks])
def test_what_is_suggested_has_its_marks_in_the_vocabulary(made: Made, name: str) -> None:
    assert suggested(made(*KNOWN[name])) == name
    assert suggested(made(*KNOWN[name][1:])) == ""


def test_a_file_is_read_with_its_own_variables(made: Made, tmp_path: Path) -> None:
    tokenizer = made("<s>", "</s>", bos_token="<s>", eos_token="</s>")
    path = tmp_path / "会話 🙂.jinja"
    path.write_bytes("\ufeff{{ bos_token }}{{ messages[0].content }}".encode())
    assert template_for(str(path), tokenizer).render(TALK) == "<s>You are a pirate."


@pytest.mark.parametrize(
    ("content", "code"),
    [(None, "template-unknown"), (b"\xff\xfe{", "template-unreadable"), (b" \n", "template-unreadable"),
     (b"{% if", "template-broken")],
)  # fmt: skip
def test_a_file_that_is_none_is_named(made: Made, tmp_path: Path, content: bytes | None, code: str) -> None:
    path = tmp_path / "x.jinja"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        template_for(str(path), made())
    assert caught.value.code == code and str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("{{ messages[0].foo.bar }}", "template-broken"),
        ("{{ raise_exception('no') }}", "chat-template-refused"),
    ],
)
def test_what_the_users_own_file_does_is_not_blamed_on_the_model(
    made: Made, tmp_path: Path, content: str, code: str
) -> None:
    path = tmp_path / "x.jinja"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        template_for(str(path), made()).render(TALK)
    assert caught.value.code == code
    assert str(path) in str(caught.value) and "model" not in str(caught.value)
