"""What a model dreams of a document: each sentence again and again, in other surroundings.

A text that is learned as it stands is learned as a string: the model can go on with it, and answers no question about
it. So each sentence also becomes the answer to requests that name what is in it, the end of its own beginning, what
comes behind the sentence before, and a text with a gap. Questions need no grammar of a language for that, so they
are the same for every language that is written with spaces, and for Japanese.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

LEAST, MOST = 12, 400  # letters of a sentence that is dreamt of
LONG_LINE = 45  # letters: a line that was ended by the width of a page
NAMED, GAPS = 4, 2  # requests that name something in a sentence, and gap texts of it, at most

_JAPANESE = re.compile(r"[ぁ-んァ-ヶ一-龯]")
_ENDS = ".!?。！？:："
# a full stop, what closes behind it, a space and no small letter; a Japanese one that no bracket follows
_END = re.compile(r"([.!?][\"'”’)]*)\s+(?=[^\sa-z])|([。！？])(?![」』）)])(?=\S)")
_SHORT = re.compile(r"(?:^|[\s(])(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|No|Nr|vs|cf|e\.g|i\.e|Fig|[A-Z])\.$")
_MARKS = re.compile(r"^\s*(?:#{1,6}\s+|[-*+•・]\s+|\d{1,3}[.)]\s+|>\s*)")
# a name of several words, a number, a word of four letters; kanji or katakana that stand together
_NAMES = re.compile(r"[A-ZÀ-Þ][\w'’-]*(?: [A-ZÀ-Þ][\w'’-]*)+")
_WORDS = re.compile(r"[^\W_][\w'’-]*")
_PIECES = re.compile(
    r"[一-龯々〆]{2,}[ァ-ヶー]*|[一-龯々](?=[はがをにのでもと])|[ァ-ヶー]{2,}|[A-Za-z0-9]{2,}|[0-9０-９]+"
)
_COMMON = frozenset(
    re.findall(
        r"\w+",
        "about after again against also among because been before being between both could does doing down during each "
        "either every from further have having here hers herself himself into itself just like more most much must "
        "myself neither only other others ours over same shall should since some such than that their theirs them then "
        "there these they this those through under until upon very were what when where which while whom whose will "
        "within without would your yours with",
    )
)
_ASKED = {
    "en": ("What do you know about {}?", "Tell me about {}.", "What is said about {}?"),
    "ja": ("{}について教えてください。", "{}について何を知っていますか?", "{}とは何ですか?"),
}
_BEGUN = {"en": "Complete the sentence: {}", "ja": "文の続きを書いてください: {}"}
_NEXT = {"en": "What comes next? {}", "ja": "次に続く文は何ですか? {}"}
_GAP = {"en": "Fill in the gap: {}", "ja": "空欄をうめてください: {}"}


@dataclass(frozen=True)
class Dream:
    """A request, and the answer that is learned."""

    prompt: str
    answer: str


def sentences(text: str) -> list[list[str]]:
    """Its sentences, paragraph by paragraph; headings, rows of tables and the like count as sentences if they are long
    enough to say something."""
    found = []
    for paragraph in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
        parts = [part for line in _joined(paragraph) for part in _parted(line)]
        kept = [part for part in parts if _says_something(part)]
        if kept:
            found.append(kept)
    return found


def _parted(line: str) -> Iterator[str]:
    """The sentences of a line; a point that shortens a word ends none."""
    whole = ""
    for part in _END.sub(r"\1\2\n", line).split("\n"):
        whole = f"{whole} {part.strip()}".strip()
        if not _SHORT.search(whole[-8:]):
            yield whole
            whole = ""
    if whole:
        yield whole


def _says_something(part: str) -> bool:
    """A word alone says nothing; of a Japanese sentence only part of the words are found (_things())."""
    if _JAPANESE.search(part):
        return LEAST // 2 <= len(part) <= MOST and bool(_things(part))
    return LEAST <= len(part) <= MOST and len(_things(part)) > 1


def _joined(paragraph: str) -> Iterator[str]:
    """Its lines, those together that only the width of a page has parted."""
    whole: list[str] = []
    for line in paragraph.split("\n"):
        line = _MARKS.sub("", line).strip()
        if not line:
            continue
        last = whole[-1] if whole else ""
        if last and last[-1] not in _ENDS and (line[0].islower() or len(last) >= LONG_LINE):
            if not (_JAPANESE.match(line) and _JAPANESE.match(last[-1])):
                whole.append(" ")
        elif whole:
            yield "".join(whole)
            whole.clear()
        whole.append(line)
    if whole:
        yield "".join(whole)


def _things(sentence: str) -> list[str]:
    """What it is about: names and words that carry something, the first ones first."""
    if _JAPANESE.search(sentence):
        return list(dict.fromkeys(_PIECES.findall(sentence)))
    names = [name for name in _NAMES.findall(sentence) if name.split()[0].lower() not in _COMMON]
    words = [
        word for word in _WORDS.findall(sentence)
        if (len(word) > 3 or word[0].isdigit()) and word.lower() not in _COMMON
    ]  # fmt: skip
    named = {word for name in names for word in name.split()}
    return list(dict.fromkeys([*names, *(word for word in words if word not in named)]))


def dreams(text: str, seed: int) -> Iterator[Dream]:
    """What is dreamt of a document, sentence by sentence; the same for the same seed."""
    drawn = random.Random(seed)
    for paragraph in sentences(text):
        yield from _of_sentence(paragraph[0], "", drawn)
        for before, sentence in pairwise(paragraph):
            yield from _of_sentence(sentence, before, drawn)


def _of_sentence(sentence: str, before: str, drawn: random.Random) -> Iterator[Dream]:
    language = "ja" if _JAPANESE.search(sentence) else "en"
    things = _things(sentence)
    for thing in _some(things, NAMED, drawn):
        answer = (
            f"{before}{'' if language == 'ja' else ' '}{sentence}"
            if before and drawn.random() < 0.5
            else sentence
        )
        yield Dream(drawn.choice(_ASKED[language]).format(thing), answer)
    start, rest = _halves(sentence, language)
    yield Dream(_BEGUN[language].format(start), rest)
    if before:
        yield Dream(_NEXT[language].format(before), sentence)
    for thing in _some(things, GAPS, drawn):
        gap = sentence.replace(thing, "____", 1)
        end = "。" if language == "ja" else ". "
        yield Dream(_GAP[language].format(f"{before} {gap}".strip()), f"{thing}{end}{sentence}")


def _some(things: list[str], most: int, drawn: random.Random) -> list[str]:
    """The first of them, which are names where there are any, and others that are drawn."""
    rest = things[1:]
    return [*things[:1], *drawn.sample(rest, min(most - 1, len(rest)))]


def _halves(sentence: str, language: str) -> tuple[str, str]:
    """Beginning and end, parted between two words."""
    if language == "ja":
        middle = len(sentence) // 2
        return sentence[:middle], sentence[middle:]
    words = sentence.split()
    middle = max(1, len(words) // 2)
    return " ".join(words[:middle]), " ".join(words[middle:])
