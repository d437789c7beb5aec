"""A store on its own thread: whatever is wrong with its file, the window hears of it and goes on."""

from pathlib import Path
from typing import Any

from bitconverter.gui.store_queue import FileQueue


class _Bin:
    """A store that cannot be opened at a path."""

    set_aside: Path | None = None

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            raise IndexError("whatever a library thinks of")

    def empty_bin(self) -> None: ...

    def close(self) -> None: ...


def test_any_error_of_a_file_is_told_and_the_queue_works_in_memory(qtbot: Any, tmp_path: Path) -> None:
    queue: FileQueue[_Bin] = FileQueue(tmp_path / "x.sqlite3", _Bin)
    done: list[int] = []
    try:
        with qtbot.waitSignal(queue.opened, timeout=5000) as told:
            queue.ask(lambda store: 1, done.append)
        assert isinstance(told.args[0], IndexError)
        qtbot.waitUntil(lambda: done == [1], timeout=5000)
    finally:
        queue.close()
