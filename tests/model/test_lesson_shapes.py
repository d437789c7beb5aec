"""What a row says: every known form, and every way to get one wrong."""

from typing import Any

import pytest

from bitconverter.format.row_problem import Mending, RowProblem
from bitconverter.model.lesson_shapes import Conversation, Document, shape_of


def turns(value: Any, mend: bool = False) -> list[tuple[str, str, bool]]:
    shape = shape_of(value, Mending(mend))
    assert isinstance(shape, Conversation)
    return [(turn.role, turn.text, turn.learned) for turn in shape.turns]


QA = [("user", "q", False), ("assistant", "a", True)]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "answer": "a"},
        {"Prompt ": "q", "COMPLETION": "a", "id": 7},
        {"question": "q", "answer": "a"},
        {"input": "q", "output": "a"},
        {"質問": "q", "回答": "a"},
        {"instruction": "q", "input": "", "output": "a"},
        {"instruction": "q", "output": "a", "input": None},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        {"conversations": [{"from": "human", "text": "q"}, {"speaker": "gpt", "text": "a"}]},
        {"conversations": [{"author": "human", "content": "q"}, {"Role": "Model", "Content": "a"}]},
        {"instruction": "q", "context": "", "response": "a", "category": "x"},
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "q"}]},
                {"role": "Assistant", "content": "a"},
            ]
        },
    ],
)
def test_one_question_and_one_answer(row: dict[str, Any]) -> None:
    assert turns(row) == QA


def test_alpaca_with_input_history_and_system() -> None:
    row = {"system": "s", "instruction": "q", "input": "x", "output": "a", "history": [["p", "r"]]}
    assert turns(row) == [
        ("system", "s", False), ("user", "p", False), ("assistant", "r", True),
        ("user", "q\n\nx", False), ("assistant", "a", True),
    ]  # fmt: skip


def test_a_context_is_a_part_of_the_question() -> None:
    for context in ("context", "input"):
        assert turns({"instruction": "q", context: "x", "response": "a"})[0] == ("user", "q\n\nx", False)
    assert turns({"context": "x", "question": "q", "answer": "a"})[0] == ("user", "x\n\nq", False)


def test_a_weight_of_zero_is_not_learned() -> None:
    messages = [
        {"role": "user", "content": "q"}, {"role": "assistant", "content": "no", "weight": 0},
        {"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "weight": 1},
    ]  # fmt: skip
    assert [learned for _, _, learned in turns({"messages": messages})] == [False, False, False, True]
    with pytest.raises(RowProblem, match="no-answer"):
        shape_of({"messages": messages[:2]}, Mending(True))


def test_texts() -> None:
    for value in ("x", {"text": "x"}, {"本文": "x"}):
        shape = shape_of(value, Mending(False))
        assert isinstance(shape, Document) and shape.text == "x"


def say(role: str, text: Any = "x") -> dict[str, Any]:
    return {"role": role, "content": text}


@pytest.mark.parametrize(
    "row, code, field",
    [
        ({}, "unknown-fields", ""),
        ({"foo": 1}, "unknown-fields", ""),
        ({"prompt": "q"}, "field-missing", "answer"),
        ({"answer": "q"}, "field-missing", "prompt"),
        ({"instruction": "q"}, "field-missing", "output"),
        ({"prompt": "q", "answer": None}, "field-missing", "answer"),
        ({"prompt": "q", "answer": " \n"}, "field-empty", "answer"),
        ({"prompt": "", "answer": "a"}, "field-empty", "prompt"),
        ({"prompt": ["q"], "answer": "a"}, "field-kind", "prompt"),
        ({"text": {}}, "field-kind", "text"),
        ({"messages": []}, "field-empty", "messages"),
        ({"messages": [say("user")]}, "no-answer", "messages"),
        ({"conversations": [{"from": "gpt", "value": "a"}]}, "no-question", "conversations"),
        ({"messages": [say("system"), say("assistant"), say("assistant")]}, "no-question", "messages"),
        ({"messages": [say("system")]}, "no-answer", "messages"),
        ({"messages": ["x"]}, "field-kind", "messages[0]"),
        ({"messages": [{"content": "x"}]}, "field-missing", "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "field-missing", "messages[0].content"),
        ({"messages": [say("king")]}, "role-unknown", "messages[0].role"),
        ({"messages": [say("user"), say("tool")]}, "role-tool", "messages[1]"),
        (
            {"messages": [say("user"), {**say("assistant"), "tool_calls": [1]}]},
            "role-tool",
            "messages[1]",
        ),
        ({"messages": [say("user", [{"type": "image_url"}])]}, "field-kind", "messages[0].content[0]"),
        ({"conversations": [{"from": "human"}]}, "field-missing", "conversations[0].value"),
        ({"context": 4, "question": "q", "answer": "a"}, "field-number", "context"),
        ({"conversations": [{"from": "human", "value": 3.5}]}, "field-number", "conversations[0].value"),
        ({"instruction": "q", "output": "a", "history": [["p"]]}, "field-kind", "history[0]"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(row: dict[str, Any], code: str, field: str) -> None:
    with pytest.raises(RowProblem) as raised:
        shape_of(row, Mending(False))
    assert (raised.value.code, raised.value.field) == (code, field)
    if not raised.value.mends:
        with pytest.raises(RowProblem) as again:  # asking for repairs finds no other reason
            shape_of(row, Mending(True))
        assert again.value.code == code
    assert raised.value.reason() and raised.value.fix()


@pytest.mark.parametrize(
    "row, code, result",
    [
        ({"prompt": "q", "answer": 3}, "field-number", [QA[0], ("assistant", "3", True)]),
        ({"prompt": "q", "answer": True}, "field-number", [QA[0], ("assistant", "true", True)]),
        ({"prompt": "q", "answer": "a\ud800"}, "half-character", [QA[0], ("assistant", "a\ufffd", True)]),
        ({"messages": [say("assistant"), say("user", "q"), say("assistant", "a")]}, "begins-with-answer", QA),
        ({"messages": [say("user", "q"), say("assistant", "a"), say("user")]}, "ends-with-question", QA),
    ],
)
def test_what_can_be_put_right_is_when_asked(row: dict[str, Any], code: str, result: list[Any]) -> None:
    with pytest.raises(RowProblem) as raised:
        shape_of(row, Mending(False))
    assert raised.value.code == code and raised.value.mends
    assert turns(row, mend=True) == result
