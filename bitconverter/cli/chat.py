"""The chat verb: a conversation in the terminal, or one answer."""

import argparse
import sys

from bitconverter.cli import DONE, STOPPED, texts
from bitconverter.cli.arguments import asked_device
from bitconverter.cli.device_text import where
from bitconverter.cli.results import as_json
from bitconverter.cli.running import Ended, run
from bitconverter.cli.terminal import ProgressLine, visible
from bitconverter.jobs.chat import Answer, AnswerJob, ChatSession, LoadChatJob, Message, Sampling
from bitconverter.jobs.summarise import SummariseJob


def chat(args: argparse.Namespace) -> int:
    line = ProgressLine(quiet=args.quiet)
    loaded: ChatSession = run(
        LoadChatJob(
            args.model,
            args.threads,
            args.cpu_mask,
            args.context,
            args.kv,
            args.soul,
            asked_device(args),
            args.template,
        ),
        line,
    )
    try:
        return (
            _one_shot(args, loaded, line)
            if args.prompt is not None
            else _Conversation(args, loaded, line).loop()
        )
    finally:
        loaded.close()


def _one_shot(args: argparse.Namespace, loaded: ChatSession, line: ProgressLine) -> int:
    prompt = sys.stdin.read() if args.prompt == "-" else args.prompt
    messages = (*_system(args), Message("user", prompt))
    job = AnswerJob(loaded, messages, sampling(args))
    if args.json:
        print(as_json(run(job, line)))
        return DONE
    try:
        answer: Answer = run(job, line, _write)
    finally:
        _write("\n")
    line.say(_stats(answer))
    return DONE


class _Conversation:
    """Messages so far; a stopped answer stays in it as far as it came. `summary`: of a conversation before them, which
    goes along with the next message; "" without."""

    def __init__(self, args: argparse.Namespace, loaded: ChatSession, line: ProgressLine) -> None:
        self.args = args
        self.chat = loaded
        self.line = line
        self.interactive = sys.stdin.isatty()
        self._begin()

    def _begin(self, summary: str = "") -> None:
        self.messages: tuple[Message, ...] = _system(self.args)
        self.summary = summary

    @property
    def _begun(self) -> bool:
        return len(self.messages) > len(_system(self.args))

    def _keep(self, asked: tuple[Message, ...], answer: str) -> None:
        """The summary is in what was asked by now."""
        self.messages, self.summary = (*asked, Message("assistant", answer)), ""

    def loop(self) -> int:
        if self.interactive:
            _use_readline()
            self.line.say(header(self.chat))
        while True:
            try:
                text = input("> " if self.interactive else "").strip()
            except (EOFError, KeyboardInterrupt):
                if self.interactive:
                    _write("\n")
                return DONE
            if text.startswith("/"):
                if text in ("/quit", "/exit", "/q"):
                    return DONE
                self._command(text)
            elif text:
                status = self._answer(text)
                if status != DONE and not self.interactive:
                    return status

    def _command(self, text: str) -> None:
        if text == "/reset":
            self._begin()
            self.line.say(texts.CHAT_RESET)
        elif text == "/summary":
            self._summarise()
        elif text == "/help":
            self.line.say(texts.CHAT_HELP)
        else:
            self.line.say(texts.CHAT_UNKNOWN.format(command=text.split()[0], help=texts.CHAT_HELP))

    def _summarise(self) -> None:
        """The conversation begins again, with what was said so far in short."""
        if not self._begun:
            self.line.say(texts.CHAT_NOTHING)
            return
        try:
            self._begin(run(SummariseJob(self.chat, self.messages), self.line))
        except Ended:
            return
        self.line.say(f"{self.summary}\n{texts.CHAT_SUMMARISED}")

    def _answer(self, text: str) -> int:
        pieces: list[str] = []

        def show(piece: str) -> None:
            pieces.append(piece)
            if not self.args.json:
                _write(piece)

        before = f"{self.summary}\n\n" if self.summary else ""
        asked = (*self.messages, Message("user", before + text))
        try:
            answer: Answer = run(AnswerJob(self.chat, asked, sampling(self.args)), self.line, show)
        except Ended as ended:
            _write("\n" if pieces and not self.args.json else "")
            if self._begun and getattr(ended.error, "code", "") == "context-full":
                self.line.say(texts.CHAT_FULL)
            if ended.status == STOPPED:
                self._keep(asked, "".join(pieces))
                self.line.say(texts.CHAT_STOPPED)
            return ended.status
        if self.args.json:
            _write(as_json(answer) + "\n")
        else:
            _write("\n")
            self.line.say(_stats(answer))
        self._keep(asked, answer.text)
        return DONE


def header(chat: ChatSession) -> str:
    """What is open, and on what it runs."""
    device = where(chat.placed, f"{chat.isa}, {chat.threads} threads")
    names = {key: getattr(chat, key) for key in ("name", "family", "n_ctx")}
    start = texts.CHAT_START.format(**names, device=device, help=texts.CHAT_HELP)
    return f"{start}\n{texts.CHAT_TEMPLATE.format(template=chat.template)}" if chat.template else start


def sampling(args: argparse.Namespace) -> Sampling:
    """The sampling options as given on the command line."""
    return Sampling(
        temperature=args.temperature,
        top_p=args.top_p,
        top_k=args.top_k,
        min_p=args.min_p,
        repeat_penalty=args.repeat_penalty,
        seed=args.seed,
        max_tokens=args.max_tokens,
    )


def _system(args: argparse.Namespace) -> tuple[Message, ...]:
    return (Message("system", args.system),) if args.system else ()


def _write(text: str) -> None:
    # a file or another program gets the answer as it is
    print(visible(text) if sys.stdout.isatty() else text, end="", flush=True)


def _stats(answer: Answer) -> str:
    return texts.CHAT_STATS.format(
        tokens=answer.tokens,
        tokens_per_second=answer.tokens_per_second,
        seed=answer.seed,
        reason=texts.CHAT_REASONS[answer.finish],
    )


def _use_readline() -> None:
    """Line editing and history where Python has it (not on Windows, whose console brings its own)."""
    try:
        import readline  # noqa: F401
    except ImportError:
        return
