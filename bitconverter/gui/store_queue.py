"""A store on a thread of its own: what is asked is done in order, and the window never waits."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from PySide6.QtCore import QObject, Qt, Signal

from bitconverter.store.chat_store import ChatStore

T = TypeVar("T")


class Store(Protocol):
    """What a queue needs of a store. It is made with the path of its file, or with None: in memory only."""

    set_aside: Path | None

    def empty_bin(self) -> None: ...
    def close(self) -> None: ...


S = TypeVar("S", bound=Store)


class FileQueue(QObject, Generic[S]):
    """Emits `failed` with the error of a task, and `opened` once: with the path of a damaged file that was
    set aside, with the error for which things are kept in memory only, or with None."""

    opened = Signal(object)
    failed = Signal(object)
    _done = Signal(object, object)

    def __init__(self, path: Path, make: Callable[[Path | None], S], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._path, self._make = path, make
        self._store: S | None = None
        self._closed = False
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=path.stem)
        # always by the event loop: a task never calls back into the code that asks for it
        self._done.connect(self._deliver, Qt.ConnectionType.QueuedConnection)
        self._pool.submit(self._open)

    def ask(self, work: Callable[[S], T], then: Callable[[T], None] | None = None) -> None:
        """Do `work` on the store's thread, after what was asked before; `then` gets the result here."""
        if not self._closed:
            self._pool.submit(self._run, work, then)

    def close(self) -> None:
        """Finish what was asked, close the file, end the thread. Nothing is delivered any more."""
        if self._closed:
            return
        self._closed = True
        self._pool.submit(self._close)
        self._pool.shutdown(wait=True)

    # ---- on the store's thread

    def _open(self) -> None:
        said: Any = None
        try:
            self._store = self._make(self._path)
            self._store.empty_bin()
            said = self._store.set_aside
        except Exception as error:  # without a store nothing would be kept, and nobody be told
            said = error
            if self._store is None:
                self._store = self._make(None)
        self._done.emit(self.opened.emit, said)

    def _run(self, work: Callable[[S], Any], then: Callable[[Any], None] | None) -> None:
        assert self._store is not None
        try:
            result = work(self._store)
        except Exception as error:  # goes to the window, which shows whatever it is
            self._done.emit(self.failed.emit, error)
            return
        if then is not None:
            self._done.emit(then, result)

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()

    # ---- in the window's thread

    def _deliver(self, then: Callable[[Any], None], result: Any) -> None:
        if not self._closed:
            then(result)


class StoreQueue(FileQueue[ChatStore]):
    """The chats."""

    def __init__(self, path: Path, parent: QObject | None = None) -> None:
        super().__init__(path, ChatStore, parent)
