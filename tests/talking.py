"""A tiny model that talks, and what it says."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from bitconverter import engine
from bitconverter.jobs.chat import Answer, AnswerJob, ChatSession, LoadChatJob, Message, Sampling
from bitconverter.jobs.job import Cancel, Event, Failed, Finished, Token, run_job

GOLDEN = Path(__file__).parent / "golden"
VOCAB = 149  # of the tiny model
TEMPLATE = (
    "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
)
GREEDY = Sampling(temperature=0, max_tokens=24, seed=0)
ASK = (Message("user", "hello there"),)


def make_folder(folder: Path, *, eos: Any = None, template: str | None = TEMPLATE) -> Path:
    """The tiny SmolLM2-style model with a byte-level tokenizer of its vocabulary's size."""
    shutil.copytree(GOLDEN / "smollm2", folder, ignore=shutil.ignore_patterns("*.npy"))
    letters = sorted(pre_tokenizers.ByteLevel.alphabet(), key=lambda c: (c not in "\u0120\u010a", c))
    vocab = {letter: i for i, letter in enumerate(letters[: VOCAB - 1])}
    raw = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token=letters[0]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(["<end>"])
    raw.save(str(folder / "tokenizer.json"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["eos_token_id"] = None
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": eos}), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}), encoding="utf-8")
    return folder


def load(folder: Path, **options: Any) -> ChatSession:
    last = run_job(LoadChatJob(str(folder), threads=1, **options), lambda event: None, Cancel())
    if isinstance(last, Failed):
        raise last.error
    assert isinstance(last, Finished)
    return last.result


def answer(
    chat: ChatSession,
    messages: tuple[Message, ...] = ASK,
    sampling: Sampling = GREEDY,
    watch: Callable[[Event, Cancel], None] = lambda event, cancel: None,
) -> tuple[Event, str]:
    """The last event, and the text that was streamed."""
    cancel = Cancel()
    texts: list[str] = []

    def emit(event: Event) -> None:
        if isinstance(event, Token):
            texts.append(event.text)
        watch(event, cancel)

    last = run_job(AnswerJob(chat, messages, sampling), emit, cancel)
    return last, "".join(texts)


def finished(chat: ChatSession, messages: tuple[Message, ...] = ASK, sampling: Sampling = GREEDY) -> Answer:
    last, streamed = answer(chat, messages, sampling)
    if isinstance(last, Failed):
        raise last.error
    assert isinstance(last, Finished)
    assert streamed == last.result.text
    return last.result


def greedy_tokens(folder: Path, prompt: list[int], n: int) -> list[int]:
    """What the engine alone says after `prompt`."""
    session = engine.Session(engine.Model(engine.Engine(threads=1), folder), n_ctx=128)
    made: list[int] = []
    tokens = prompt
    while len(made) < n:
        session.forward(tokens, want_logits=False)
        made.append(session.sample(engine.Sampler(temperature=0)))
        tokens = made[-1:]
    return made
