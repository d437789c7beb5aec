"""A film of the window, from a model to a chat with it: python tools/demo_video.py OUT.gif --model FOLDER_OR_GGUF

The real window does the real work on a screen of Xvfb, where there is one; waiting is shortened, and nothing else is.
The answer comes at its own speed. Needs ffmpeg, and a font with Japanese letters for --language ja.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # Qt itself is loaded when the screen is there
    from PySide6.QtWidgets import QApplication, QWidget

    from bitconverter.gui.convert_page import ConvertPage
    from bitconverter.gui.main_window import MainWindow

SIZE = (1024, 640)  # pixels of the window
WIDTH = 800  # of the film
FRAMES = 8  # a second
WORK_SECONDS = 10.0  # of the film for the conversion, however long it takes
QUESTION = {
    "en": "Write a haiku about a small but clever computer.",
    "ja": "小さくて賢いコンピューターを一文で紹介してください。",
}
PATIENCE = 90 * 60  # seconds


@contextmanager
def screen() -> Iterator[None]:
    """A screen of Xvfb that Qt opens its window on; without Xvfb Qt's own screen in memory."""
    program = shutil.which("Xvfb")
    if program is None:
        os.environ["QT_QPA_PLATFORM"] = "offscreen"
        yield
        return
    reading, writing = os.pipe()  # it says its number there when it is ready
    words = [
        program,
        "-displayfd",
        str(writing),
        "-screen",
        "0",
        f"{SIZE[0]}x{SIZE[1]}x24",
        "-nolisten",
        "tcp",
    ]
    server = subprocess.Popen(
        words, pass_fds=(writing,), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(writing)
    try:
        with os.fdopen(reading) as said:
            os.environ["DISPLAY"] = f":{int(said.readline())}"
        os.environ["QT_QPA_PLATFORM"] = "xcb"
        yield
    finally:
        server.terminate()
        server.wait()


class Film:
    """Frames of the window with the seconds that each is shown, written as a GIF by ffmpeg."""

    def __init__(self, folder: Path, window: "QWidget") -> None:
        self._folder, self._window = folder, window
        self.frames: list[tuple[Path, float]] = []

    def shoot(self, seconds: float) -> None:
        """The window as it is now, for so many seconds."""
        from PySide6.QtWidgets import QApplication

        for _ in range(4):  # layouts inside layouts take a round each
            QApplication.processEvents()
        path = self._folder / f"{len(self.frames):05}.png"
        self._window.grab().save(str(path))
        self.frames.append((path, seconds))

    def write(self, out: Path) -> None:
        """All frames, with a palette made for them."""
        listed = "".join(f"file '{path}'\nduration {seconds:.3f}\n" for path, seconds in self.frames)
        (self._folder / "list.txt").write_text(listed + f"file '{self.frames[-1][0]}'\n", encoding="utf-8")
        graph = f"fps={FRAMES},scale={WIDTH}:-1:flags=lanczos,split[a][b];"
        graph += (
            "[a]palettegen=max_colors=96:stats_mode=diff[p];[b][p]paletteuse=dither=none:diff_mode=rectangle"
        )
        words = [
            "ffmpeg",
            "-v",
            "error",
            "-y",
            "-f",
            "concat",
            "-safe",
            "0",
            "-i",
            str(self._folder / "list.txt"),
        ]
        subprocess.run([*words, "-filter_complex", graph, str(out)], check=True)


def play(model: Path, place: Path, language: str, method: str, out: Path) -> None:
    """The whole story."""
    from PySide6.QtWidgets import QApplication

    app = QApplication(sys.argv[:1])
    window = opened(app, place, language, method)
    film = Film(place, window)
    try:
        convert(film, window.convert, model)
        look_at_the_result(film, window.convert)
        ask(film, window, QUESTION[language])
    finally:
        window.stop_and_wait()
    film.write(out)
    print(f"{out}: {sum(s for _, s in film.frames):.0f} s, {out.stat().st_size / 1e6:.2f} MB")


def opened(app: "QApplication", place: Path, language: str, method: str) -> "MainWindow":
    """The window on the screen, at the page that converts."""
    from bitconverter.gui.appearance import prepare
    from bitconverter.gui.main_window import MainWindow
    from bitconverter.settings import Settings

    settings = Settings(place / "settings.json")
    settings["language"], settings["theme"], settings["method"] = language, "light", method
    settings["history_open"] = False
    prepare(app, settings)
    window = MainWindow(settings)
    window.resize(*SIZE)
    window.show()
    window.show_page("convert")
    return window


def convert(film: Film, page: "ConvertPage", model: Path) -> None:
    """From the empty page to the finished conversion."""
    from bitconverter.gui.convert_page import State

    film.shoot(1.5)
    page.choose_source(str(model))
    film.shoot(0.5)
    wait(lambda: page.state is State.READY and not page.busy)
    film.shoot(2.5)
    page.target_card.sizes.cards["best"].click()
    wait(lambda: page.state is State.READY and not page.busy)
    film.shoot(2.0)
    page.convert_button.click()
    shown = 0.0

    def work() -> None:
        nonlocal shown
        item = page.queue.current
        if item is not None and item.activity.share >= shown + 1 / (FRAMES * WORK_SECONDS):
            shown = item.activity.share
            film.shoot(1 / FRAMES)

    wait(lambda: not page.busy, work)
    film.shoot(4.0)


def look_at_the_result(film: Film, page: "ConvertPage") -> None:
    """Down the page."""
    bar = page.area.verticalScrollBar()
    for step in range(1, 2 * FRAMES):
        bar.setValue(step * 30)
        film.shoot(1 / FRAMES)
    film.shoot(3.0)


def ask(film: Film, window: "MainWindow", question: str) -> None:
    """A question to the new model, typed, and its answer as fast as it comes."""
    from bitconverter.gui.chat_page import State

    chat = window.chat
    window.convert.run_card.done.chat_button.click()
    wait(lambda: chat.state is State.READY)
    chat.drawer.numbers["temperature"].field.setValue(0.0)
    chat.drawer.numbers["max_tokens"].field.setValue(90)
    film.shoot(1.0)
    for count in range(0, len(question) + 1, 3):
        chat.composer.set_text(question[:count])
        film.shoot(1 / FRAMES)
    chat.composer.set_text(question)
    film.shoot(0.5)
    chat.send()
    last = time.monotonic()

    def answer() -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= 1 / FRAMES:
            film.shoot(now - last)
            last = now

    wait(lambda: chat.state is State.READY, answer)
    film.shoot(4.0)


def wait(condition: Callable[[], bool], each: Callable[[], None] = lambda: None) -> None:
    """Let the window work until `condition` holds."""
    from PySide6.QtWidgets import QApplication

    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("gave up waiting for the window")
        QApplication.processEvents()
        each()
        time.sleep(0.01)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the film, a .gif")
    parser.add_argument("--model", type=Path, required=True, help="a Hugging Face folder")
    parser.add_argument("--name", help="of the model's folder in the film")
    parser.add_argument("--language", choices=tuple(QUESTION), default="en")
    parser.add_argument("--method", choices=("full", "fast"), default="full", help="of the conversion")
    parser.add_argument("--place", type=Path, default=Path("/srv/film"), help="a new folder for the models")
    arguments = parser.parse_args()
    arguments.place.mkdir(parents=True)
    home = Path(tempfile.mkdtemp(prefix="film-"))
    os.environ["BITCONVERTER_HOME"] = str(home)
    try:
        model = arguments.place / (arguments.name or arguments.model.name)
        shutil.copytree(arguments.model, model)
        with screen():
            play(model, home, arguments.language, arguments.method, arguments.out)
    finally:
        for folder in (home, arguments.place):
            shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
