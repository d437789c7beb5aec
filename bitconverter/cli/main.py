"""The `bitconverter` command: arguments to verbs. No verb opens the window."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bitconverter.cli import FAILED, STOPPED, texts

if TYPE_CHECKING:  # all else is imported where an interruption is caught
    import argparse


def main(argv: list[str] | None = None) -> int:
    """Run the command line; the exit status (texts.EPILOG lists them)."""
    try:
        with _interrupt_ends_at_once():
            from bitconverter.cli.arguments import build_parser
            from bitconverter.cli.terminal import make_streams_safe

        make_streams_safe()
        args = _parse(build_parser(), argv)
        if args.verb is not None:
            return _run_verb(args)
        return window(args.open, args.selftest, args.platform)
    except KeyboardInterrupt:  # outside of a job
        return STOPPED
    except _OutputFailed as failed:
        return _tell_output_failed(failed.error)


class _OutputFailed(Exception):
    """What was to be told could not be written: the disk is full, or nobody reads."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


def _parse(parser: "argparse.ArgumentParser", argv: list[str] | None) -> "argparse.Namespace":
    with _writing():
        try:
            return parser.parse_args(argv)
        finally:  # --help and --version end in here
            _flush()


def _run_verb(args: "argparse.Namespace") -> int:
    with _interrupt_ends_at_once():  # a verb loads the engine, which --help does not need
        from bitconverter.cli.running import Ended

        function = _function_of(args.verb)
    with _writing():  # jobs tell their own errors: an OSError that arrives here is that of writing
        try:
            status = function(args)
        except Ended as ended:
            if ended.status == STOPPED:
                print(
                    texts.STOPPED_CONVERT if args.verb in ("convert", "train") else texts.STOPPED,
                    file=sys.stderr,
                )
            status = ended.status
        _flush()
        return status


def _function_of(verb: str) -> "Callable[[argparse.Namespace], int]":
    """Its module is imported only now: what the other verbs need takes time and memory."""
    module: Any
    match verb:
        case "chat":
            from bitconverter.cli import chat as module
        case "convert" | "plan":
            from bitconverter.cli import convert_verbs as module
        case "prepare" | "train" | "adopt" | "replay" | "runs" | "merge":
            from bitconverter.cli import training_verbs as module
        case "evaluate" | "inspect" | "logits":
            from bitconverter.cli import model_verbs as module
        case _:
            from bitconverter.cli import benchmark_verbs as module
    function: Callable[[argparse.Namespace], int] = getattr(module, verb)
    return function


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _OutputFailed(error) from error


def _tell_output_failed(error: OSError) -> int:
    for stream in (sys.stdout, sys.stderr):  # what is still to be written would fail again at the end
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            _to_nowhere(stream)
    try:
        print(f"bitconverter: {texts.OUTPUT_FAILED.format(reason=error.strerror or error)}", file=sys.stderr)
    except OSError:  # that was the one that failed
        _to_nowhere(sys.stderr)
    return FAILED


def _to_nowhere(stream: Any) -> None:
    if stream is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()


@contextmanager
def _interrupt_ends_at_once() -> Iterator[None]:
    """While modules are imported there is nothing to put in order, and an exception there is seen by anybody."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    try:
        signal.signal(signal.SIGINT, lambda *_: os._exit(STOPPED))
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def window(model: str | None = None, self_test: str | None = None, platform: str | None = None) -> int:
    """Open the window, with `model` ready if one is given; or run the self-test. `platform`: Qt's, by name."""
    from bitconverter.gui.app import main as open_window

    qt_options = [] if platform is None else ["-platform", platform]
    return open_window([*sys.argv[:1], *qt_options], model, self_test)


if __name__ == "__main__":
    sys.exit(main())
