"""One window per user: a second start hands its files to the first one and ends.

Who holds the lock file is the first; it listens on a local socket beside it (a named pipe on Windows). A lock
whose process died is taken over. Nothing of this reaches the network.
"""

import contextlib
import hashlib
import json
import os
import sys
from pathlib import Path

from PySide6.QtCore import QLockFile, QObject, Signal
from PySide6.QtNetwork import QLocalServer, QLocalSocket

ANSWER_WITHIN = 5000  # milliseconds; a first window that hangs must not keep the user from opening one
_MOST = 1 << 20  # bytes of a message; only paths are sent
_LONGEST = 107  # bytes of a socket's path: what sockaddr_un holds on Linux, less the end


class _Caller(QObject):
    """A second start that has connected; it goes when the connection does."""

    heard = Signal(list)

    def __init__(self, socket: QLocalSocket, parent: QObject) -> None:
        super().__init__(parent)
        self._socket = socket
        socket.setParent(self)
        socket.readyRead.connect(self.hear)
        socket.disconnected.connect(self.deleteLater)

    def hear(self) -> None:
        """Take the message if it is whole."""
        if not self._socket.canReadLine():
            if self._socket.bytesAvailable() > _MOST:
                self._socket.abort()
            return
        try:
            paths = json.loads(bytes(self._socket.readLine().data()))
        except ValueError:
            paths = None
        if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            self._socket.abort()
            return
        self._socket.write(b"ok\n")
        self._socket.flush()
        self.heard.emit(paths)


class SingleInstance(QObject):
    """`called` comes with the paths that a second start was given (maybe none)."""

    called = Signal(list)

    def __init__(self, home: Path) -> None:
        """`home`: the folder of the settings; two homes are two programs."""
        super().__init__()
        with contextlib.suppress(OSError):  # then there is no lock, and every start shows a window
            home.mkdir(parents=True, exist_ok=True)
        self.addresses = _addresses(home.resolve())
        self.cut_off = False  # whether the one before ended without closing; known after is_first()
        self._path = home / "instance.lock"
        self._lock = QLockFile(str(self._path))
        self._lock.setStaleLockTime(0)  # only a dead process makes it stale, not its age
        self._server = QLocalServer(self)
        if (
            sys.platform == "win32"
        ):  # elsewhere it would leave a folder behind in a process that is killed in between
            self._server.setSocketOptions(QLocalServer.SocketOption.UserAccessOption)
        self._server.newConnection.connect(self._greet)

    def is_first(self, paths: list[str]) -> bool:
        """Whether this process is to show the window. If not, the first one has been given `paths`.

        A first one that does not answer counts as none.
        """
        left = self._path.exists()
        if not self._lock.tryLock(0):
            if any(self._call(address, paths) for address in self.addresses):
                return False
            # Killed before its number was written, or the number is another program's by now: the file looks alive.
            # What tells is whether the system still knows of a holder.
            if not (self._lock.removeStaleLockFile() and self._lock.tryLock(0)):
                return True
        self.cut_off = left
        self._listen()
        return True

    def _listen(self) -> None:
        before = os.umask(0o177)  # the socket is this user's alone from its first moment
        try:
            for address in self.addresses:
                QLocalServer.removeServer(address)  # of a process that was killed
                if self._server.listen(address):
                    return
        finally:
            os.umask(before)

    def _call(self, address: str, paths: list[str]) -> bool:
        socket = QLocalSocket()
        socket.connectToServer(address)
        if not socket.waitForConnected(ANSWER_WITHIN):
            return False
        socket.write(json.dumps(paths).encode("ascii") + b"\n")
        answered = socket.waitForBytesWritten(ANSWER_WITHIN) and socket.waitForReadyRead(ANSWER_WITHIN)
        return answered and bytes(socket.readAll().data()) == b"ok\n"

    def _greet(self) -> None:
        while (socket := self._server.nextPendingConnection()) is not None:
            caller = _Caller(socket, self)
            caller.heard.connect(self.called)
            caller.hear()  # it may all be there already

    def close(self) -> None:
        """Make room for the next first one."""
        self._server.close()
        self._lock.unlock()


def _addresses(home: Path) -> list[str]:
    """Where the first one listens, the best first: in its home, where every start looks, whatever it takes for the
    folder of temporary files; there only where the path is too long for a socket or the drive has none."""
    name = "bitconverter-" + hashlib.sha256(str(home).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    beside = str(home / "instance.socket")
    if sys.platform == "win32" or len(os.fsencode(beside)) > _LONGEST:
        return [name]
    return [beside, name]
