"""An append-only journal of committed work: one JSON line per commit, each with its CRC-32.

A line counts only when its CRC holds; the first that does not ends the journal, and what follows it
is cut off before anything is appended. Every append is synced.
"""

import json
import os
import zlib
from pathlib import Path
from typing import Any

from bitconverter.format.atomic import naming, sync_folder


class Journal:
    """Opens (or creates) the journal at `path`; `records` are the commits that hold."""

    def __init__(self, path: Path) -> None:
        fresh, self._path = not path.exists(), path
        self._file = open(path, "a+b")  # noqa: SIM115 - closed by close()
        self._file.seek(0)
        self.records, end = _read(self._file.read())
        self._file.truncate(end)
        self._file.seek(end)
        if fresh:
            sync_folder(path.parent)

    def append(self, record: dict[str, Any]) -> None:
        """Add one commit and sync it. The data it speaks of must be synced before."""
        with naming(self._path):
            self._file.write(_line(record))
            self._file.flush()
            os.fsync(self._file.fileno())
        self.records.append(record)

    def cut(self, count: int) -> None:
        """Keep the first `count` records only."""
        end = sum(len(_line(record)) for record in self.records[:count])
        self._file.flush()
        self._file.truncate(end)
        self._file.seek(end)
        os.fsync(self._file.fileno())
        del self.records[count:]

    def close(self) -> None:
        with naming(self._path):  # what a full disk did not take is written once more
            self._file.close()


def _line(record: dict[str, Any]) -> bytes:
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    crc = zlib.crc32(text.encode("utf-8"))
    return (
        json.dumps({**record, "crc": crc}, ensure_ascii=False, separators=(",", ":")).encode("utf-8") + b"\n"
    )


def _read(data: bytes) -> tuple[list[dict[str, Any]], int]:
    records: list[dict[str, Any]] = []
    end = 0
    for line in data.splitlines(keepends=True):
        record = _parse(line)
        if record is None:
            break
        records.append(record)
        end += len(line)
    return records, end


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line.decode("utf-8"))
        del record["crc"]
        return record if _line(record) == line else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
