"""A conversation that has become too long, in short: what to go on with in a new one.

The model reads the conversation in parts that fit into its context, and after each writes what is known so far (the
rolling summary of Wang et al., "Recursively Summarizing Enables Long-Term Dialogue Memory", 2023). The last messages
are kept word for word.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bitconverter.format.errors import UserError
from bitconverter.jobs.chat import AnswerJob, Sampling
from bitconverter.jobs.chat_session import ChatSession, Message
from bitconverter.jobs.job import Context, Event, Progress, Token

QUOTED = 0.2  # of the context: the last messages, word for word
WRITTEN = 0.15  # of the context: the summary, at most
MOST_WRITTEN = 500  # tokens of it
SPARE = 32  # tokens: pieces side by side may have a few more than each for itself
SAMPLING = Sampling(temperature=0.3, top_p=0.9, top_k=40, repeat_penalty=1.05, seed=0)
SENTENCE_END = re.compile(r"[.!?](?=\s)|[。！？]")
KANA = re.compile("[\u3041-\u30ff]")
JAPANESE_SHARE = 0.25  # of a text's letters are kana, at least; of usual ones a half


@dataclass(frozen=True)
class _Words:
    """What the model is told, in the language of the conversation."""

    user: str
    assistant: str
    ask: str
    known: str
    summary: str
    quoted: str


ENGLISH = _Words(
    user="User", assistant="Assistant",
    ask="{known}Here is a part of a conversation:\n\n{part}\n\nSummarise the whole conversation so far in a few "
    "sentences. Keep names, numbers, what was decided and what is still open. Write the summary alone.",
    known="What came before, in short:\n{summary}\n\n",
    summary="Our conversation so far, in short:\n{summary}",
    quoted="The last messages, word for word:\n\n{quoted}",
)  # fmt: skip
JAPANESE = _Words(
    user="ユーザー", assistant="アシスタント",
    ask="{known}次は会話の一部です。\n\n{part}\n\nここまでの会話全体を、数文の日本語で要約してください。名前、数値、決まったこと、"
    "まだ決まっていないことを残してください。要約だけを書いてください。",
    known="それより前の要約：\n{summary}\n\n",
    summary="これまでの会話の要約：\n{summary}",
    quoted="直前のやりとり（原文のまま）：\n\n{quoted}",
)  # fmt: skip


@dataclass(frozen=True)
class SummariseJob:
    """`messages` in short: a text to go on with in a new conversation, at most about a third of the context.

    Emits Progress(unit="token") and, of the last part, Token. Raises UserError: "summary-empty", "summary-small", those
    of AnswerJob; Cancelled, which leaves the session usable.
    """

    chat: ChatSession
    messages: tuple[Message, ...]

    @property
    def work_dir(self) -> Path | None:
        return None

    def run(self, ctx: Context) -> str:
        said = [message for message in self.messages if message.role != "system" and message.content.strip()]
        words = JAPANESE if _japanese(said) else ENGLISH
        lines = [_line(message, words) for message in said]
        parts = self._parts(lines, words)
        lengths = [self._tokens(part) for part in parts]
        summary = ""
        for number, part in enumerate(parts):
            share = _Share(sum(lengths[:number]), lengths[number], sum(lengths))
            asked = (Message("user", _asked(words, summary, part)),)
            job = AnswerJob(self.chat, asked, replace(SAMPLING, max_tokens=self._most))
            answer = job.run(_inner(ctx, share))
            summary = (_whole(answer.text) if answer.finish == "length" else answer.text.strip()) or summary
        if not summary:
            raise UserError(
                "summary-empty",
                "The model wrote no summary of the conversation. Leave out the oldest messages, or start a new chat.",
            )
        found = [words.summary.format(summary=summary)]
        quoted = self._last(said, lines)
        return "\n\n".join([*found, words.quoted.format(quoted=quoted)] if quoted else found)

    @property
    def _most(self) -> int:
        """Tokens of a summary."""
        return max(16, min(MOST_WRITTEN, int(WRITTEN * self.chat.n_ctx)))

    def _parts(self, lines: Sequence[str], words: _Words) -> list[str]:
        """The conversation in pieces that the model can read with a summary before and one behind."""
        around = self.chat.count_tokens([Message("user", _asked(words, "-", "-"))])
        room = self.chat.n_ctx - around - 2 * self._most - SPARE
        if room < SPARE:
            raise UserError(
                "summary-small",
                f"A context of {self.chat.n_ctx} tokens is too small for a summary. Start a new chat.",
                context=self.chat.n_ctx,
            )
        parts, taken = [""], 0
        for line in lines:
            for piece in self._cut(line, room):
                more = self._tokens(piece) + 1
                if taken and taken + more > room:
                    parts.append("")
                    taken = 0
                parts[-1] += piece + "\n\n"
                taken += more
        return [part.strip() for part in parts]

    def _cut(self, text: str, room: int) -> list[str]:
        """`text` in pieces of at most `room` tokens."""
        tokens = self._tokens(text)
        if tokens <= room or len(text) < 2:
            return [text]
        half = len(text) // 2
        return [*self._cut(text[:half], room), *self._cut(text[half:], room)]

    def _last(self, said: Sequence[Message], lines: Sequence[str]) -> str:
        """As many of the last turns as have room, whole ones."""
        start, taken = len(lines), 0
        for k in range(len(lines) - 1, -1, -1):
            taken += self._tokens(lines[k]) + 1
            if taken > QUOTED * self.chat.n_ctx:
                break
            if said[k].role == "user":
                start = k
        return "\n\n".join(lines[start:])

    def _tokens(self, text: str) -> int:
        return len(self.chat.tokenizer.encode(text, add_special_tokens=False))


def _japanese(said: Sequence[Message]) -> bool:
    """Whether the user writes Japanese: a word of it here and there, or from the model, does not make a text so."""
    text = "".join(message.content for message in said if message.role == "user")
    return len(KANA.findall(text)) > JAPANESE_SHARE * sum(map(str.isalpha, text))


def _line(message: Message, words: _Words) -> str:
    return f"{words.user if message.role == 'user' else words.assistant}: {message.content.strip()}"


def _whole(text: str) -> str:
    """Without the sentence that was cut, where there is a whole one."""
    ends = [match.end() for match in SENTENCE_END.finditer(text)]
    return text[: ends[-1]].strip() if ends else text.strip()


def _asked(words: _Words, summary: str, part: str) -> str:
    known = words.known.format(summary=summary) if summary else ""
    return words.ask.format(known=known, part=part)


@dataclass(frozen=True)
class _Share:
    """Of one part: tokens of the conversation before it, its own, and all."""

    before: int
    own: int
    all: int


def _inner(ctx: Context, share: _Share) -> Context:
    """For the answer about one part: how far all is, and what it says about the last."""

    def emit(event: Event) -> None:
        if isinstance(event, Progress):
            done = share.before + share.own * event.done // max(event.total, 1)
            ctx.emit(Progress(done, share.all, "token", "conversation"))
        elif isinstance(event, Token) and share.before + share.own == share.all:
            ctx.emit(event)

    ctx.emit(Progress(share.before, share.all, "token", "conversation"))
    return Context(emit, ctx.cancel)
