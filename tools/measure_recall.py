"""How many questions about a document a model answers right: alone, with the document in the context, with a soul.

    python tools/measure_recall.py MODEL tools/recall/harbour.json
    python tools/measure_recall.py MODEL tools/recall/harbour.json --text tools/recall/harbour.txt
    python tools/measure_recall.py MODEL tools/recall/harbour.json --soul harbour.soul

QUESTIONS: a list of {"question", "answers"}; an answer is right if it has one of `answers` in it, as a word. Each
question is a conversation of its own, answered greedily. harbour.txt and orchard.txt are made up, so that no model
knows them; their questions use other words than the texts. control.json asks for what everybody knows: what a soul
costs is what is right of it no more.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

from bitconverter.engine import Cancel
from bitconverter.format.soul_file import Adapters, read_soul
from bitconverter.jobs.opening import open_engine
from bitconverter.jobs.taught_model import TaughtModel
from bitconverter.model.calibration_text import TODAY
from bitconverter.model.chat_template import load_chat_template
from bitconverter.model.tokenizer import Tokenizer

CONTEXT, ANSWER = 4096, 60  # tokens, of an answer at most


def right(answer: str, wanted: list[str]) -> bool:
    """One of the words, whole (with an s behind it), is in it."""
    return any(re.search(rf"(?<!\w){re.escape(word)}s?(?!\w)", answer, re.IGNORECASE) for word in wanted)


def answers(model: Path, questions: list[str], soul: Path | None, text: str) -> list[str]:
    """What the model says to each, with `text` before it."""
    tokenizer, template = Tokenizer(model), load_chat_template(model)
    taught = TaughtModel(open_engine(0, "auto"), model, tokenizer, CONTEXT)
    if soul is not None:
        learned = read_soul(soul)
        taught.wear(Adapters(learned.gains, learned.lora, learned.delta))
    said = []
    for question in questions:
        asked = f"{text}\n\n{question}" if text else question
        prompt = template.render([{"role": "user", "content": asked}], add_generation_prompt=True, now=TODAY)
        ids = tokenizer.encode(prompt, add_special_tokens=False)
        said.append(taught.answer(ids, ANSWER, Cancel()))
    return said


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--soul", type=Path)
    parser.add_argument("--text", type=Path)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = json.loads(args.questions.read_text(encoding="utf-8"))
    text = args.text.read_text(encoding="utf-8") if args.text else ""
    said = answers(args.model, [row["question"] for row in rows], args.soul, text)
    count = 0
    for row, answer in zip(rows, said, strict=True):
        good = right(answer, row["answers"])
        count += good
        print("+" if good else "-", row["question"], "->", " ".join(answer.split())[:100])
    print(f"{count} of {len(rows)} right")


if __name__ == "__main__":
    main()
