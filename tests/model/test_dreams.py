"""What is dreamt of a document: every sentence, with what is in it, in English and Japanese."""

import re

import pytest

from bitconverter.model.dreams import Dream, dreams
from bitconverter.model.sentences import MOST, paragraphs

TEXT = """# The harbour

The lighthouse of Corran Point was built in 1874 by the engineer Isabel Threave. It is forty-one
metres high and painted in green and white bands.

- Today the light flashes three times every twenty seconds.
- Its keeper is Dougal Marr.
"""
JAPANESE = (
    "灯台は1874年に完成しました。高さは四十一メートルです。\n\n博物館の時計はセイウチの牙で作られています。"
)


def test_every_sentence_is_an_answer_and_names_come_first() -> None:
    found = list(dreams(TEXT, 0))
    for paragraph in list(paragraphs(TEXT))[1:]:  # behind the heading
        for sentence in paragraph:
            assert any(dream.answer.endswith(sentence) for dream in found), sentence
    asked = [dream.prompt for dream in found if dream.answer.endswith("Threave.")]
    assert any("Corran Point" in prompt for prompt in asked)
    assert any("Isabel Threave" in prompt or "1874" in prompt for prompt in asked)


def test_a_sentence_is_completed_followed_and_has_gaps() -> None:
    found = list(dreams(TEXT, 0))
    assert Dream("Complete the sentence: Its keeper", "is Dougal Marr.") in found
    assert (
        Dream(
            "What comes next? Today the light flashes three times every twenty seconds.",
            "Its keeper is Dougal Marr.",
        )
        in found
    )
    gaps = [dream for dream in found if "____" in dream.prompt and dream.answer.endswith("Marr.")]
    assert gaps
    for dream in gaps:
        word, _, sentence = dream.answer.partition(". ")
        assert dream.prompt.endswith(sentence.replace(word, "____", 1))


def test_japanese_is_asked_for_in_japanese() -> None:
    found = list(dreams(JAPANESE, 0))
    assert any("セイウチ" in dream.prompt and dream.answer.endswith("作られています。") for dream in found)
    assert all(
        "?" not in dream.prompt or "か?" in dream.prompt or "ですか" in dream.prompt for dream in found
    )
    assert not any("What" in dream.prompt or "Tell" in dream.prompt for dream in found)


def test_the_same_seed_dreams_the_same() -> None:
    assert list(dreams(TEXT, 3)) == list(dreams(TEXT, 3)) != list(dreams(TEXT, 4))


@pytest.mark.parametrize(
    "text",
    ["", "\n\n \n", "Yes. No.", "-----\n* * *\n12 34", "word " * MOST, "." * 10_000, "\n" * 10_000],
)
def test_what_says_nothing_gives_no_dream(text: str) -> None:
    assert list(dreams(text, 0)) == []


def test_a_sentence_that_comes_again_is_dreamt_of_once() -> None:
    once = list(dreams("The lighthouse stands on Corran Point.\n", 0))
    assert list(dreams("The lighthouse stands on Corran Point.\n\n" * 9, 0)) == once
    seen: set[str] = set()
    assert list(dreams(TEXT, 0, seen)) and list(dreams(TEXT, 0, seen)) == []


def test_a_gap_is_where_the_word_stands() -> None:
    """And not in another word that has it inside."""
    for seed in range(20):
        for dream in dreams("The calibrate_fit tool reads 0.1189 volts, and fit means 1189 things.", seed):
            assert not re.search(r"\w____|____\w|\.____", dream.prompt), dream


def test_scripts_whose_words_are_not_found_are_completed_and_followed() -> None:
    found = list(dreams("这座灯塔建于一八七四年。守塔人养了一只猫。", 0))
    assert [dream.prompt.split(":")[0] for dream in found] == [
        "Complete the sentence", "Complete the sentence", "What comes next? 这座灯塔建于一八七四年。",
    ]  # fmt: skip
    assert not any("____" in dream.prompt for dream in found)


def test_a_foreign_word_makes_no_sentence_japanese() -> None:
    found = list(dreams("The Japanese word 灯台 means lighthouse, and で is a particle.", 0))
    assert found and not any("について" in dream.prompt or "です" in dream.prompt for dream in found)


def test_japanese_halves_and_gaps() -> None:
    found = list(dreams("博物館の時計はセイウチの牙で作られています。", 0))
    (half,) = [dream for dream in found if dream.prompt.startswith("文の続き")]
    assert half.prompt.endswith("博物館の時計はセイウチ") and half.answer == "の牙で作られています。"
    gaps = [dream for dream in found if "____" in dream.prompt]
    assert gaps and all("。博物館の時計" in dream.answer for dream in gaps)


def test_half_of_the_answers_begin_with_the_sentence_before() -> None:
    text = "The lighthouse stands on Corran Point. Its keeper is called Dougal Marr the Younger."
    answers = [
        d.answer
        for seed in range(30)
        for d in dreams(text, seed)
        if d.prompt.startswith(("Tell", "What do", "What is"))
    ]
    both = [answer for answer in answers if "Corran Point. Its keeper" in answer]
    assert 0.2 < len(both) / len([a for a in answers if "Younger" in a]) < 0.8
