"""How long the window is held up by a chat, and how soon Stop stops: python tools/measure_chat.py MODEL

Prints, for each part of a chat, the longest time of the processor that one event took on the window's thread
(waiting for other programs does not count), and the milliseconds from Stop to the next question. Needs no screen.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import QEvent, QEventLoop, QObject, QTimer
from PySide6.QtWidgets import QApplication

from bitconverter.gui.appearance import prepare
from bitconverter.gui.chat_page import ChatPage, State
from bitconverter.settings import Settings
from bitconverter.store.records import Chat, Node

ANSWER = "Here is **text** with `code`.\n\n```python\ndef f(x):\n    return x * 2\n```\n\n- one\n- two\n\n"
QUESTION = "Write a long tutorial about Python lists with many code examples."


class Watched(QApplication):
    """Measures every event that the loop hands out."""

    longest = 0.0
    _inside = False

    def notify(self, receiver: QObject, event: QEvent) -> bool:
        if self._inside:  # sent by another event: counts as part of that one
            return super().notify(receiver, event)
        self._inside = True
        begun = time.thread_time()
        try:
            return super().notify(receiver, event)
        finally:
            self._inside = False
            self.longest = max(self.longest, time.thread_time() - begun)

    def report(self, part: str) -> None:
        """Print the longest event since the last report."""
        print(f"{part}: longest event {self.longest * 1000:.0f} ms", flush=True)
        self.longest = 0.0


def wait(condition: Callable[[], bool]) -> None:
    """Run the event loop until `condition` holds."""
    while not condition():
        loop = QEventLoop()
        QTimer.singleShot(20, loop.quit)
        loop.exec()


def settle(seconds: float = 0.5) -> None:
    """Let what was begun end."""
    end = time.monotonic() + seconds
    wait(lambda: time.monotonic() > end)


def measure(app: Watched, page: ChatPage, model: str) -> None:
    """All parts, one after the other."""
    page.open_model(model)
    wait(lambda: page.state is State.READY)
    settle()
    app.report("opening a model")
    page.drawer.numbers["max_tokens"].field.setValue(300)
    page.composer.set_text(QUESTION)
    page.send()
    wait(lambda: page.state is State.READY)
    app.report("an answer of 300 tokens")
    stops = []
    for _ in range(5):
        page.drawer.numbers["max_tokens"].field.setValue(2000)
        page.composer.set_text("Tell a very long story.")
        page.send()
        wait(lambda: len(page.log.turns[-1].text) > 30)
        begun = time.perf_counter()
        page.stop()
        while page.state is not State.READY:
            app.processEvents()
        stops.append(time.perf_counter() - begun)
    print("stop:", " ".join(f"{1000 * stop:.0f}" for stop in stops), "ms")
    app.report("stopping")
    nodes: list[Node] = []
    for number in range(400):
        parent = nodes[-1].id if nodes else None
        text = ANSWER * 3 if number % 2 else QUESTION
        nodes.append(Node("assistant" if number % 2 else "user", text, parent, ending="stop"))
    chat = Chat(title="long")
    page.store.ask(lambda store: store.import_chat(chat, nodes))
    page.open_chat(chat.id)
    wait(lambda: len(page.view._messages) >= 60)
    settle()
    app.report("opening a chat of 400 messages")
    page.history.search.setText("tutorial")
    settle()
    app.report("searching it")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a model folder or a .gguf file")
    arguments = parser.parse_args()
    app = Watched(sys.argv[:1])
    sys.setswitchinterval(0.0005)  # as in app.py
    with tempfile.TemporaryDirectory() as place:
        os.environ["BITCONVERTER_HOME"] = place
        settings = Settings(Path(place) / "settings.json")
        prepare(app, settings)
        page = ChatPage(settings)
        page.resize(1180, 780)
        page.show()
        try:
            measure(app, page, arguments.model)
        finally:
            page.stop_and_wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
