"""Screenshots of the real window doing real work: python tools/screenshots.py OUT_FOLDER --model FOLDER_OR_GGUF

Converts the model and talks to the result: every screen in its main states, in English and Japanese, light and dark.
Needs no screen, but a font with Japanese letters. With --guide only the pictures of docs/guide are made. The
models lie in --place, whose name is seen in the pictures.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
from PySide6.QtCore import QElapsedTimer, QEventLoop, Qt, QTimer
from PySide6.QtGui import QImage, qRgb
from PySide6.QtWidgets import QApplication

from bitconverter.gui.appearance import prepare
from bitconverter.gui.chat_page import State as ChatState
from bitconverter.gui.convert_page import State as ConvertState
from bitconverter.gui.main_window import MainWindow
from bitconverter.gui.shelf_page import ShelfPage
from bitconverter.gui.train_page import State as TrainState
from bitconverter.settings import Settings

SIZE = (1180, 780)
LOOKS = (("en", "light"), ("en", "dark"), ("ja", "light"), ("ja", "dark"))
BOTH = (("en", "light"), ("ja", "light"))
GUIDE = {  # what docs/guide and the README show
    "welcome": BOTH, "convert-1-empty": BOTH, "convert-3-ready": LOOKS, "convert-4-running": BOTH,
    "convert-6-done": BOTH, "train-2-ready": BOTH, "train-4-done": BOTH, "shelf": LOOKS,
    "chat-5-answered": LOOKS, "activity": BOTH, "settings": BOTH, "diagnostics": BOTH,
}  # fmt: skip
MOST_FREQUENT = 128  # of a picture's 256 colours
TRAIN_STEPS = 40  # of the sample lesson
PATIENCE_MS = 90 * 60 * 1000
ENGLISH = "Write a Python function that reverses a string, with an example."
JAPANESE = "「こんにちは、世界」を英語に訳してください。 Please translate this greeting."


class Camera:
    """The window in the four looks; each shot is taken in all of them."""

    def __init__(self, window: MainWindow, settings: Settings, out: Path, guide: bool) -> None:
        self.window, self._settings, self._out, self._guide = window, settings, out, guide

    def take(self, name: str, looks: tuple[tuple[str, str], ...] = LOOKS) -> None:
        """Write NAME-language-theme.png for each look; the work goes on meanwhile."""
        if self._guide:
            looks = GUIDE.get(name, ())
        for language, look in looks:
            self._settings["language"], self._settings["theme"] = language, look
            for key in ("language", "theme"):
                self.window.apply_setting(key)
            settle()
            path = self._out / f"{name}-{language}-{look}.png"
            few_colors(self.window.grab().toImage()).save(str(path))
            print(path, flush=True)


def few_colors(image: QImage) -> QImage:
    """The picture in 256 of its colours, which makes the file a third as large: the most frequent ones, and of the
    others (icons have few pixels) always the one that is farthest from all those."""
    image = image.convertToFormat(QImage.Format.Format_RGB32)
    pixels = np.frombuffer(image.constBits(), np.uint32).reshape(image.height(), -1)[:, : image.width()]
    packed, counts = np.unique(pixels & 0xFFFFFF, return_counts=True)
    colors = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=1).astype(np.int32)
    chosen = list(np.argsort(-counts, kind="stable")[:MOST_FREQUENT])
    distances = np.min([((colors - colors[k]) ** 2).sum(axis=1) for k in chosen], axis=0)
    while len(chosen) < min(256, len(colors)):
        chosen.append(int(distances.argmax()))
        distances = np.minimum(distances, ((colors - colors[chosen[-1]]) ** 2).sum(axis=1))
    table = [qRgb(*(int(part) for part in colors[k])) for k in chosen]
    return image.convertToFormat(QImage.Format.Format_Indexed8, table, Qt.ImageConversionFlag.ThresholdDither)


def settle() -> None:
    """Let layouts and repaints happen."""
    for _ in range(4):
        QApplication.processEvents()


def wait(what: str, condition: Callable[[], bool]) -> None:
    """Run the event loop until `condition` holds."""
    clock = QElapsedTimer()
    clock.start()
    while not condition():
        if clock.elapsed() > PATIENCE_MS:
            sys.exit(f"gave up waiting for: {what}")
        loop = QEventLoop()
        QTimer.singleShot(20, loop.quit)
        loop.exec()
    settle()


def shoot_convert(camera: Camera, source: Path, folder: Path, short: bool) -> str:
    """The convert page from empty to done; returns the converted folder."""
    page, queue = camera.window.convert, camera.window.convert.queue
    camera.window.show_page("convert")
    camera.take("convert-1-empty")
    page.choose_source(str(folder))
    wait("a refusal", lambda: page.state is ConvertState.BLOCKED and not page.busy)
    camera.take("convert-2-blocked")
    page.choose_source(str(source))
    wait("the checks", lambda: page.state is ConvertState.READY and not page.busy)
    page.target_card.sizes.cards["4gb"].click()
    wait("the checks", lambda: page.state is ConvertState.READY and not page.busy)
    camera.take("convert-3-ready")
    job = page.job()
    if short:  # less text, nothing trained: other figures than those that were expected
        page.queue.add(replace(job, calibration_windows=8, polish=0))
    else:
        page.convert()
    wait("a third of the work", lambda: page.run_card.bar.value() > 330 or not queue.items)
    if queue.items:
        camera.take("convert-4-running")
        queue.pause()
        wait("the pause", lambda: not page.converting)
        camera.take("convert-5-paused")
        queue.resume_current()
    wait("the end", lambda: not page.converting)
    camera.take("convert-6-done")
    page.area.verticalScrollBar().setValue(page.area.verticalScrollBar().maximum() // 3)
    camera.take("convert-7-answers")
    page.area.verticalScrollBar().setValue(0)
    done = queue.last
    if done is None or done.result is None:
        sys.exit(page.console.text())
    return done.result.out


def shoot_shelf(camera: Camera, folder: Path) -> None:
    """The shelf with an original and what was made of it."""
    window = camera.window
    page = cast(ShelfPage, window.pages["shelf"])
    window.show_page("shelf")
    page.add_folder(str(folder))
    wait("the scan", lambda: not page.busy)
    page.tree.setCurrentIndex(page.model.index(0, 0, page.model.index(0, 0)))
    camera.take("shelf")


def shoot_train(camera: Camera, model: str) -> None:
    """The train page from empty to a finished training of the sample lesson."""
    page = camera.window.train
    camera.window.show_page("train")
    page.choose_model(model)
    camera.take("train-1-empty")
    page.take_sample()
    wait("the estimate", lambda: not page.busy)
    camera.take("train-2-ready")
    page.strengths.cards["custom"].click()
    page.steps.setValue(TRAIN_STEPS)
    page.train()
    wait(
        "half of the steps",
        lambda: len(page.card.plot.losses) >= TRAIN_STEPS // 2 or page.state is TrainState.DONE,
    )
    camera.take("train-3-running")
    wait("the end", lambda: not page.busy)
    page.soul_actions.compare()
    wait("the answers", lambda: not page.busy)
    camera.take("train-4-done")


def shoot_chat(camera: Camera, model: str) -> None:
    """The chat page from empty to two answers, and the settings."""
    window, page = camera.window, camera.window.chat
    window.show_page("chat")
    camera.take("chat-1-empty")
    page.drawer.numbers["temperature"].field.setValue(0.0)
    page.drawer.numbers["max_tokens"].field.setValue(160)
    window.open_model(model)
    camera.take("chat-2-loading", LOOKS[:1])
    wait("the model", lambda: page.state is ChatState.READY)
    camera.take("chat-3-ready")
    page.composer.set_text(ENGLISH)
    page.send()
    wait("some words", lambda: len(page.log.turns[-1].text) > 60 or page.state is ChatState.READY)
    camera.take("chat-4-answering", LOOKS[:1])
    wait("the answer", lambda: page.state is ChatState.READY)
    page.composer.set_text(JAPANESE)
    page.send()
    wait("the answer", lambda: page.state is ChatState.READY)
    page.view.verticalScrollBar().setValue(0)
    camera.take("chat-5-answered")
    page.bar.drawer_button.click()
    camera.take("chat-6-settings")
    page.bar.drawer_button.click()
    page.history.search.setText("世界")
    wait("what is found", lambda: any(row.message for row in page.history.model.rows()))
    camera.take("chat-7-search", LOOKS[2:3])
    page.history.search.clear()
    for name in ("welcome", "activity", "settings", "diagnostics", "about", "shortcuts"):
        window.show_page(name)
        wait("the page", lambda: not window.busy)
        camera.take(name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder for the pictures")
    parser.add_argument("--model", type=Path, required=True, help="a Hugging Face folder or a .gguf file")
    parser.add_argument("--method", choices=("full", "fast"), default="full", help="of the conversion")
    parser.add_argument("--guide", action="store_true", help="only the pictures of docs/guide")
    parser.add_argument("--short", action="store_true", help="calibrate on less text, without the polish")
    parser.add_argument("--place", type=Path, default=Path("/srv/models"), help="a new folder for the models")
    parser.add_argument("--name", help="of the model's folder in the pictures")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    app = QApplication(sys.argv[:1])
    arguments.place.mkdir(parents=True)
    place = Path(tempfile.mkdtemp(prefix="screenshots-"))
    os.environ["BITCONVERTER_HOME"] = str(place)
    settings = Settings(place / "settings.json")
    settings["language"], settings["theme"], settings["method"] = "en", "light", arguments.method
    prepare(app, settings)
    window = MainWindow(settings)
    window.resize(*SIZE)
    window.show()
    try:
        work = arguments.place
        source = work / (arguments.name or arguments.model.name)
        if arguments.model.is_dir():
            shutil.copytree(arguments.model, source)
        else:
            shutil.copyfile(arguments.model, source)
        camera = Camera(window, settings, arguments.out, arguments.guide)
        model = shoot_convert(camera, source, work, arguments.short)
        shoot_shelf(camera, work)
        shoot_train(camera, model)
        shoot_chat(camera, model)
    finally:
        window.stop_and_wait()
        for folder in (place, arguments.place):
            shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
