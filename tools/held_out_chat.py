"""Held-out chat: what a model itself answers to questions that are not in the calibration text, as one text.

    python tools/held_out_chat.py SOURCE chat.txt

Every conversation is written by SOURCE's chat template; its answers are drawn from SOURCE's own predictions (seeded,
so the same machine writes the same text), some to a second question. For tools/compare_quality.py --text: the KL on
it is about the texts that a chat with this very model consists of.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bitconverter.engine import Cancel, Engine, Model, Sampler, Session
from bitconverter.jobs.continuation import continuation
from bitconverter.model.calibration_text import TODAY
from bitconverter.model.chat_template import load_chat_template
from bitconverter.model.text_stream import whole_text
from bitconverter.model.tokenizer import Tokenizer

CONTEXT, ANSWER = 2048, 220  # tokens: of a conversation at most, of an answer at most
SAMPLER = Sampler(temperature=0.8, top_p=0.95, top_k=0, min_p=0.0)
SECOND_QUESTION_EACH = 3  # conversations

QUESTIONS = (
    "What is the capital of Australia, and why is it not Sydney?",
    "Write a short story about a fox who learns to swim.",
    "How do I cook rice without a rice cooker?",
    "Give me five ideas for a birthday party for a seven year old.",
    "Write a Python function that counts the vowels in a string.",
    "What's the difference between a virus and a bacterium?",
    "Translate 'Where is the train station?' into French and Spanish.",
    "Summarize the plot of Romeo and Juliet in three sentences.",
    "How can I fall asleep faster?",
    "What should I pack for a week in Iceland in October?",
    "Rewrite this so that it is more formal: I can't come to your thing tomorrow because I'm swamped.",
    "Which is heavier, a kilogram of feathers or a kilogram of iron?",
    "Make a table of three fruits with their colour and taste.",
    "Write a poem about an old bicycle.",
    "How does a refrigerator work?",
    "I have 12 apples and give away 5, then buy twice as many as I have left. How many do I have?",
    "Explain the offside rule in football.",
    "What are the health benefits of walking?",
    "Write an email asking a landlord to repair a leaking tap.",
    "How do I reverse a list in Python?",
    "Give me a recipe for pancakes.",
    "What is inflation, and why does it happen?",
    "I feel lonely. What can I do?",
    "Name three novels from the nineteenth century and say what they are about.",
    "How do plants make food?",
    "What is the difference between TCP and UDP?",
    "Plan a three day trip to Kyoto.",
    "Explain how to change a bicycle tyre step by step.",
    "What does 'break the ice' mean?",
    "Write a JavaScript function that removes duplicates from an array.",
    "How is cheese made?",
    "Give me arguments for and against homework.",
    "What causes the seasons?",
    "Help me write a toast for my sister's wedding.",
    "What is machine learning?",
    "How many continents are there, and what are they called?",
    "Write a haiku about a mountain.",
    "Can cats see in the dark?",
    "How should I start saving money?",
    "Describe the water cycle.",
    "What is the best way to learn a language?",
    "Write a dialogue between a customer and a baker.",
    "Why do we dream?",
)
SECOND_QUESTIONS = (
    "Can you say that more briefly?",
    "Give me another example.",
    "Why?",
    "Thanks! What else should I know about it?",
    "I don't understand the second part. Explain it again.",
    "Now write it for a child.",
)


class Talker:
    """Answers as the model of `folder` does; `answer` is seeded by how many it has given."""

    def __init__(self, folder: Path, threads: int) -> None:
        model = Model(Engine(threads=threads), folder)
        self._session = Session(model, n_ctx=min(CONTEXT, model.info.max_positions))
        self._tokenizer = Tokenizer(folder)
        self._template = load_chat_template(folder)
        self._given = 0

    def written(self, turns: list[dict[str, str]], *, to_answer: bool = False) -> str:
        return self._template.render(turns, add_generation_prompt=to_answer, now=TODAY)

    def answer(self, turns: list[dict[str, str]]) -> str:
        """At most ANSWER tokens, or what the context holds."""
        prompt = self._tokenizer.encode(self.written(turns, to_answer=True), add_special_tokens=False)
        sampler = replace(SAMPLER, seed=self._given)
        self._given += 1
        made = continuation(self._session, prompt, self._tokenizer.eos_ids, ANSWER, Cancel(), sampler)
        return whole_text(self._tokenizer, made)


def conversations(talker: Talker, questions: tuple[str, ...]) -> list[str]:
    """A text each, as the template writes it."""
    texts = []
    for k, question in enumerate(questions):
        asked = [question]
        if k % SECOND_QUESTION_EACH == 0:
            asked.append(SECOND_QUESTIONS[k // SECOND_QUESTION_EACH % len(SECOND_QUESTIONS)])
        turns: list[dict[str, str]] = []
        for words in asked:
            turns.append({"role": "user", "content": words})
            turns.append({"role": "assistant", "content": talker.answer(turns)})
        texts.append(talker.written(turns))
    return texts


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="the model folder that conversions are compared with")
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    texts = conversations(Talker(arguments.source, arguments.threads), QUESTIONS)
    arguments.out.write_text("".join(texts), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
