"""Teach a model a lesson and draw what came of it: the curve, and questions that were held back, before and after.

Usage: python tools/lesson_picture.py MODEL OUT [--lesson FILE] [--steps 30] [--rate R] [--plain] [--labels L L]

MODEL is a converted folder, LESSON what `prepare` takes (without it, the sample lesson of the window, in English). OUT
becomes OUT-en.png and OUT-ja.png: the Train page's own view of a training that has ended, in both languages. Everything
in it is measured in this call: `prepare`, `train` and the comparison of answers are the program's own jobs. Prints the
date, the machine and the numbers. Needs no screen, but a font with Japanese letters.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtWidgets import QApplication
from screenshots import few_colors

from bitconverter.gui import messages
from bitconverter.gui.appearance import prepare as prepare_window
from bitconverter.gui.taught_view import Taught, TaughtView
from bitconverter.jobs.benchmark import machine
from bitconverter.jobs.compare_answers import CompareAnswersJob, Compared
from bitconverter.jobs.job import Cancel, Event, Finished, Job, Metric, run_job
from bitconverter.jobs.prepare import PrepareJob
from bitconverter.jobs.train import TrainJob
from bitconverter.jobs.train_result import TrainResult
from bitconverter.settings import Settings

WIDTH = 900  # logical pixels
NAME = "lesson"
Curves = dict[str, list[tuple[int, float]]]


def result_of(job: Job, curves: Curves | None = None) -> Any:
    """What a job gives; what it tells of losses goes into `curves`."""

    def take(event: Event) -> None:
        if curves is not None and isinstance(event, Metric) and event.name in curves:
            curves[event.name].append((event.step, event.value))

    last = run_job(job, take, Cancel())
    if not isinstance(last, Finished):
        sys.exit(str(last))
    return last.result


def teach(args: argparse.Namespace) -> tuple[TrainResult, Curves, tuple[Compared, ...]]:
    """In the folder of now."""
    curves: Curves = {"loss": [], "validation": []}
    with contextlib.ExitStack() as stack:
        sample = files("bitconverter.resources") / "lessons" / "sample-en.jsonl"
        lesson = args.lesson or stack.enter_context(as_file(sample))
        kind = "plain" if args.plain or args.labels else "auto"
        result_of(
            PrepareJob(
                str(args.model), (str(lesson),), f"{NAME}.u32", args.window, share=args.held, style=kind
            )
        )
    job = TrainJob(
        str(args.model), f"{NAME}.u32", f"{NAME}.soul", steps=args.steps, batch=args.batch, window=args.window,
        layers=args.layers, rate=args.rate, labels=tuple(args.labels), threads=args.threads,
    )  # fmt: skip
    done = result_of(job, curves)
    return (
        done,
        curves,
        result_of(CompareAnswersJob(str(args.model), done.out, f"{NAME}.u32", most=args.answers)),
    )


def draw(done: TrainResult, curves: Curves, answers: tuple[Compared, ...], model: str, out: Path) -> None:
    """As the window shows it."""
    app = QApplication(sys.argv[:1])
    settings = Settings(Path("settings.json"))
    settings["theme"] = "light"
    prepare_window(app, settings)
    view = TaughtView()
    view.show_taught(
        Taught(
            done.out, model, done.before, done.after, done.best_step, done.steps, done.seconds, f"{NAME}.u32",
            done.forgetting, done.set_aside,
        )
    )  # fmt: skip
    view.show_curves(curves["loss"], curves["validation"])
    view.show_answers(answers)
    layout = view.layout()
    assert layout is not None
    view.setFixedWidth(WIDTH)
    view.name.setReadOnly(True)  # no cursor in the picture
    for language in ("en", "ja"):
        messages.set_language(language)
        view.retranslate()
        view.show()
        for _ in range(5):  # layouts settle, then text that wraps
            app.processEvents()
            view.resize(WIDTH, layout.totalHeightForWidth(WIDTH))
        few_colors(view.grab().toImage()).save(f"{out}-{language}.png")
    view.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--lesson", type=Path)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--held", type=float, default=0.2, help="the share that is held back, and asked")
    parser.add_argument("--answers", type=int, default=3)
    parser.add_argument("--plain", action="store_true", help="without the chat template")
    parser.add_argument("--labels", nargs="+", default=())
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    args.model, out = args.model.resolve(), args.out.resolve()
    args.lesson = args.lesson and args.lesson.resolve()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        done, curves, answers = teach(args)
        draw(done, curves, answers, str(args.model), out)
    print(f"{time.strftime('%Y-%m-%d')}, {machine()}, {args.threads} threads, {args.model.name}")
    print(
        f"on what was held back: {done.before:.3f} to {done.after:.3f} nats per token, best at step {done.best_step}"
    )
    if done.forgetting:
        print(f"on a general text: {done.forgetting.before:.3f} to {done.forgetting.after:.3f}")
    for one in answers:
        print(f"{one.prompt!r}: {one.before!r} -> {one.after!r} (lesson: {one.wanted!r})")


if __name__ == "__main__":
    main()
