"""The application: error hooks, signals, and the one window."""

import faulthandler
import os
import signal
import sys
from pathlib import Path
from typing import IO, Any

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication

from bitconverter import __version__, paths
from bitconverter.gui.appearance import prepare
from bitconverter.gui.crash_dialog import CrashHooks
from bitconverter.gui.job_worker import JobWorker
from bitconverter.gui.main_window import MainWindow
from bitconverter.gui.single_instance import SingleInstance
from bitconverter.jobs.scratch import SweepJob
from bitconverter.settings import Settings

NO_SCREEN = (
    "There is no screen to open the window on (DISPLAY and WAYLAND_DISPLAY are not set). "
    "Use a verb instead, such as `bitconverter chat MODEL`; `bitconverter --help` lists them."
)


def main(argv: list[str], model: str | None = None, self_test: str | None = None) -> int:
    """Open the window and stay until it is closed; `model` is opened in the chat. Returns the exit code.

    `argv`: the program's name and options of Qt. `self_test`: try everything instead, and write what was
    found to that file.
    """
    if not screen_there(argv):
        print(NO_SCREEN, file=sys.stderr)
        return 1
    if self_test is not None:
        from bitconverter.gui.self_test import main as run_self_test

        return run_self_test(self_test, lambda: _make_app(argv))
    app = _make_app(argv)
    files = [] if model is None else [str(Path(model).absolute())]
    instance = SingleInstance(paths.config_folder())
    if not instance.is_first(files):
        return 0
    settings = Settings(paths.settings_file())
    prepare(app, settings)
    native_faults, faulted = _watch_native_faults()
    # The worker needs Python between two tokens; by default the window could keep it waiting 5 ms each time.
    sys.setswitchinterval(0.0005)
    hooks = CrashHooks()
    hooks.install()
    window = MainWindow(settings)
    instance.called.connect(window.take_files)
    if files:
        QTimer.singleShot(0, window, lambda: window.take_files(files))
    window.show()
    if instance.cut_off:
        window.say_it_was_cut_off(faulted)
    before = _close_on_signals(window)
    sweeper = JobWorker(SweepJob(str(paths.config_folder())))  # may be gigabytes of a killed process
    window.appeared.connect(sweeper.start)
    try:
        return app.exec()
    finally:
        window.stop_and_wait()
        sweeper.wait()
        instance.close()
        hooks.remove()
        for number, handler in before.items():
            signal.signal(number, handler)
        if native_faults is not None:
            faulthandler.disable()
            native_faults.close()


def _make_app(argv: list[str]) -> QApplication:
    app = QApplication(argv or ["bitconverter"])
    app.setApplicationName("BitConverter")
    app.setApplicationVersion(__version__)
    return app


def screen_there(argv: list[str]) -> bool:
    """Whether a window can be shown at all: without a display server Qt would abort the process."""
    if not sys.platform.startswith("linux") or "-platform" in argv:
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))


def _close_on_signals(window: MainWindow) -> dict[signal.Signals, Any]:
    """Ctrl+C in the terminal closes the window like its button does; a request to end, as at the end of the
    session, closes it without a question. Returns the handlers from before."""
    timer = QTimer(window)
    timer.timeout.connect(lambda: None)  # Python sees a signal only when it runs
    timer.start(250)
    return {
        signal.SIGINT: signal.signal(signal.SIGINT, lambda _number, _frame: window.close()),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda _number, _frame: window.stop_and_close()),
    }


def _watch_native_faults() -> tuple[IO[str] | None, bool]:
    """Where a crash of native code leaves its traces, None when no file can be written; and whether one of before
    has left some, which are kept beside it."""
    log = paths.log_folder() / "native-crash.log"
    faulted = False
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        faulted = log.exists() and log.stat().st_size > 0
        if faulted:
            log.replace(log.with_name("native-crash.before.log"))
        file = log.open("a", encoding="utf-8")
    except OSError as error:
        if sys.stderr is not None:
            print(f"no crash log: {error}", file=sys.stderr)
        return None, faulted
    faulthandler.enable(file)
    return file, faulted
