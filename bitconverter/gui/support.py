"""The support file: what helps with a report, nothing of chats, and nothing that says who the user is."""

import getpass
import json
import os
import platform
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import psutil
import PySide6

from bitconverter import __version__, paths
from bitconverter.settings import SETTINGS, Settings

MOST_LOG = 200_000  # characters of each log: its end


def redactor() -> Callable[[str], str]:
    """A function that takes the user's name, home folder, PC and addresses out of a text."""
    home, user, pc = str(Path.home()), getpass.getuser(), platform.node()
    words = [(home, "<home>"), (home.replace("\\", "\\\\"), "<home>")]
    words += [(word, mark) for word, mark in ((user, "<user>"), (pc, "<pc>")) if is_telling(word)]

    def redact(text: str) -> str:
        for word, mark in words:
            text = re.sub(re.escape(word), mark, text, flags=re.IGNORECASE)
        text = re.sub(r"[\w.+-]+@[\w-]+\.[\w.]+", "<mail>", text)
        text = re.sub(r"\b(hf|sk|ghp)_?[A-Za-z0-9]{16,}\b", "<token>", text)
        return re.sub(r"(?i)([A-Z]:\\{1,2}Users\\{1,2}|/home/|/Users/)[^\\/\"'\r\n]+", r"\1<user>", text)

    return redact


def is_telling(word: str) -> bool:
    """Whether `word` is no part of other words by chance: two letters are a syllable in English, a name in Japanese."""
    return len(word) > 2 or (len(word) > 1 and not word.isascii())


def contents(settings: Settings, selftest: str = "") -> dict[str, str]:
    """The files of the support zip, by name, as the user gets to see them before anything is written."""
    redact = redactor()
    memory = psutil.virtual_memory()
    about = {
        "BitConverter": __version__, "Python": platform.python_version(), "Qt": PySide6.__version__,
        "system": platform.platform(), "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(), "memory": memory.total, "memory free": memory.available,
    }  # fmt: skip
    chosen = {s.key: settings[s.key] for s in SETTINGS if not s.private}
    files = {"about.json": json.dumps(about, indent=2), "settings.json": json.dumps(chosen, indent=2)}
    if selftest:
        files["selftest.txt"] = selftest
    for log in sorted(paths.log_folder().glob("*.log*")) if paths.log_folder().is_dir() else []:
        try:
            files[log.name] = log.read_text(encoding="utf-8", errors="replace")[-MOST_LOG:]
        except OSError as error:
            files[log.name] = f"could not be read: {error.strerror}"
    return {name: redact(text) for name, text in files.items()}


def write_zip(path: str, files: dict[str, str]) -> None:
    """Raises OSError."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
