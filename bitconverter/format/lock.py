"""One owner per folder: an operating system lock on a file, let go when its process ends, however it ends."""

import contextlib
import os
import sys
from pathlib import Path

from bitconverter.format.errors import UserError


class FolderLock:
    """Holds `folder/lock` locked from creation to release(). Raises UserError when another process holds it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "lock"
        while True:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            if not _try_lock(self._descriptor):
                os.close(self._descriptor)
                raise UserError(
                    "work-folder-busy",
                    f"Another running program is working in {folder}. Wait for it to end, or stop it there.",
                    folder=os.fspath(folder),
                )
            if self._is_current():
                return
            os.close(self._descriptor)  # its last owner removed it between our open and our lock

    def release(self) -> None:
        """Let go; the file is removed where the system allows it while it is locked."""
        if os.name != "nt":
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        if (
            os.name == "nt"
        ):  # which does not remove open files; if another process was faster, the file is its own
            with contextlib.suppress(OSError):
                self.path.unlink()

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
