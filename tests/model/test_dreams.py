"""What is dreamt of a document: every sentence, with what is in it, in English and Japanese."""

import pytest

from bitconverter.model.dreams import MOST, Dream, dreams, sentences

TEXT = """# The harbour

The lighthouse of Corran Point was built in 1874 by the engineer Isabel Threave. It is forty-one
metres high and painted in green and white bands.

- Today the light flashes three times every twenty seconds.
- Its keeper is Dougal Marr.
"""
JAPANESE = (
    "灯台は1874年に完成しました。高さは四十一メートルです。\n\n博物館の時計はセイウチの牙で作られています。"
)


def test_lines_that_a_page_has_ended_are_one_sentence_and_headings_say_nothing() -> None:
    assert sentences(TEXT) == [
        [
            "The lighthouse of Corran Point was built in 1874 by the engineer Isabel Threave.",
            "It is forty-one metres high and painted in green and white bands.",
        ],
        ["Today the light flashes three times every twenty seconds.", "Its keeper is Dougal Marr."],
    ]


def test_a_point_that_shortens_a_word_ends_no_sentence() -> None:
    text = "The barn belongs to Dr. Halim Osei and J. R. Penn, e.g. on Sundays. It holds two thousand books."
    assert sentences(text) == [
        [
            "The barn belongs to Dr. Halim Osei and J. R. Penn, e.g. on Sundays.",
            "It holds two thousand books.",
        ]
    ]


def test_japanese_sentences_end_without_a_space() -> None:
    assert sentences(JAPANESE) == [
        ["灯台は1874年に完成しました。", "高さは四十一メートルです。"],
        ["博物館の時計はセイウチの牙で作られています。"],
    ]


def test_every_sentence_is_an_answer_and_names_come_first() -> None:
    found = list(dreams(TEXT, 0))
    for paragraph in sentences(TEXT):
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


def test_what_is_said_in_brackets_is_no_sentence_of_its_own() -> None:
    text = "「灯台は古いです。」と灯台守は言いました。海は静かです。"
    assert sentences(text) == [["「灯台は古いです。」と灯台守は言いました。", "海は静かです。"]]
    text = '"The lamp of Corran is old." The keeper shows it (on Sundays only.) to few. It burns approx. nine hours.'
    assert sentences(text) == [
        [
            '"The lamp of Corran is old."',
            "The keeper shows it (on Sundays only.) to few.",
            "It burns approx. nine hours.",
        ]
    ]


def test_the_same_seed_dreams_the_same() -> None:
    assert list(dreams(TEXT, 3)) == list(dreams(TEXT, 3)) != list(dreams(TEXT, 4))


@pytest.mark.parametrize(
    "text",
    ["", "\n\n \n", "Yes. No.", "-----\n* * *\n12 34", "word " * MOST, "." * 10_000, "\n" * 10_000],
)
def test_what_says_nothing_gives_no_dream(text: str) -> None:
    assert list(dreams(text, 0)) == []


def test_a_long_text_is_read_in_a_breath() -> None:
    """A hundred thousand words without an end, and as many lines: nothing is looked at again and again."""
    assert list(dreams("lighthouse " * 100_000, 0)) == []
    assert len(list(dreams("A lighthouse stands there\n" * 20_000, 0))) > 20_000
