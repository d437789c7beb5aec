"""Rows to token ids and a mask of what is learned: the answers, and the token that ends each of them.

A conversation goes through the model's chat template as a whole, as it does in a chat. What the template writes around
the turns, and the questions, are read but not learned. Where an answer stands in the text is found by rendering
the turns before it: what the whole text begins with is what the model will have seen when it has to answer.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bitconverter.format.errors import UserError
from bitconverter.format.pack_file import EXAMPLE, TEXT
from bitconverter.format.row_problem import RowProblem
from bitconverter.model.calibration_text import TODAY
from bitconverter.model.chat_template import ChatTemplate
from bitconverter.model.lesson_shapes import Conversation, Document, Turn
from bitconverter.model.tokenizer import Tokenizer

# What a template may put between the prompt and an answer: nothing but white space and an empty thought.
_BEFORE = re.compile(r"\s*(<think>\s*</think>)?\s*")


@dataclass(frozen=True)
class Encoded:
    """ids and, for each, whether it is learned; kind TEXT or EXAMPLE."""

    ids: list[int]
    learned: list[bool]
    kind: int


class LessonEncoder:
    """`window`: an example may have one token more; `limit`: no window can be longer. Without a template a conversation
    must be one prompt and one answer, which are put behind each other as they are."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: ChatTemplate | None,
        window: int,
        system: str = "",
        limit: int | None = None,
    ) -> None:
        self.tokenizer, self.template, self.window, self.system = tokenizer, template, window, system
        self._limit = limit
        self._begin = tokenizer.begin_ids()
        self._end = [] if tokenizer.end_id is None else [tokenizer.end_id]
        ends = [tokenizer.token(i) for i in sorted(tokenizer.eos_ids)]
        self._ends = [text for text in ends if text]

    def encode(self, row: Document | Conversation) -> Encoded:
        """Raises RowProblem."""
        if isinstance(row, Document):
            return self._document(row)
        encoded = self._plain(row) if self.template is None else self._rendered(row, self.template)
        if self._limit is not None and len(encoded.ids) > self._limit + 1:
            raise RowProblem("too-long-for-model", tokens=len(encoded.ids), limit=self._limit)
        if len(encoded.ids) > self.window + 1:
            raise RowProblem(
                "too-long", tokens=len(encoded.ids), most=self.window + 1, needed=len(encoded.ids) - 1
            )
        return encoded

    def _document(self, row: Document) -> Encoded:
        inside = self.tokenizer.encode_plainly(row.text)
        if not inside:
            raise RowProblem("no-tokens", row.field)
        ids = [*self._begin, *inside, *self._end]
        return Encoded(ids, [False, *[True] * (len(ids) - 1)], TEXT)

    def _plain(self, row: Conversation) -> Encoded:
        turns = row.turns
        if [turn.role for turn in turns] != ["user", "assistant"]:
            raise RowProblem("needs-template")
        before = [*self._begin, *self.tokenizer.encode_plainly(turns[0].text)]
        answer = self.tokenizer.encode_plainly(turns[1].text)
        for turn, ids in zip(turns, (before, answer), strict=True):
            if not ids:
                raise RowProblem("no-tokens", turn.field)
        after = [*answer, *self._end]
        return Encoded(before + after, [False] * len(before) + [True] * len(after), EXAMPLE)

    def _rendered(self, row: Conversation, template: ChatTemplate) -> Encoded:
        turns = row.turns[: 1 + max(i for i, turn in enumerate(row.turns) if turn.learned)]
        for turn in turns:
            self._check_specials(turn.text, turn.field)
        if self.system and turns[0].role != "system":
            turns = (Turn("system", self.system, "system"), *turns)
        whole = _render(template, turns, answer_next=False)
        last = self._answer(template, whole, turns, len(turns) - 1)
        if last is None:
            whole, last = self._as_asked(template, whole, turns)
        spans = [
            span
            for number, turn in enumerate(turns[:-1])
            if turn.learned and (span := self._answer(template, whole, turns, number)) is not None
        ]
        ids, places = self.tokenizer.encode_spans(whole)
        learned = [any(start <= a < stop for start, stop in (*spans, last)) for a, _ in places]
        if not any(last[0] <= a < last[1] for a, _ in places):
            raise RowProblem("no-tokens", turns[-1].field)
        if not any(whole.startswith(end, last[1] - len(end)) for end in self._ends):
            # the template ends nothing: the answer is the end of the text, and its end is learned all the same
            count = max(i for i, is_learned in enumerate(learned) if is_learned) + 1
            ids, learned = ids[:count] + self._end, learned[:count] + [True] * len(self._end)
        if learned[0]:  # the template writes nothing before the answer
            learned[0] = False
        return Encoded(ids, learned, EXAMPLE)

    def _as_asked(
        self, template: ChatTemplate, whole: str, turns: Sequence[Turn]
    ) -> tuple[str, tuple[int, int]]:
        """For a template that writes the last answer differently from what the model itself would: the text that the
        model is asked with, and the answer behind it. A thought that the template begins is ended at once."""
        before = _render(template, turns[:-1], answer_next=True)
        thought = "\n</think>\n\n" if before.rstrip().endswith("<think>") else ""
        end = next((end for end in self._ends if whole.rstrip().endswith(end)), "")
        text = before + thought + turns[-1].text.strip() + end
        return text, (len(before), len(text))

    def _answer(
        self, template: ChatTemplate, whole: str, turns: Sequence[Turn], number: int
    ) -> tuple[int, int] | None:
        """Where turn `number` and its end token stand in `whole`; None where the template writes a turn of the past
        differently from one that it asks for."""
        before = _render(template, turns[:number], answer_next=True)
        if not whole.startswith(before):
            return None
        text = turns[number].text
        for answer in (text, text.strip()):
            place = whole.find(answer, len(before))
            if place >= 0 and _BEFORE.fullmatch(whole, len(before), place):
                stop = place + len(answer)
                return len(before), self._behind_end(whole, stop)
        return None

    def _behind_end(self, whole: str, stop: int) -> int:
        """`stop`, or behind the end token that follows there."""
        at = stop
        while at < len(whole) and whole[at].isspace():
            at += 1
        for end in self._ends:
            if whole.startswith(end, at):
                return at + len(end)
        return stop

    def _check_specials(self, text: str, field: str) -> None:
        for special in self.tokenizer.special_texts:
            if special in text:
                raise RowProblem("special-token", field, found=special)


def _render(template: ChatTemplate, turns: Sequence[Turn], answer_next: bool) -> str:
    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    try:
        return template.render(messages, add_generation_prompt=answer_next, now=TODAY)
    except UserError as error:
        if error.code != "chat-template-refused":
            raise  # a broken template is no fault of the row
        raise RowProblem("template-refused", why=str(error.fields.get("reason", error))) from None
