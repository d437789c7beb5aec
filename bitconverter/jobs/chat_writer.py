"""Lets a model write conversations: it answers the questions of resources/calibration/questions.json."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import psutil

from bitconverter.engine import Engine, Model, Sampler, Session
from bitconverter.jobs.continuation import WRITTEN_COST, continuations
from bitconverter.jobs.job import Context
from bitconverter.model.budget import SYSTEM
from bitconverter.model.calibration_text import TODAY, Conversation
from bitconverter.model.chat_template import ChatTemplate, load_chat_template
from bitconverter.model.text_stream import whole_text
from bitconverter.model.tokenizer import Tokenizer

CONTEXT = 512  # tokens of a conversation at most
BATCH = 32  # tokens of a question at a time
SECOND_QUESTION_EACH = 3  # conversations
FIRST_SHARE = 0.67  # of the time: the answers to the first questions
SAMPLER = Sampler(temperature=0.8, top_p=0.95, top_k=0, min_p=0.0)
SEED_STEP = 1009  # between the seeds of two conversions
KV = "int8"  # the cache
WORK = 1e13  # weights multiplied by tokens, at most


def most_conversations(mapped: int, weights: int, tokens: int) -> int:
    """How many conversations of about so many tokens a model writes, no more than there are questions: fewer of one
    with many weights, and none where its `mapped` bytes do not fit into this computer's memory, because each token
    would read them from the disk again."""
    if mapped > psutil.virtual_memory().total - SYSTEM:
        return 0
    return min(len(questions()[0]), max(1, int(WORK / tokens / max(weights, 1))))


class ChatWriter:
    """Of a model folder's model, `together` conversations side by side, with answers of at most `answer` tokens, each
    drawn from the model's own predictions by the seed and its number. No conversation depends on the others."""

    def __init__(
        self,
        folder: Path,
        engine: Engine,
        seed: int,
        together: int,
        answer: int,
        ctx: Context,
    ) -> None:
        """Raises UserError of the template and the tokenizer."""
        self._template: ChatTemplate = load_chat_template(folder)
        self._tokenizer = Tokenizer(folder)
        model = Model(engine, folder)
        self._tokenizer.check_fits(model.info.vocab_size)
        context = min(CONTEXT, model.info.max_positions)
        self._answer = min(answer, context // 2)
        self._sessions = [Session(model, n_ctx=context, n_batch=BATCH, kv=KV) for _ in range(together)]
        self._seed, self._ctx = seed, ctx
        self._asked, self._asked_next = questions()

    def write(self, numbers: Sequence[int], tell: Callable[[float], None]) -> list[Conversation]:
        """The conversations of these numbers, at most `together` of as many as there are questions. Raises Cancelled,
        UserError of the template."""
        talks: list[Conversation] = [[message("user", self._asked[k])] for k in numbers]
        self._answers(talks, numbers, 0, lambda part: tell(FIRST_SHARE * part))
        again = [i for i, k in enumerate(numbers) if k % SECOND_QUESTION_EACH == 0]
        for i in again:
            question = self._asked_next[numbers[i] // SECOND_QUESTION_EACH % len(self._asked_next)]
            talks[i].append(message("user", question))
        more = [talks[i] for i in again]
        self._answers(
            more, [numbers[i] for i in again], 1, lambda part: tell(FIRST_SHARE + (1 - FIRST_SHARE) * part)
        )
        return talks

    def _answers(
        self, talks: list[Conversation], numbers: Sequence[int], turn: int, tell: Callable[[float], None]
    ) -> None:
        """Puts the model's answer behind each."""
        prompts = [
            self._tokenizer.encode(
                self._template.render(talk, add_generation_prompt=True, now=TODAY), add_special_tokens=False
            )
            for talk in talks
        ]
        whole = sum(map(len, prompts)) + WRITTEN_COST * self._answer * len(prompts)
        done = 0.0

        def step(cost: float) -> None:
            nonlocal done
            done += cost
            tell(done / whole)

        samplers = [replace(SAMPLER, seed=(self._seed * SEED_STEP + 2 * k + turn) % 2**64) for k in numbers]
        made = continuations(
            self._sessions[: len(talks)], prompts, samplers, self._tokenizer.eos_ids, self._answer,
            self._ctx.cancel, step,
        )  # fmt: skip
        for talk, tokens in zip(talks, made, strict=True):
            talk.append(message("assistant", whole_text(self._tokenizer, tokens)))


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def questions() -> tuple[list[str], list[str]]:
    """Those that begin a conversation, and those that may follow."""
    place = files("bitconverter") / "resources" / "calibration" / "questions.json"
    value = json.loads(place.read_text(encoding="utf-8"))
    return value["questions"], value["second_questions"]
