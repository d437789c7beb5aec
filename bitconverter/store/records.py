"""The records of the chat store: plain values, checked where they come from a file."""

import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

ROLES = ("user", "assistant")
ENDINGS = ("", "stop", "length", "context", "stopped", "interrupted")
ID_BITS = 62  # random, so that two programs on one file do not meet; positive in SQLite's 64 bits


def new_id() -> int:
    """A number for a new chat, message, folder or preset."""
    return secrets.randbits(ID_BITS) | 1


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Numbers:
    """How an answer was made: enough to show its speed, and to make it again exactly.

    Seconds, tokens and tokens per second as the job counted them; `model` and `device` are names to show;
    `soul` is the name of the one that was on the model, "" without; `template` the chat template that was chosen, ""
    for the model's own.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    tokens: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    tokens_per_second: float = 0.0
    model: str = ""
    device: str = ""
    seed: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    max_tokens: int = 0
    system_prompt: str = ""
    soul: str = ""
    template: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: object) -> "Numbers | None":
        """None unless `values` is a mapping; a value of the wrong type or sign counts as not there."""
        if not isinstance(values, Mapping):
            return None
        known: dict[str, Any] = {}
        for spec in fields(cls):
            value = values.get(spec.name)
            kind = type(spec.default)
            if kind is float and type(value) is int:
                value = float(value)
            if type(value) is not kind:
                continue
            if isinstance(value, int | float) and not 0 <= value < 2**63:  # NaN is refused as well
                continue
            known[spec.name] = value
        return cls(**known)


@dataclass(frozen=True)
class Attachment:
    """A document that went along with a message: its file name and its text."""

    name: str
    text: str


@dataclass
class Node:
    """One thing said, a node of the chat's tree. Siblings (the same parent) are versions of each other.

    `ending` says how an answer came to its end: "stop", "length", "context", "stopped" by the user,
    "interrupted" by the program's death; "" while it is being written. A question's is "stop".
    """

    role: str
    text: str
    parent: int | None = None
    id: int = field(default_factory=new_id)
    created: int = field(default_factory=now)
    ending: str = ""
    numbers: Numbers | None = None
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True)
class Chat:
    """A conversation without its messages. `leaf` is the last message of the branch that is shown; `named`:
    the user chose the title; `scroll` 0..1 is how far down it was read; times in milliseconds since 1970."""

    title: str = ""
    id: int = field(default_factory=new_id)
    named: bool = False
    folder: int | None = None
    pinned: bool = False
    created: int = field(default_factory=now)
    updated: int = field(default_factory=now)
    deleted: int | None = None
    system_prompt: str = ""
    leaf: int | None = None
    draft: str = ""
    scroll: float = 1.0
    drop_oldest: bool = False


@dataclass(frozen=True)
class Folder:
    """A group of chats."""

    name: str
    id: int = field(default_factory=new_id)


@dataclass(frozen=True)
class Preset:
    """A system prompt that the user keeps under a name."""

    name: str
    text: str
    id: int = field(default_factory=new_id)


@dataclass(frozen=True)
class Hit:
    """A message, or a chat by its title (`message` None), that a search found. `snippet` is a piece of the
    text around what was found, which is `snippet[start:end]`."""

    chat: int
    message: int | None
    title: str
    snippet: str
    start: int
    end: int
    time: int
