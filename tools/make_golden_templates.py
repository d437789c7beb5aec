"""Make tests/golden/templates/expected.json: what transformers renders for every template and dialogue there.

    python tools/make_golden_templates.py                     writes expected.json
    python tools/make_golden_templates.py --compare FOLDER    renders every *.jinja in FOLDER, and every
                                                              chat_template in a *.json there, by transformers and
                                                              by this project, and says where they differ

Needs transformers (5.x was used); run by hand when a template or a dialogue is added. `strftime_now` is frozen at
2024-07-26 on both sides, so that nothing depends on the day.
"""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden" / "templates"
NOW = datetime(2024, 7, 26, 12, 0, 0)


class FrozenClock(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> "FrozenClock":
        return cls(NOW.year, NOW.month, NOW.day, NOW.hour)


def render(template: str, tokens: dict[str, str], dialogue: dict[str, Any]) -> dict[str, str]:
    """{"text": ...} or, where the template refuses or fails, {"error": ...}: as transformers does it."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), **tokens)
    tokenizer.chat_template = template
    try:
        text = tokenizer.apply_chat_template(
            dialogue["messages"],
            tokenize=False,
            add_generation_prompt=dialogue.get("add_generation_prompt", True),
        )
    except (jinja2.TemplateError, TypeError) as error:
        return {"error": str(error)}
    return {"text": text}


def render_ours(template: str, tokens: dict[str, str], dialogue: dict[str, Any]) -> dict[str, str]:
    sys.path.insert(0, str(ROOT))
    from bitconverter.format.errors import UserError
    from bitconverter.model.chat_template import ChatTemplate

    try:
        text = ChatTemplate(template, tokens).render(
            dialogue["messages"], add_generation_prompt=dialogue.get("add_generation_prompt", True), now=NOW
        )
    except UserError as error:
        return {"error": error.fields["reason"]}
    return {"text": text}


def templates_in(folder: Path) -> dict[str, str]:
    found = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.jinja"))}
    for path in sorted(folder.rglob("*.json")):
        template = json.loads(path.read_text(encoding="utf-8")).get("chat_template")
        if isinstance(template, str):
            found[str(path.relative_to(folder))] = template
    return found


def compare(folder: Path) -> int:
    dialogues = json.loads((GOLDEN / "dialogues.json").read_text(encoding="utf-8"))
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    differences = texts = errors = 0
    for name, template in templates_in(folder).items():
        for title, dialogue in dialogues.items():
            theirs, ours = render(template, tokens, dialogue), render_ours(template, tokens, dialogue)
            texts += "text" in theirs
            errors += "error" in theirs
            if theirs != ours:
                differences += 1
                print(f"{name}, {title}:\n  theirs {theirs!r:.400}\n  ours   {ours!r:.400}")
    print(
        f"{len(templates_in(folder))} templates: {texts} texts, {errors} refusals, {differences} differences"
    )
    return differences


def main() -> None:
    chat_template_utils.datetime = FrozenClock
    if sys.argv[1:2] == ["--compare"]:
        sys.exit(compare(Path(sys.argv[2])) > 0)
    dialogues = json.loads((GOLDEN / "dialogues.json").read_text(encoding="utf-8"))
    tokens = json.loads((GOLDEN / "special_tokens.json").read_text(encoding="utf-8"))
    expected = {
        name.removesuffix(".jinja"): {
            title: render(template, tokens[name.removesuffix(".jinja")], dialogue)
            for title, dialogue in dialogues.items()
        }
        for name, template in templates_in(GOLDEN).items()
    }
    text = json.dumps(expected, ensure_ascii=False, indent=1) + "\n"
    (GOLDEN / "expected.json").write_text(text, encoding="utf-8")
    print(f"{len(expected)} templates x {len(dialogues)} dialogues")


if __name__ == "__main__":
    main()
