"""From an empty profile to the first answer: python tools/measure_first_answer.py [--model FOLDER]

Starts the window in a process of its own with an empty profile, presses "Try it now" on the Welcome page (or, with
--model, opens that model as its third card does), presses the first suggestion, and waits for the whole answer. Prints
the seconds since the start of the process at each step. Needs no screen.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

STEPS = ("window shown", "this PC described", "model open", "first word", "whole answer")


def walk(started: float, model: str) -> int:
    """In the child: the steps, one line each."""
    from PySide6.QtCore import QEventLoop, QTimer
    from PySide6.QtWidgets import QApplication, QPushButton

    from bitconverter.gui.appearance import prepare
    from bitconverter.gui.chat_page import State
    from bitconverter.gui.main_window import MainWindow
    from bitconverter.settings import Settings

    def wait(what: str, condition: Callable[[], bool]) -> None:
        while not condition():
            loop = QEventLoop()
            QTimer.singleShot(5, loop.quit)
            loop.exec()
        print(f"{what}: {time.time() - started:.1f} s", flush=True)

    app = QApplication(sys.argv[:1])
    settings = Settings(Path(os.environ["BITCONVERTER_HOME"]) / "settings.json")
    prepare(app, settings)
    window = MainWindow(settings)
    window.show()
    try:
        welcome, chat = window.pages["welcome"], window.chat
        assert window.page_name == "welcome", "an empty profile begins with the Welcome page"
        wait(STEPS[0], window.isVisible)
        wait(STEPS[1], lambda: welcome.hardware is not None)  # type: ignore[attr-defined]
        if model:
            window.take_files([model])
        elif welcome.try_card.isVisible():  # type: ignore[attr-defined]
            welcome.try_card.click()  # type: ignore[attr-defined]
        else:
            print("no sample came with this installation: give --model")
            return 1
        wait(STEPS[2], lambda: chat.state is State.READY)
        first = next(b for b in chat.start.findChildren(QPushButton) if b.isVisible())
        first.click()
        wait(STEPS[3], lambda: bool(chat.log.turns) and bool(chat.log.turns[-1].text))
        wait(STEPS[4], lambda: chat.state is State.READY)
        print(f"answer: {chat.log.turns[-1].text!r}")
    finally:
        window.stop_and_wait()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="", help="a model folder or a .gguf file instead of the sample")
    parser.add_argument("--started", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.started is not None:
        return walk(arguments.started, arguments.model)
    with tempfile.TemporaryDirectory() as home:
        environment = {"QT_QPA_PLATFORM": "offscreen", **os.environ, "BITCONVERTER_HOME": home}
        words = [sys.executable, __file__, "--started", str(time.time()), "--model", arguments.model]
        return subprocess.run(words, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
