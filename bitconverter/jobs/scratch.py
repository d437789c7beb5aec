"""Scratch folders: room for the files that a job needs for a while, and the sweeping of what killed processes left.

A scratch folder `bitconverter-scratch-XXXXXXXX` holds `lock`, locked while its process lives, and `files`. A folder
whose lock is free has no owner any more. Nothing else is ever swept: not by its name alone, nor another user's.
"""

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bitconverter.format.atomic import is_temporary
from bitconverter.format.errors import UserError
from bitconverter.format.lock import FolderLock
from bitconverter.format.size_text import at_most
from bitconverter.jobs.job import Context

PREFIX = "bitconverter-scratch-"
_NAME = re.compile(re.escape(PREFIX) + "[a-z0-9_]{8}")
_CONTENT = {"lock", "files"}
FULL = ("disk-full", "train-disk-full", "train-room", "train-room-elsewhere")
_TRIES = 100  # new names; each is lost only to a sweep between its making and its locking


def temporary_folder() -> Path:
    """Where the system keeps temporary files: the folder of tempfile.gettempdir(), of which nothing is written.

    That one writes a file there to see whether it can; a start that is killed meanwhile would leave it behind.
    """
    if tempfile.tempdir is None:
        for place in (os.environ.get("TMPDIR"), os.environ.get("TEMP"), os.environ.get("TMP")):
            if place and os.path.isdir(place) and os.access(place, os.W_OK):
                return Path(place).absolute()
    return Path(tempfile.gettempdir())


@contextmanager
def scratch_folder(beside: Path | None = None) -> Iterator[Path]:
    """An empty folder, removed when the block ends: in `beside`, or where the system keeps temporary files.

    What killed processes left there is swept first. Raises OSError; UserError("scratch-full") where what is written
    there finds the disk full, whatever the block says about that.
    """
    parent = temporary_folder() if beside is None else beside
    sweep(parent)
    folder, lock = _claim(parent)
    try:
        files = folder / "files"
        files.mkdir()
        yield files
    except UserError as error:
        if error.code in FULL and str(folder) in str(error):
            raise _full(parent, beside is None) from error
        raise
    finally:
        _remove(folder, lock)


def _full(parent: Path, temporary: bool) -> UserError:
    free = shutil.disk_usage(parent).free
    elsewhere = ", or name a folder with more room in the variable TMPDIR," if temporary else ""
    return UserError(
        "scratch-full",
        f"There is too little room in {parent} for files that are needed for a while ({at_most(free)} are free). "
        f"Make room there{elsewhere} and start again.",
        folder=str(parent), free=free, free_size=at_most(free),
    )  # fmt: skip


def sweep(parent: Path) -> int:
    """Remove the scratch folders in `parent` whose process is gone. Returns how many went."""
    gone = 0
    for folder in _ours(parent):
        try:
            lock = FolderLock(folder)
        except (UserError, OSError):  # at work, or gone already
            continue
        _remove(folder, lock)
        gone += not folder.exists()
    return gone


@dataclass(frozen=True)
class SweepJob:
    """Removes what killed processes left: scratch folders among the system's temporary files, and in `home`, which
    no other process may be writing to, files that were not written to their end. Returns how many went."""

    home: str

    @property
    def work_dir(self) -> Path | None:
        return None

    def run(self, ctx: Context) -> int:
        gone = sweep(temporary_folder())
        home = Path(self.home)
        unfinished = [path for path in home.iterdir() if is_temporary(path)] if home.is_dir() else []
        for path in unfinished:
            ctx.cancel.check()
            with contextlib.suppress(OSError):
                path.unlink()
                gone += 1
        return gone


def _claim(parent: Path) -> tuple[Path, FolderLock]:
    for _ in range(_TRIES):
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        try:
            return folder, FolderLock(folder)
        except (UserError, FileNotFoundError):
            continue  # another process's sweep was faster, and takes the empty folder away
    raise OSError(f"no scratch folder could be made in {parent}")


def _ours(parent: Path) -> list[Path]:
    found = []
    with os.scandir(parent) as entries:
        for entry in entries:
            if not _NAME.fullmatch(entry.name) or not entry.is_dir(follow_symlinks=False):
                continue
            if sys.platform != "win32" and entry.stat(follow_symlinks=False).st_uid != os.getuid():
                continue
            with contextlib.suppress(OSError):
                if set(os.listdir(entry.path)) <= _CONTENT:
                    found.append(Path(entry.path))
    return found


def _remove(folder: Path, lock: FolderLock) -> None:
    """What the system still holds (a file that is mapped, on Windows) is swept another time."""
    shutil.rmtree(folder / "files", ignore_errors=True)
    lock.release()
    with contextlib.suppress(OSError):
        folder.rmdir()
