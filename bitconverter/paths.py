"""Where the app keeps its own files. Only cli and gui ask; jobs are told their folders."""

import os
from pathlib import Path

import platformdirs

_NAME = "BitConverter"


def config_folder() -> Path:
    """Settings live here. `BITCONVERTER_HOME` moves everything to one folder (portable use, tests)."""
    home = os.environ.get("BITCONVERTER_HOME")
    if home:
        return Path(home)
    return Path(platformdirs.user_config_path(_NAME, appauthor=False))


def data_folder() -> Path:
    """What the user makes and does not keep elsewhere: chats. Local, never roaming."""
    home = os.environ.get("BITCONVERTER_HOME")
    if home:
        return Path(home)
    return Path(platformdirs.user_data_path(_NAME, appauthor=False))


def log_folder() -> Path:
    """Crash reports live here. Local, never roaming: logs of one machine are of no use on another."""
    home = os.environ.get("BITCONVERTER_HOME")
    if home:
        return Path(home) / "logs"
    return Path(platformdirs.user_log_path(_NAME, appauthor=False))


def settings_file() -> Path:
    """The one settings file."""
    return config_folder() / "settings.json"


def runs_file() -> Path:
    """The one file with the trainings of before."""
    return data_folder() / "runs.sqlite3"


def jobs_file() -> Path:
    """The one file with the jobs that are over."""
    return data_folder() / "jobs.sqlite3"


def chats_file() -> Path:
    """The one file with all chats."""
    return data_folder() / "chats.sqlite3"
