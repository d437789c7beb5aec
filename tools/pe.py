"""What a Windows program or DLL says of itself: what it needs, what it offers, its version words and icons.

Reads the file alone, on any system; enough of the PE32+ format for our checks.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

_EXPORTS, _IMPORTS, _RESOURCES = 0, 1, 2  # of the data directories
_ICON_GROUP, _VERSION = 14, 16  # kinds of resources


class NoProgramError(ValueError):
    """The file is no 64-bit Windows program or DLL."""


class Program:
    """An .exe, .dll or .pyd, read whole."""

    def __init__(self, path: Path) -> None:
        self._data = path.read_bytes()
        try:
            (start,) = struct.unpack_from("<I", self._data, 0x3C)
            count, optional_size = struct.unpack_from("<H12xH", self._data, start + 6)
            (kind,) = struct.unpack_from("<H", self._data, start + 24)
        except struct.error as error:
            raise NoProgramError(f"{path} is too short for a Windows program") from error
        if self._data[start : start + 4] != b"PE\0\0" or kind != 0x20B:
            raise NoProgramError(f"{path} is no 64-bit Windows program")
        self._directories = start + 24 + 112
        # of each section: name, place in memory, bytes, place in the file
        self._sections = list[tuple[str, int, int, int]]()
        for number in range(count):
            at = start + 24 + optional_size + 40 * number
            name, virtual_size, address, size, place = struct.unpack_from("<8s4I", self._data, at)
            label = name.rstrip(b"\0").decode("ascii", "replace")
            self._sections.append((label, address, min(size, virtual_size) or size, place))

    def section(self, name: str) -> bytes:
        """Its bytes; none if there is no such section."""
        for label, _, size, place in self._sections:
            if label == name:
                return self._data[place : place + size]
        return b""

    def imports(self) -> set[str]:
        """The names of the DLLs it cannot start without."""
        at, found = self._directory(_IMPORTS), set[str]()
        while at and (name := self._number(at + 12)):
            found.add(self._text(self._offset(name)))
            at += 20
        return found

    def exports(self) -> set[str]:
        """The names it has for others."""
        at = self._directory(_EXPORTS)
        if not at:
            return set()
        count, names = self._number(at + 24), self._offset(self._number(at + 32))
        return {self._text(self._offset(self._number(names + 4 * number))) for number in range(count)}

    def icons(self) -> int:
        """How many icons Explorer could show of it."""
        return len(list(self._resources(_ICON_GROUP)))

    def version_words(self) -> list[dict[str, str]]:
        """ProductName, FileVersion and so on, as the properties in Explorer show them: once for each language."""
        tables = list[dict[str, str]]()
        for block in self._resources(_VERSION):
            _read_version(block, 0, len(block), tables)
        return tables

    def _directory(self, number: int) -> int:
        address = self._number(self._directories + 8 * number)
        return self._offset(address) if address else 0

    def _offset(self, address: int) -> int:
        for _, start, size, place in self._sections:
            if start <= address < start + size:
                return address - start + place
        raise NoProgramError(f"nothing of the file lies at {address:#x}")

    def _number(self, at: int) -> int:
        value: int = struct.unpack_from("<I", self._data, at)[0]
        return value

    def _text(self, at: int) -> str:
        return self._data[at : self._data.index(b"\0", at)].decode("ascii")

    def _resources(self, kind: int) -> Iterator[bytes]:
        """The content of every resource of that kind: a tree of kind, name and language."""
        top = self._directory(_RESOURCES)
        if not top:
            return
        for number, names in self._entries(top, top):
            if number == kind:
                for _, languages in self._entries(top, names):
                    for _, leaf in self._entries(top, languages):
                        place = self._offset(self._number(leaf))
                        yield self._data[place : place + self._number(leaf + 4)]

    def _entries(self, top: int, at: int) -> Iterator[tuple[int, int]]:
        named, numbered = struct.unpack_from("<12xHH", self._data, at)
        for number in range(named + numbered):
            name, place = struct.unpack_from("<II", self._data, at + 16 + 8 * number)
            yield name, top + (place & 0x7FFFFFFF)


def _read_version(block: bytes, at: int, end: int, tables: list[dict[str, str]]) -> None:
    """One node of VS_VERSIONINFO and those below it: length, length of its value, whether that is text, its name."""
    while at + 6 < end:
        length, value_length, is_text = struct.unpack_from("<3H", block, at)
        if length < 6:
            return
        name, after = _wide_text(block, at + 6)
        below = _aligned(after)
        if re.fullmatch("[0-9A-Fa-f]{8}", name):  # language and code page: its words follow
            tables.append({})
        if is_text and value_length:
            tables[-1][name] = _wide_text(block, below)[0]
        else:
            _read_version(block, _aligned(below + value_length), at + length, tables)
        at = _aligned(at + length)


def _wide_text(block: bytes, at: int) -> tuple[str, int]:
    """A text of two bytes a letter up to its zero, and where it ends."""
    end = at
    while block[end : end + 2] not in (b"\0\0", b""):
        end += 2
    return block[at:end].decode("utf-16-le"), end + 2


def _aligned(at: int) -> int:
    return (at + 3) & ~3
