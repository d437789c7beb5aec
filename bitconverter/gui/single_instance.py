"""One window per user: a second start hands its files to the first one and ends.

Who holds the lock file is the first; it listens on a local socket (a named pipe on Windows). A lock whose
process died is taken over. Nothing of this reaches the network.
"""

import contextlib
import hashlib
import json
from pathlib import Path

from PySide6.QtCore import QLockFile, QObject, Signal
from PySide6.QtNetwork import QLocalServer, QLocalSocket

ANSWER_WITHIN = 5000  # milliseconds; a first window that hangs must not keep the user from opening one
_MOST = 1 << 20  # bytes of a message; only paths are sent


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
        name = hashlib.sha256(str(home.resolve()).encode("utf-8")).hexdigest()[:16]
        self._name = f"bitconverter-{name}"
        self._lock = QLockFile(str(home / "instance.lock"))
        self._lock.setStaleLockTime(0)  # only a dead process makes it stale, not its age
        self._server = QLocalServer(self)
        self._server.setSocketOptions(QLocalServer.SocketOption.UserAccessOption)
        self._server.newConnection.connect(self._greet)

    def is_first(self, paths: list[str]) -> bool:
        """Whether this process is to show the window. If not, the first one has been given `paths`.

        A first one that does not answer counts as none.
        """
        if self._lock.tryLock(0):
            QLocalServer.removeServer(self._name)  # of a process that was killed
            self._server.listen(self._name)
            return True
        return not self._call(paths)

    def _call(self, paths: list[str]) -> bool:
        socket = QLocalSocket()
        socket.connectToServer(self._name)
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
