"""Files that are whole or not there: a temporary name of their own, synced, renamed."""

import errno
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.bitconverter-tmp")


@contextmanager
def replacing(path: Path, new: bool = False) -> Iterator[BinaryIO]:
    """An open file that takes the place of `path` when the block ends, and is removed when the block fails. `new`:
    nothing may be there by then, else FileExistsError.

    A process that is killed in the block leaves a file behind that is_temporary() knows by its name.
    """
    temporary, file = _create_beside(path)
    try:
        with naming(path), file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        (_publish if new else os.replace)(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _publish(temporary: Path, path: Path) -> None:
    """Rename to a free name: of two that do it at once, one fails."""
    if os.name == "nt":
        os.rename(temporary, path)
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a drive without hard links: the check and the rename are not one step
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        os.replace(temporary, path)
        return
    temporary.unlink()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError in the block that names no file gets this name: that of a write to an open file has none."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`; after a crash the file is the old one or the new one."""
    with replacing(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """UTF-8, line ends as given; what no UTF-8 can hold (a file name that is no Unicode) becomes a "?"."""
    write_bytes(path, text.encode("utf-8", "replace"))


def write_json(path: Path, value: Any) -> None:
    """Indented JSON, non-ASCII text as it is; lone surrogates are escaped, so that they are read back."""
    text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def is_temporary(path: Path) -> bool:
    """Whether a file's name is one that replacing() gives; nobody else's files look like that."""
    return _TEMPORARY.fullmatch(path.name) is not None


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable. Windows has no such call and does not need it."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _create_beside(path: Path) -> tuple[Path, BinaryIO]:
    """A new file under a name that was free, with the permissions of any new file (tempfile gives fewer)."""
    while True:
        temporary = path.with_name(f".{secrets.token_hex(8)}.bitconverter-tmp")
        try:
            return temporary, open(temporary, "xb")
        except FileExistsError:
            continue
