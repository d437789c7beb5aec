"""The mask the right way round, with every golden template: answers and their ends are learned, and nothing else."""

import json
from itertools import groupby
from pathlib import Path

import pytest
import tokenizers
from conftest import GOLDEN
from model_folders import write_byte_tokenizer

from bitconverter.format.pack_file import EXAMPLE, TEXT
from bitconverter.format.row_problem import Mending, RowProblem
from bitconverter.model.calibration_text import TODAY
from bitconverter.model.chat_template import ChatTemplate
from bitconverter.model.lesson_encoder import Encoded, LessonEncoder
from bitconverter.model.lesson_preview import preview
from bitconverter.model.lesson_shapes import Document, shape_of
from bitconverter.model.tokenizer import Tokenizer

TEMPLATES = GOLDEN / "templates"
TOKENS = json.loads((TEMPLATES / "special_tokens.json").read_text(encoding="utf-8"))
# what ends a turn where it is not eos_token: the model's generation_config names it
TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<|end|>", "<|END_OF_TURN_TOKEN|>", "<|endoftext|>")
ROW = {
    "messages": [
        {"role": "user", "content": "What is two?"},
        {"role": "assistant", "content": "A number."},
        {"role": "user", "content": "日本語で?"},
        {"role": "assistant", "content": "数です。"},
    ]
}
ANSWERS = ["A number.", "数です。"]


def make_tokenizer(folder: Path, specials: dict[str, str], ends: tuple[str, ...] = ()) -> Tokenizer:
    folder.mkdir(exist_ok=True)
    write_byte_tokenizer(folder)
    table = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    table.add_special_tokens(sorted({*specials.values(), *ends}))
    table.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(specials), encoding="utf-8")
    ids = [table.token_to_id(end) for end in ends]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ids}), encoding="utf-8")
    return Tokenizer(folder)


def encoder(folder: Path, name: str, window: int = 4096) -> LessonEncoder:
    source = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    ends = tuple(end for end in TURN_ENDS if end in source)
    tokenizer = make_tokenizer(folder, TOKENS[name], ends)
    return LessonEncoder(tokenizer, ChatTemplate(source, TOKENS[name]), window)


def runs(tokenizer: Tokenizer, encoded: Encoded, learned: bool) -> list[str]:
    """The texts of the learned (or the other) runs of tokens."""
    pairs = zip(encoded.ids, encoded.learned, strict=True)
    return [
        tokenizer.decode([i for i, _ in run], skip_special_tokens=False)
        for is_learned, run in groupby(pairs, key=lambda pair: pair[1])
        if is_learned == learned
    ]


@pytest.mark.parametrize("name", sorted(TOKENS))
def test_the_answers_and_their_ends_are_learned_and_nothing_else(tmp_path: Path, name: str) -> None:
    maker = encoder(tmp_path, name)
    tokenizer = maker.tokenizer
    encoded = maker.encode(shape_of(ROW, Mending(False)))
    assert encoded.kind == EXAMPLE and not encoded.learned[0]
    learned = runs(tokenizer, encoded, True)
    ends = [tokenizer.token(i) or "" for i in tokenizer.eos_ids]
    bare: list[str] = []
    for text in learned:
        text = text.replace("<think>\n\n</think>", "").replace("</think>", "")
        for end in ends:
            text = text.replace(end, "")
        bare.append(text.strip())
    # these ask differently from how they write the past (an open thought, a line end more): only the last answer
    # stands behind what the model is asked with
    assert bare == (ANSWERS[1:] if name in ("deepseek-r1-distill", "vicuna") else ANSWERS)
    assert any(learned[-1].rstrip().endswith(end) for end in ends)
    others = "".join(runs(tokenizer, encoded, False))
    assert "What is two?" in others and "日本語で?" in others
    assert not any(answer in others for answer in bare)
    shown = preview(tokenizer, encoded, "a", 1)
    assert [text for text, is_learned in shown.pieces if is_learned] == learned
    assert "".join(text for text, _ in shown.pieces) == tokenizer.decode(
        encoded.ids, skip_special_tokens=False
    )


@pytest.mark.parametrize("name", sorted(TOKENS))
def test_what_stands_before_the_answer_is_what_a_chat_sends(tmp_path: Path, name: str) -> None:
    maker = encoder(tmp_path, name)
    row = {"prompt": "Hello there.", "answer": "Good day."}
    encoded = maker.encode(shape_of(row, Mending(False)))
    asked = [{"role": "user", "content": "Hello there."}]
    assert maker.template is not None
    sent = maker.tokenizer.encode(maker.template.render(asked, now=TODAY), add_special_tokens=False)
    first = encoded.learned.index(True)
    assert encoded.ids[:first] == sent[:first] and first in (len(sent), len(sent) - 1)


BYTES = {"bos_token": "<s>", "eos_token": "</s>"}


def test_without_a_template_prompt_and_answer_are_joined(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path, BYTES)
    maker = LessonEncoder(tokenizer, None, 30)
    encoded = maker.encode(shape_of({"prompt": "ab", "answer": "c"}, Mending(False)))
    assert encoded.learned == [False, False, True, True] and encoded.ids[-1] == tokenizer.end_id
    assert tokenizer.decode(encoded.ids[:3]) == "abc"
    with pytest.raises(RowProblem, match="needs-template"):
        maker.encode(shape_of(ROW, Mending(False)))
    # what looks like a special token is letters here
    spelled = maker.encode(shape_of({"prompt": "</s>", "answer": "c"}, Mending(False)))
    assert spelled.ids.count(tokenizer.end_id or -1) == 1


def test_a_text_is_learned_with_its_end(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path, BYTES)
    encoded = LessonEncoder(tokenizer, None, 4).encode(Document("a long text </s>"))
    assert encoded.kind == TEXT and encoded.learned == [False] + [True] * (len(encoded.ids) - 1)
    assert encoded.ids[-1] == tokenizer.end_id and encoded.ids.count(tokenizer.end_id or -1) == 1


def test_the_begin_token_of_the_tokenizer_comes_first(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path, BYTES)
    table = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    table.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", table.token_to_id("<s>"))]
    )
    table.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer(tmp_path)
    maker = LessonEncoder(tokenizer, None, 30)
    for row in (Document("ab"), shape_of({"prompt": "a", "answer": "b"}, Mending(False))):
        assert maker.encode(row).ids[0] == tokenizer.bos_id


def test_a_template_that_ends_nothing_gets_an_end(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path, BYTES)
    template = ChatTemplate("{% for m in messages %}{{ m.role[0] }}:{{ m.content }}\n{% endfor %}"
                            "{% if add_generation_prompt %}a:{% endif %}")  # fmt: skip
    encoded = LessonEncoder(tokenizer, template, 300).encode(shape_of(ROW, Mending(False)))
    assert runs(tokenizer, encoded, True) == ["A number.", "数です。</s>"]


def test_an_answer_that_the_template_would_change_is_learned_as_the_model_says_it(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path, BYTES)
    template = ChatTemplate("{% for m in messages %}[{{ m.content | upper }}]{% endfor %}")
    row = shape_of({"prompt": "q", "answer": "abc"}, Mending(False))
    encoded = LessonEncoder(tokenizer, template, 300).encode(row)
    assert runs(tokenizer, encoded, False) == ["[Q]"] and runs(tokenizer, encoded, True) == ["abc</s>"]


def test_a_system_prompt_is_set_before_conversations_that_have_none(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path, BYTES)
    template = ChatTemplate("{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
                            "{% if add_generation_prompt %}[assistant]{% endif %}")  # fmt: skip
    maker = LessonEncoder(tokenizer, template, 300, "Be kind.")
    row = {"prompt": "q", "answer": "a"}
    assert tokenizer.decode(maker.encode(shape_of(row, Mending(False))).ids).startswith(
        "[system]Be kind.[user]q"
    )
    own = maker.encode(shape_of({"system": "No.", **row}, Mending(False)))
    assert tokenizer.decode(own.ids).startswith("[system]No.[user]q")


@pytest.mark.parametrize(
    "template, row, code",
    [
        ("{{ raise_exception('no') }}", {"prompt": "q", "answer": "a"}, "template-refused"),
        ("{{ messages[-1].content }}", {"prompt": "q", "answer": "a</s>b"}, "special-token"),
        (
            "{% for m in messages %}{{ m.content }}{% endfor %}",
            {"prompt": "q" * 99, "answer": "a"},
            "too-long",
        ),
    ],
)
def test_what_cannot_be_encoded_is_a_problem_of_the_row(
    tmp_path: Path, template: str, row: dict[str, str], code: str
) -> None:
    maker = LessonEncoder(make_tokenizer(tmp_path, BYTES), ChatTemplate(template), 40)
    with pytest.raises(RowProblem) as raised:
        maker.encode(shape_of(row, Mending(False)))
    assert raised.value.code == code and raised.value.reason() and raised.value.fix()


def test_a_character_of_several_tokens_is_shown_once(tmp_path: Path) -> None:
    """A text's first token is not learned, and may be the beginning of a character."""
    tokenizer = make_tokenizer(tmp_path, {})
    ids = tokenizer.encode("東京\ufffd。", add_special_tokens=False)
    assert len(ids) > 4
    shown = preview(tokenizer, Encoded(ids, [False] + [True] * (len(ids) - 1), TEXT), "a", 1)
    assert shown.pieces == (("", False), ("東京\ufffd。", True))
    inside = preview(tokenizer, Encoded(ids, [True] * 4 + [False] * (len(ids) - 4), TEXT), "a", 1)
    assert inside.pieces == (("東", True), ("京\ufffd。", False))
