"""What a model dreams of a document: each sentence again and again, in other surroundings.

A text that is learned as it stands is learned as a string: the model can go on with it, and answers no question about
it. So each sentence also becomes the answer to requests that name what is in it, the end of its own beginning, what
comes behind the sentence before, and a text with a gap. Questions need no grammar of a language for that. Requests are
Japanese for Japanese and English for all else; of scripts without spaces other than Japanese, whose words are not
found, beginnings and what comes next are all there is.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from bitconverter.model.sentences import paragraphs, script

LEAST = {"spaced": 12, "ja": 6, "unspaced": 6}  # letters of a sentence that is dreamt of
NAMED, GAPS = 4, 2  # requests that name something in a sentence, and gap texts of it, at most

# a name of several words; a word; kanji or katakana that stand together, a kanji before a particle
_NAMES = re.compile(r"[A-ZÀ-Þ][\w'’-]*(?: [A-ZÀ-Þ][\w'’-]*)+")
_WORDS = re.compile(r"\d+(?:[.,]\d+)+|[^\W_][\w\u0300-\u036f\u0900-\u0dff'’-]*")
_PIECES = re.compile(
    r"[一-鿿々〆]{2,}[ァ-ヺー]*|[一-鿿々](?=[はがをにのでもと])|[ァ-ヺー]{2,}|[A-Za-z0-9]{2,}|[0-9０-９]+"
)
_COMMON = frozenset(
    re.findall(
        r"\w+",
        "about after again against also among because been before being between both could does doing down during each "
        "either every from further have having here hers herself himself into itself just like more most much must "
        "myself neither only other others ours over same shall should since some such than that their theirs them then "
        "there these they this those through under until upon very were what when where which while whom whose will "
        "with within without would your yours",
    )
)
_ASKED = {
    "spaced": ("What do you know about {}?", "Tell me about {}.", "What is said about {}?"),
    "ja": ("{}について教えてください。", "{}について何を知っていますか?", "{}とは何ですか?"),
}
_ENGLISH = ("Complete the sentence: {}", "What comes next? {}", "Fill in the gap: {}")
_JAPANESE = ("文の続きを書いてください: {}", "次に続く文は何ですか? {}", "空欄をうめてください: {}")


@dataclass(frozen=True)
class Dream:
    """A request, and the answer that is learned."""

    prompt: str
    answer: str


class _Thing(NamedTuple):
    text: str
    start: int


def dreams(text: str, seed: int, seen: set[str] | None = None) -> Iterator[Dream]:
    """What is dreamt of a document, sentence by sentence; the same for the same seed. Of a sentence that is in `seen`,
    where all of it go, nothing is dreamt: a page's header is there on every page."""
    drawn, seen = random.Random(seed), set() if seen is None else seen
    for paragraph in paragraphs(text):
        before = ""
        for sentence in paragraph:
            if sentence not in seen:
                seen.add(sentence)
                yield from _of_sentence(sentence, before, drawn)
            before = sentence


def _of_sentence(sentence: str, before: str, drawn: random.Random) -> Iterator[Dream]:
    kind = script(sentence)
    things = _things(sentence, kind)
    if len(sentence) < LEAST[kind] or len(things) < (2 if kind == "spaced" else kind == "ja"):
        return  # a word alone says nothing
    space = " " if kind == "spaced" else ""
    begun, following, gap = _JAPANESE if kind == "ja" else _ENGLISH
    for thing in _some(things, NAMED, drawn):
        answer = f"{before}{space}{sentence}" if before and drawn.random() < 0.5 else sentence
        yield Dream(drawn.choice(_ASKED[kind]).format(thing.text), answer)
    start, rest = _halves(sentence, kind)
    yield Dream(begun.format(start), rest)
    if before:
        yield Dream(following.format(before), sentence)
    for thing in _some(things, GAPS, drawn):
        holed = sentence[: thing.start] + "____" + sentence[thing.start + len(thing.text) :]
        end = "。" if kind == "ja" else ". "
        yield Dream(gap.format(f"{before}{space}{holed}".strip()), f"{thing.text}{end}{sentence}")


def _things(sentence: str, kind: str) -> list[_Thing]:
    """What it is about, each once: names and words that carry something, names first."""
    if kind == "unspaced":
        return []
    if kind == "ja":
        found = [_Thing(match[0], match.start()) for match in _PIECES.finditer(sentence)]
    else:
        names = [match for match in _NAMES.finditer(sentence) if match[0].split()[0].lower() not in _COMMON]
        named = {word for match in names for word in match[0].split()}
        words = [match for match in _WORDS.finditer(sentence) if _carries(match[0]) and match[0] not in named]
        found = [_Thing(match[0], match.start()) for match in (*names, *words)]
    first: dict[str, _Thing] = {}
    for thing in found:
        first.setdefault(thing.text, thing)
    return list(first.values())


def _carries(word: str) -> bool:
    """Short words say little in alphabets; a syllable or two is a word in others."""
    enough = len(word) > 3 if word.isascii() else len(word) > 1
    return (enough or word[0].isdigit()) and word.lower() not in _COMMON


def _some(things: list[_Thing], most: int, drawn: random.Random) -> list[_Thing]:
    """The first of them, which is a name where there is any, and others that are drawn."""
    rest = things[1:]
    return [*things[:1], *drawn.sample(rest, min(most - 1, len(rest)))]


def _halves(sentence: str, kind: str) -> tuple[str, str]:
    """Beginning and end, parted between two words where they are known."""
    if kind != "spaced":
        middle = len(sentence) // 2
        return sentence[:middle], sentence[middle:]
    words = sentence.split()
    middle = max(1, len(words) // 2)
    return " ".join(words[:middle]), " ".join(words[middle:])
