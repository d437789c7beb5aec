"""`bitconverter --selftest OUT.json`: does this installation work, window included? The exit code tells.

Everything is tried for real in a temporary folder with a difficult name; the user's settings, models and chats
are not touched. OUT.json holds one entry per part with "ok", its numbers or its error, and seconds; beside it
OUT.png shows the window as it was painted. Packagers and tests run this on the frozen program.
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PySide6 import __version__ as pyside_version
from PySide6.QtCore import QCoreApplication, QEvent, QStandardPaths, Qt, QUrl, qVersion
from PySide6.QtGui import QGuiApplication, QImage, QKeyEvent
from PySide6.QtWidgets import QApplication, QFileDialog, QWidget

from bitconverter.gui import messages
from bitconverter.gui.choose import notes_put_back
from bitconverter.gui.process_age import process_age
from bitconverter.jobs.long_path import plain
from bitconverter.jobs.needing import DIFFICULT_NAME, need
from bitconverter.jobs.scratch import scratch_folder, temporary_folder
from bitconverter.settings import Settings

WAIT = 120.0  # seconds for one thing to happen; a bound for a broken program
# What a start does without: the network, training; and what takes long to load before it is needed.
NOT_AT_START = (
    "torch", "ssl", "http.client", "requests", "urllib3", "huggingface_hub",
    "numpy", "tokenizers", "jinja2", "gguf", "yaml", "markdown_it", "pygments", "pypdfium2", "docx", "lxml", "PIL",
    "charset_normalizer", "pyqtgraph", "wakepy",
)  # fmt: skip


class Report:
    """What each part found; `run` never raises."""

    def __init__(self) -> None:
        self.parts: dict[str, dict[str, Any]] = {}

    def run(self, name: str, part: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Run one part and keep its result; an empty dict if it failed."""
        started = time.monotonic()
        try:
            result = part()
            entry = {"ok": True, **result}
        except Exception as error:
            result = {}
            entry = {
                "ok": False,
                "error": f"{type(error).__name__}: {error}",
                "trace": traceback.format_exc(),
            }
        self.parts[name] = {**entry, "seconds": round(time.monotonic() - started, 3)}
        return result

    @property
    def ok(self) -> bool:
        return all(part["ok"] for part in self.parts.values())


class Watch:
    """What Python code of this process does outside: connections, and files opened for writing."""

    def __init__(self) -> None:
        self.connections: list[str] = []
        self.written: set[str] = set()
        sys.addaudithook(self._see)  # cannot be taken away again; the process ends with the self-test

    def _see(self, event: str, words: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
            self.connections.append(
                f"{event} {words[1:]!r}" if event != "socket.getaddrinfo" else repr(words)
            )
        elif event == "open" and isinstance(words[0], str | bytes | os.PathLike):
            mode, flags = words[1], words[2]
            writes = any(letter in mode for letter in "wax+") if isinstance(mode, str) else flags & 3
            if writes:
                self.written.add(os.path.abspath(os.fsdecode(words[0])))


def main(out: str, make_app: Callable[[], QApplication]) -> int:
    """Run every part and write `out`; 0 when all went well. `make_app` makes the application with its options."""
    watch, report = Watch(), Report()
    target = Path(out).absolute()
    with _own_folder() as folder:
        app = make_app()
        report.run("start", lambda: _start(app, folder))  # first: it tells the time since the process began
        from bitconverter.jobs import (
            self_test as parts,
        )  # after it: this imports all that a start does without
        from bitconverter.jobs.self_test_documents import documents

        report.run("versions", lambda: {**parts.installation(), "qt": qVersion(), "pyside": pyside_version})
        report.run("engine", parts.engine)
        report.run("graphics cards", parts.graphics_cards)
        model = report.run("convert", lambda: parts.convert(folder)).get("model")
        if model is not None:
            report.run("chat", lambda: parts.chat(model))
            report.run("window", lambda: _window(folder, model, target.with_suffix(".png")))
        report.run("database", lambda: parts.database(folder))
        report.run("documents", lambda: documents(folder))
        report.run("long path", lambda: parts.files(folder))
        report.run("curves", _curves)
        report.run("file dialog", lambda: _file_dialog(folder))
        report.run("outside", lambda: _outside(watch, folder, target))
    report.run("cleaned up", lambda: _gone(folder))
    result = {"ok": report.ok, "parts": report.parts}
    target.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return 0 if report.ok else 1


@contextmanager
def _own_folder() -> Iterator[Path]:
    """A temporary folder that also is the program's home; the environment is as before afterwards."""
    before = os.environ.get("BITCONVERTER_HOME")
    with scratch_folder() as top:
        folder = top / DIFFICULT_NAME
        folder.mkdir()
        os.environ["BITCONVERTER_HOME"] = str(folder / "home")
        try:
            yield folder
        finally:
            if before is None:
                os.environ.pop("BITCONVERTER_HOME")
            else:
                os.environ["BITCONVERTER_HOME"] = before


# ---- the window


def _start(app: QApplication, folder: Path) -> dict[str, Any]:
    """The window as at a first start: how long until it is painted, counted from the process's start."""
    from bitconverter.gui.appearance import prepare
    from bitconverter.gui.main_window import MainWindow

    settings = Settings(folder / "first" / "settings.json")
    prepare(app, settings)
    window = MainWindow(settings)
    ages, loaded = list[float](), list[str]()

    def painted() -> None:
        ages.append(process_age())
        loaded.extend(name for name in NOT_AT_START if name in sys.modules)

    window.appeared.connect(painted)
    window.show()
    _wait(lambda: bool(ages), "the window to appear")
    _close(window)
    need(not loaded, f"loaded at start: {', '.join(loaded)}")
    return {
        "platform": QGuiApplication.platformName(), "seconds_until_shown": round(ages[0], 2),
        "screen": f"{app.primaryScreen().size().width()} x {app.primaryScreen().size().height()}",
        "ratio": app.primaryScreen().devicePixelRatio(),
    }  # fmt: skip


def _window(folder: Path, model: str, picture: Path) -> dict[str, Any]:
    """Open the model in the window's chat, ask in Japanese, and see the Japanese answer painted."""
    from bitconverter.gui.main_window import MainWindow
    from bitconverter.jobs.self_test_model import SENTENCE

    settings = Settings(folder / "home" / "settings.json")
    settings["temperature"], settings["language"] = 0.0, "ja"
    messages.set_language("ja")
    window = MainWindow(settings)
    window.show()
    try:
        window.open_model(model)
        _wait(lambda: not window.chat.busy, "the model to open")
        window.chat.composer.set_text("日本語で話してください。")
        for kind in (QEvent.Type.KeyPress, QEvent.Type.KeyRelease):
            edit = window.chat.composer.edit
            QCoreApplication.sendEvent(
                edit, QKeyEvent(kind, Qt.Key.Key_Return, Qt.KeyboardModifier.NoModifier)
            )
        _wait(lambda: SENTENCE in _visible_text(window), "the answer to appear")
        _wait(lambda: not window.chat.busy, "the answer to end")
        image = window.grab().toImage()
        colors = _colors(image)
        need(colors > 20, f"the window is painted in {colors} colours")
        need(image.save(str(picture)), f"{picture} could not be written")
    finally:
        _close(window)
    return {"width": image.width(), "height": image.height(), "colors": colors, "picture": str(picture)}


def _curves() -> dict[str, Any]:
    """The library that draws a training's curves is there, with what it needs."""
    from bitconverter.gui.loss_plot import LossPlot

    plot = LossPlot()
    plot.resize(600, 300)
    plot.show_points([(1, 3.0), (2, 2.5), (3, 2.0)], [(0, 3.0), (3, 2.2)])
    colors = _colors(plot.grab().toImage())
    plot.deleteLater()
    need(colors > 5, f"the curves are painted in {colors} colours")
    return {"colors": colors}


def _visible_text(window: QWidget) -> str:
    """All text of the widgets on the screen."""
    found = list[str]()
    for widget in window.findChildren(QWidget):
        for name in ("toPlainText", "text"):
            read = getattr(widget, name, None)
            if widget.isVisible() and callable(read):
                found.append(str(read()))
                break
    return "\n".join(found)


def _colors(image: QImage) -> int:
    small = image.scaled(400, 300)
    return len({small.pixel(x, y) for x in range(small.width()) for y in range(small.height())})


def _wait(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WAIT
    while not condition():
        need(time.monotonic() < end, f"waited {WAIT:.0f} s for {what}")
        QCoreApplication.processEvents()
        time.sleep(0.002)


def _close(window: Any) -> None:
    window.stop_and_wait()
    window.close()
    window.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


# ---- surroundings


def _file_dialog(folder: Path) -> dict[str, Any]:
    """A file dialog and URLs keep a difficult path as it is; the system's usual folders are known."""
    path = folder / "モデル" / "config.json"
    with notes_put_back():
        dialog = QFileDialog()
        dialog.setOption(QFileDialog.Option.DontUseNativeDialog)
        dialog.setDirectory(str(path.parent))
        dialog.selectFile(path.name)
        chosen = dialog.selectedFiles()
        dialog.deleteLater()
        # it watches the folder: Windows keeps it
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    need([Path(name) for name in chosen] == [path], f"the dialog made {chosen} of {path}")
    dropped = Path(QUrl(QUrl.fromLocalFile(str(path)).toString()).toLocalFile())
    need(dropped == path and dropped.is_file(), f"the URL became {dropped}")
    usual = QStandardPaths.StandardLocation
    places = {
        name: QStandardPaths.writableLocation(place)
        for name, place in (("documents", usual.DocumentsLocation), ("temp", usual.TempLocation))
    }
    need(all(places.values()), f"the system names no folder: {places}")
    return {"chosen": chosen, **places}


def _outside(watch: Watch, folder: Path, target: Path) -> dict[str, Any]:
    """No connection was made, and nothing was written outside of the program's home and what was asked for.

    A temporary file that is gone again is nobody's trouble.
    """
    allowed = [Path(plain(str(place))) for place in (folder.parents[1], target.parent)]
    temporary = temporary_folder()
    strangers = sorted(
        name
        for name in map(plain, watch.written)
        if not name.lower().endswith(("/null", "\\nul"))  # the device that swallows
        and not any(Path(name).is_relative_to(place) for place in allowed)
        and (Path(name).exists() or not Path(name).is_relative_to(temporary))
    )
    need(not watch.connections, f"connections: {watch.connections}")
    need(not strangers, f"written elsewhere: {strangers}")
    return {"connections": 0, "files_written": len(watch.written)}


def _gone(folder: Path) -> dict[str, Any]:
    need(not folder.parents[1].exists(), f"{folder.parents[1]} could not be removed")
    return {}
