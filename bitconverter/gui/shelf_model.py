"""The models on the shelf as a tree: an original, below it what was made of it, and below that its souls."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtGui import QStandardItem, QStandardItemModel

from bitconverter.gui.messages import damage_text, format_count, format_size, tr
from bitconverter.gui.palette import matches
from bitconverter.jobs.hardware import Fit, fit
from bitconverter.jobs.shelf import CONVERTED, GGUF, ORIGINAL, SOUL, UNFINISHED, ShelfEntry
from bitconverter.settings import Settings

ENTRY = int(Qt.ItemDataRole.UserRole)
Index = QModelIndex | QPersistentModelIndex
Stamp = tuple[tuple[str, int, int], ...]
ORDERS = {
    "recent": lambda entry: -entry.changed,
    "name": lambda entry: entry.name.casefold(),
    "size": lambda entry: -entry.bytes,
}


class ShelfModel(QStandardItemModel):
    """Fill it with show(); each item's ENTRY is a ShelfEntry."""

    def show(self, entries: Iterable[ShelfEntry], query: str, order: str) -> None:
        """Replace everything. Of a family, all are shown when one matches `query`."""
        self.clear()
        everything = sorted(entries, key=ORDERS[order])
        children: dict[str, list[ShelfEntry]] = {}
        tops = []
        for entry, parent in zip(everything, parents(everything), strict=True):
            if parent is None:
                tops.append(entry)
            else:
                children.setdefault(parent.path, []).append(entry)
        for entry in tops:
            item = _family(entry, children)
            if any(matches(query, name) for name in _names(item)):
                self.appendRow(item)

    def indexes(self, below: Index = QModelIndex()) -> list[QModelIndex]:  # noqa: B008 - Qt's own default
        """All that are shown, from top to bottom."""
        found = []
        for number in range(self.rowCount(below)):
            index = self.index(number, 0, below)
            found += [index, *self.indexes(index)]
        return found

    def entries(self) -> list[ShelfEntry]:
        """The same as entries."""
        return [index.data(ENTRY) for index in self.indexes()]


def stamp_of(path: str) -> Stamp:
    """Names, sizes and times of the files of the model `path`: another stamp, other files. () where it is gone."""
    try:
        with os.scandir(path) as entries:
            known = [(entry.name, entry.stat()) for entry in entries]
    except OSError:
        return ()
    return tuple(sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in known))


def places_to_scan(settings: Settings, entries: Iterable[ShelfEntry]) -> tuple[str, ...]:
    """The folders of the list, the models known by name, and of `entries` what was found beside a source and is in no
    folder of the list."""
    lists = ("model_folders", "recent_models", "shelf_models")
    places = dict.fromkeys(path for key in lists for path in settings[key])
    if settings["output_folder"]:
        places[settings["output_folder"]] = None
    for entry in entries:
        if entry.there and isinstance(entry.path, str) and os.path.exists(entry.path):
            places[entry.path] = None
    return tuple(places)


def memory_file(settings: Settings) -> Path:
    """Where a ShelfMemory of these settings lies."""
    return settings.path.with_name("shelf.json")


def parents(everything: list[ShelfEntry]) -> list[ShelfEntry | None]:
    """What each was made from: an original or a converted model of its name (or path), best the one beside it; None
    for originals and orphans."""
    known: dict[tuple[bool, str], list[ShelfEntry]] = {}  # (whether converted, name or place) -> models
    for entry in everything:
        if entry.kind in (ORIGINAL, GGUF, CONVERTED):
            for key in (entry.name, os.path.realpath(entry.path)):
                known.setdefault((entry.kind == CONVERTED, key), []).append(entry)

    def parent(entry: ShelfEntry) -> ShelfEntry | None:
        if entry.kind in (ORIGINAL, GGUF):
            return None
        source = os.path.realpath(entry.source) if entry.kind == UNFINISHED else entry.source
        fitting = known.get((entry.kind == SOUL, source), [])
        beside = [e for e in fitting if os.path.dirname(e.path) == os.path.dirname(entry.path)]
        return next(iter(beside or fitting), None)

    return [parent(entry) for entry in everything]


def _family(entry: ShelfEntry, children: dict[str, list[ShelfEntry]]) -> QStandardItem:
    """`entry`, below it what was made of it, and below that what was made of that."""
    item = _item(entry)
    for child in children.get(entry.path, ()):
        item.appendRow(_family(child, children))
    return item


def _names(item: QStandardItem) -> list[str]:
    return [item.text(), *(name for row in range(item.rowCount()) for name in _names(item.child(row)))]


def _item(entry: ShelfEntry) -> QStandardItem:
    item = QStandardItem(entry.name)
    item.setData(entry, ENTRY)
    item.setEditable(False)
    item.setAccessibleText(", ".join((entry.name, *facts(entry))))
    return item


def facts(entry: ShelfEntry) -> list[str]:
    """What is to be said of it in one line."""
    if not entry.there:
        return [tr("shelf-missing"), entry.path]
    if entry.damaged:
        return [tr("shelf-damaged"), why_damaged(entry)]
    result = [tr(f"conversion-{entry.work}" if entry.work else f"kind-of-{entry.kind}")]
    if entry.kind == UNFINISHED:
        return [*result, f"{entry.share:.0%}".replace("%", " %"), format_size(entry.bytes)]
    if entry.kind == SOUL:
        return [
            *result,
            *([tr("soul-of", name=entry.source)] if entry.source else []),
            format_size(entry.bytes),
        ]
    if entry.parameters:
        result.append(tr("parameters", count=format_count(entry.parameters)))
    result.append(format_size(entry.bytes))
    if entry.kind == CONVERTED and entry.bits:
        result.append(tr("bits-short", bits=f"{entry.bits:.2f}"))
    if (change := perplexity_change(entry)) is not None:
        result.append(tr("perplexity-change", change=f"{change:+.1%}".replace("%", " %")))
    return result


def why_damaged(entry: ShelfEntry) -> str:
    """Why it cannot be used, in the language in use."""
    return damage_text(entry.damaged, entry.code, entry.fields)


def perplexity_change(entry: ShelfEntry) -> float | None:
    """By how much of itself the perplexity has grown by the conversion, where its report says so."""
    if entry.perplexity is None or not entry.source_perplexity:
        return None
    return entry.perplexity / entry.source_perplexity - 1


def fit_of(entry: ShelfEntry) -> Fit | None:
    """Whether it runs on this PC; None where that is no question."""
    if not entry.there or entry.damaged or entry.kind in (UNFINISHED, SOUL) or not entry.bytes:
        return None
    return fit(2 * entry.bytes if entry.kind == GGUF else entry.bytes)  # a .gguf is unpacked to 16 bits


def fit_text(found: Fit) -> str:
    """The badge's tool tip: the numbers."""
    return tr(
        f"fit-{found.level}-tip", needed=format_size(found.needed), total=format_size(found.total)
    )  # fmt: skip


class ShelfMemory:
    """What was on the shelf the last time, so that a drive that is not there now can be shown grey."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> list[ShelfEntry]:
        """The last entries; [] when there is no file, or none that can be read."""
        known = {field.name for field in dataclasses.fields(ShelfEntry)}
        try:
            values: Any = json.loads(self._path.read_text(encoding="utf-8"))
            return [
                ShelfEntry(**{key: value for key, value in line.items() if key in known}) for line in values
            ]
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return []

    def save(self, entries: Iterable[ShelfEntry]) -> None:
        """Keep `entries`. It is only a memory: where it cannot be written, it is not."""
        text = json.dumps([dataclasses.asdict(entry) for entry in entries], ensure_ascii=False, default=str)
        with contextlib.suppress(OSError, UnicodeEncodeError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._path.with_suffix(".tmp")
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(self._path)


def with_missing(found: Iterable[ShelfEntry], remembered: Iterable[ShelfEntry]) -> list[ShelfEntry]:
    """What was found, and what was there before and lies on a drive (or in a folder) that is gone now. A model
    whose folder is there and which is not in it was removed by its owner."""
    result = list(found)
    paths = {entry.path for entry in result}
    for entry in remembered:
        if entry.path not in paths and not os.path.isdir(os.path.dirname(entry.path)):
            result.append(dataclasses.replace(entry, there=False))
    return result
