"""A model's chat template: messages in, the text that the model was trained to see out.

Templates are Jinja programs that come with a model, so they run in Jinja's immutable sandbox, in the
environment that Hugging Face's `transformers` gives them (the same options, filters, functions and variables;
goldens: tests/golden/templates), with a limit on time and on the size of what they make
(template_account.py).
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.runtime
import jinja2.sandbox
import jinja2.utils

from bitconverter.format.errors import UserError
from bitconverter.model import template_account, template_limits
from bitconverter.model.template_account import ACCOUNT
from bitconverter.model.template_sandbox import LimitedEnvironment
from bitconverter.model.tokenizer import read_json, special_tokens

TIME_LIMIT = 5.0  # seconds a rendering may take; real ones take a millisecond
OUTPUT_LIMIT = 8_000_000  # characters
SOURCE_LIMIT = 250_000  # characters of a template; real ones have up to thirty thousand


class ChatTemplate:
    """A compiled template. Immutable; safe to use from several threads."""

    def __init__(self, source: str, variables: Mapping[str, Any] | None = None, chosen: str = "") -> None:
        """`source` is the Jinja text; `variables` are what it sees beside the messages (bos_token, ...); `chosen`: the
        file or name by which the user chose it instead of the model's own.

        Raises UserError("chat-template-broken"), or "template-broken" of a chosen one, when it is no valid template.
        """
        self.source, self.chosen = source, chosen
        self.variables = dict(variables or {})
        try:
            if len(source) > SOURCE_LIMIT:
                raise jinja2.sandbox.SecurityError(f"it has more than {SOURCE_LIMIT} characters")
            self._template = _Environment().from_string(source)
        except Exception as error:  # Python's compiler has its own: SyntaxError, ValueError, MemoryError
            raise self._broken(error) from error

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        now: datetime | None = None,
        **variables: Any,
    ) -> str:
        """The conversation as text, ready for the tokenizer (which must add no special tokens to it).

        `now` is the time that the template's `strftime_now` tells (default: the clock's).
        Raises UserError("chat-template-refused", reason=...) with the template's own words when it does not
        accept the conversation, UserError("chat-template-broken" or "template-broken") when it fails in any other way.
        """
        values = {
            **self.variables,
            "tools": None,
            "documents": None,
            "strftime_now": _clock(now),
            **variables,
        }
        values.update(messages=[dict(m) for m in messages], add_generation_prompt=add_generation_prompt)
        pieces: list[str] = []
        size = 0
        try:
            ACCOUNT.open()
            with _time_limit(TIME_LIMIT):
                for piece in self._template.generate(values):
                    pieces.append(piece)
                    size += len(piece)
                    if size > OUTPUT_LIMIT:
                        raise jinja2.sandbox.SecurityError(f"it makes more than {OUTPUT_LIMIT} characters")
        except _Refusal as error:
            raise UserError(
                "chat-template-refused",
                f"{self._called()} does not accept the conversation: {error}",
                reason=str(error),
            ) from error
        except Exception as error:  # a foreign program: whatever it raises is its fault, told as such
            raise self._broken(error) from error
        finally:
            ACCOUNT.close()
        return "".join(pieces)

    def _called(self) -> str:
        return f"The chat template {self.chosen}" if self.chosen else "This model's chat template"

    def _broken(self, error: BaseException) -> UserError:
        line = f", line {error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
        why = f"{type(error).__name__}{line}: {str(error)[:500]}"
        told = f"{self._called()} does not work ({why})."
        if self.chosen:
            return UserError(
                "template-broken", f"{told} Correct it, or choose another one.", file=self.chosen, reason=why
            )
        return UserError(
            "chat-template-broken",
            f"{told} Copy chat_template.jinja or tokenizer_config.json from the model's source again.",
            reason=str(error),
        )


def load_chat_template(folder: Path) -> ChatTemplate:
    """The template of a model folder: chat_template.jinja, chat_template.json or tokenizer_config.json.

    Raises UserError("no-chat-template") when there is none: another model's format would give bad answers.
    """
    source = _find_source(folder)
    if source is None:
        raise UserError(
            "no-chat-template",
            f"{folder.absolute().name} has no chat template, so there is no telling how this model expects a "
            "conversation; it may be a base model, made for completing text. Put the chat_template.jinja of "
            "the model's publisher into its folder, or choose a model made for chat (-Instruct, -Chat).",
            folder=str(folder),
        )
    return ChatTemplate(source, special_tokens(folder))


def _find_source(folder: Path) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                "chat-template-broken",
                f"The chat template {path} cannot be read: {error}. Copy it from the model's source again.",
                file=str(path),
                reason=str(error),
            ) from error
    for name in ("chat_template.json", "tokenizer_config.json"):
        template = read_json(folder / name).get("chat_template")
        if isinstance(template, str):
            return template
        if isinstance(template, list):  # several, each {"name", "template"}
            for entry in template:
                named = isinstance(entry, dict) and entry.get("name") == "default"
                if named and isinstance(entry.get("template"), str):
                    return str(entry["template"])
    return None


# ---- the environment that templates expect ----


class _Refusal(jinja2.TemplateError):
    """The template called raise_exception."""


class _GenerationTag(jinja2.ext.Extension):
    """`{% generation %} ... {% endgeneration %}` marks what the assistant said; here it is only passed on."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_pass_on"), [], [], body).set_lineno(line)

    def _pass_on(self, caller: Callable[[], str]) -> str:
        return caller()


class _Dict:
    """`dict(...)` and `dict.fromkeys(...)`, and nothing else of the type."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class _Namespace(jinja2.utils.Namespace):
    """A namespace whose names may not begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # `self` may be a key, as in Jinja's own
        names = dict(*args[1:], **kwargs)
        for name in names:
            _check_name(name)
        jinja2.utils.Namespace.__init__(args[0], names)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.sandbox.SecurityError(f"a namespace cannot have an attribute {name!r}")


def _raise_exception(message: str) -> None:
    raise _Refusal(message)


def _clock(now: datetime | None) -> Callable[[str], str]:
    def strftime_now(form: str) -> str:
        if len(form) > 1000:  # the system's function may write 256 times as much
            raise jinja2.sandbox.SecurityError("the form of the time is too long")
        return (now or datetime.now()).strftime(form)

    return strftime_now


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Plain JSON; Jinja's own filter would escape HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


class _Environment(LimitedEnvironment):
    """The sandbox with the options and names of `transformers`."""

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, jinja2.ext.loopcontrols]
        )
        self.filters["tojson"] = _tojson
        self.limit_filters()
        self.globals.update(raise_exception=_raise_exception, dict=_Dict(), namespace=_Namespace)


# ours, which end: not slowed down by a look at the clock in every line
_ENDING = frozenset((template_account.__file__, template_limits.__file__))


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Ends Python code of this thread that runs longer: every line of it, loops included, looks at the clock.

    Tracing is what reaches into a loop without a call; a debugger's or a coverage tool's own tracing is put
    back afterwards.
    """
    deadline = time.monotonic() + seconds

    def look(frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_code.co_filename in _ENDING:
            return None
        if time.monotonic() > deadline:
            raise jinja2.sandbox.SecurityError(f"it takes longer than {seconds:g} seconds")
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        yield
    finally:
        sys.settrace(before)
