"""A document as sentences: what ends one, what only looks so, and what is no sentence."""

import time

import pytest

from bitconverter.model.sentences import MOST, paragraphs, script

TEXT = """# The harbour

The lighthouse of Corran Point was built in 1874 by the engineer Isabel Threave. It is forty-one
metres high and painted in green and white bands.

- Today the light flashes three times every twenty seconds.
- Its keeper is Dougal Marr.
"""


def test_lines_that_a_page_has_ended_are_one_sentence() -> None:
    assert list(paragraphs(TEXT)) == [
        ["The harbour"],
        [
            "The lighthouse of Corran Point was built in 1874 by the engineer Isabel Threave.",
            "It is forty-one metres high and painted in green and white bands.",
        ],
        ["Today the light flashes three times every twenty seconds.", "Its keeper is Dougal Marr."],
    ]
    wrapped = "The keeper of the lighthouse was born on\nCorran Point, and lives there."
    assert list(paragraphs(wrapped)) == [
        ["The keeper of the lighthouse was born on", "Corran Point, and lives there."]
    ]
    long = wrapped.replace("was born on", "was born many years ago on")
    assert list(paragraphs(long)) == [[long.replace("\n", " ")]]
    assert list(
        paragraphs(
            "灯台は一八七四年に建てられ、それから今日まで百五十年のあいだ休むことなくこの海を照らして\nいます。"
        )
    ) == [
        ["灯台は一八七四年に建てられ、それから今日まで百五十年のあいだ休むことなくこの海を照らしています。"]
    ]


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("It was lit in May by Dr. Osei and J. R. Penn, e.g. on Sundays. It burns.",
         ["It was lit in May by Dr. Osei and J. R. Penn, e.g. on Sundays.", "It burns."]),
        ("Gen. Grant of the U.S. Navy left in Jan. 1990 for Paris. He came back.",
         ["Gen. Grant of the U.S. Navy left in Jan. 1990 for Paris.", "He came back."]),
        ("Das Haus wurde z. B. am 3. Mai 1874 gebaut. Es steht noch.",
         ["Das Haus wurde z. B. am 3. Mai 1874 gebaut.", "Es steht noch."]),
        ('"The lamp is old." The keeper shows it (on Sundays only.) to few. It burns approx. nine hours.',
         ['"The lamp is old."', "The keeper shows it (on Sundays only.) to few.", "It burns approx. nine hours."]),
        ("It has 3.5 metres! Really? Yes.", ["It has 3.5 metres!", "Really?", "Yes."]),
        ("灯台は1874年に完成しました。高さは四十一メートルです。",
         ["灯台は1874年に完成しました。", "高さは四十一メートルです。"]),
        ("彼は「灯台は古い。もう動かない。」と言った。海は静かだ。",
         ["彼は「灯台は古い。もう動かない。」と言った。", "海は静かだ。"]),
        ("東京タワー（高さ333メートル。1958年完成）は港区にある。",
         ["東京タワー（高さ333メートル。1958年完成）は港区にある。"]),
        ("灯台は古い｡海は静かだ．", ["灯台は古い｡", "海は静かだ．"]),
        ("这座灯塔很古老。海很平静。", ["这座灯塔很古老。", "海很平静。"]),
        ("यह दीपस्तंभ पुराना है। समुद्र शांत है।", ["यह दीपस्तंभ पुराना है।", "समुद्र शांत है।"]),
    ],
)  # fmt: skip
def test_what_ends_a_sentence(text: str, wanted: list[str]) -> None:
    assert list(paragraphs(text)) == [wanted]


def test_a_number_at_the_beginning_of_a_line_may_belong_to_the_one_before() -> None:
    assert list(paragraphs("It was first lit on the evening of May\n12. The keeper was young.")) == [
        ["It was first lit on the evening of May", "12.", "The keeper was young."]
    ]
    assert list(paragraphs("1. Light the lamp.\n2. Wait for ships.")) == [
        ["Light the lamp.", "Wait for ships."]
    ]


def test_items_of_a_list_are_apart_and_divided_words_whole() -> None:
    assert list(paragraphs("- apples and pears\n- bananas and grapes")) == [
        ["apples and pears", "bananas and grapes"]
    ]
    assert list(paragraphs("The keeper of the old light-\nhouse is young.")) == [
        ["The keeper of the old lighthouse is young."]
    ]


def test_code_and_tables_are_no_sentences() -> None:
    text = "Before it.\n```python\ndef lighthouse():\n    return 1\n```\nAfter it.\n\n| Name | Height |\n|---|---|\n"
    assert list(paragraphs(text)) == [["Before it."], ["After it."]]


def test_letters_with_marks_apart_are_one_letter() -> None:
    assert list(paragraphs("Mu\u0308nchen liegt an der Isar.")) == [["München liegt an der Isar."]]


def test_a_text_without_capitals_is_parted_where_it_is_too_long() -> None:
    sentence = "the lamp burned whale oil for many years."
    assert list(paragraphs(" ".join([sentence] * 20))) == [[sentence] * 20]
    assert list(paragraphs("x" * (MOST + 1))) == []


def test_the_script_is_that_of_most_letters() -> None:
    assert script("The Japanese word 灯台 means lighthouse, and で is a particle.") == "spaced"
    assert script("Debian システムはユーザー専用グループを使います。") == "ja"
    assert script("这座灯塔很古老。") == script("ประภาคารเก่ามาก") == "unspaced"


@pytest.mark.parametrize(
    "piece",
    [
        "A. ",
        "a. ",
        "。",
        "「",
        "。「",
        ".",
        '."',
        "A\n",
        " ",
        "\n \n",
        "- ",
        "1) ",
        "Dr. ",
        "```\n",
        "x" * 39 + "\n",
    ],
)
def test_nothing_is_looked_at_again_and_again(piece: str) -> None:
    """Four times the text may take some more than four times the time, and never sixteen."""

    def seconds(count: int) -> float:
        text = piece * (count // len(piece))
        best = 9.0
        for _ in range(3):
            began = time.process_time()
            for _ in paragraphs(text):
                pass
            best = min(best, time.process_time() - began)
        return best

    assert seconds(400_000) < 12 * seconds(100_000) + 0.2
