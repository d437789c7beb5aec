"""The work folder of a conversion (docs/FORMAT.md section 2): who owns it, what is committed, how it ends.

OUT.partial/ holds job.json, lock, journal.jsonl, share.json and model/, the folder that becomes OUT. The journal's
first record names the state of the source, then comes one record per tensor, then {"done": true}.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bitconverter import __version__
from bitconverter.engine import Cancel
from bitconverter.format.atomic import is_temporary, sync_folder
from bitconverter.format.errors import UserError
from bitconverter.format.journal import Journal
from bitconverter.format.lock import FolderLock
from bitconverter.format.sealed import load_sealed, save_sealed
from bitconverter.format.weight_file import Part, WeightFile, disk_full, header_space
from bitconverter.jobs import sensitivity_state
from bitconverter.jobs.room import size_on_disk as size_on_disk  # for the front ends
from bitconverter.model.plan import TensorPlan, stored_parts

WEIGHTS = "model.safetensors"
ROUNDED = "rounded.safetensors"  # the weight file of a conversion that is polished afterwards
TEXT = "text.json"  # the hash of the calibration text
SHARE = "share.json"  # how far it is, for the shelf
STATES = (
    "calibration.state",
    "polish.state",
    "polish.json",
    "sensitivity.json",
    "own_chat.json",
    TEXT,
    SHARE,
)  # of stages that go on after a stop
SPARE_BYTES = 16 * 1024 * 1024  # of free disk wanted beyond the next tensor


class WorkFolder:
    """Locked while open. Use as a context manager: on leaving, what is finished or never began is removed."""

    def __init__(self, path: Path, out: Path) -> None:
        self.path, self.out = path, out
        self.model = path / "model"
        path.mkdir(parents=True, exist_ok=True)
        self._lock = FolderLock(path)
        self._journal = Journal(path / "journal.jsonl")
        self._share: Callable[[], float] = lambda: 0.0

    def __enter__(self) -> "WorkFolder":
        return self

    def __exit__(self, *_: object) -> None:
        leftover = self._journal.records and not self.published
        if leftover:
            self._write_share()
        self._journal.close()
        if not leftover:
            with contextlib.suppress(OSError):
                for name in (*STATES, *(f"{name}.tmp" for name in STATES), ROUNDED, "job.json"):
                    (self.path / name).unlink(missing_ok=True)
                sensitivity_state.remove(self.path)
                (self.path / "journal.jsonl").unlink()
                for entry in [entry for entry in self.path.iterdir() if is_temporary(entry)]:
                    entry.unlink()  # of a process that was killed while it wrote job.json
        self._lock.release()
        if not leftover:
            with contextlib.suppress(OSError):  # somebody else's files in there: the folder stays
                self.path.rmdir()

    @property
    def published(self) -> bool:
        """Whether the result is in its place, so that nothing of this folder is needed any more."""
        done = bool(self._journal.records) and bool(self._journal.records[-1].get("done"))
        return done and not self.model.exists() and self.out.is_dir()

    @property
    def records(self) -> list[dict[str, Any]]:
        """What is committed, a record per tensor."""
        return [record for record in self._journal.records if "name" in record]

    def follow(self, share: Callable[[], float]) -> None:
        """`share` tells how far the conversion is, 0 to 1, from now on."""
        self._share = share

    def _write_share(self) -> None:
        """Nothing hangs on it: it is not synced, and what is half written does not count."""
        share = self._share()
        if share > 0:
            with contextlib.suppress(OSError):
                (self.path / SHARE).write_text(json.dumps({"share": share}), encoding="utf-8")

    def claim(self, fingerprint: str) -> None:
        """Begin the journal, or see that what was begun is this conversion.

        Raises UserError("source-changed") when the source is not what it was when the work began.
        """
        records = self._journal.records
        began = {"source": fingerprint, "tool": __version__}
        if records and records[0] != began:
            raise UserError(
                "source-changed",
                f"The source, the calibration text or this program has changed since the unfinished conversion in "
                f"{self.path} began. Remove that folder to start again from the beginning.",
                folder=os.fspath(self.path),
            )
        if not records and self.model.exists():
            raise UserError(
                "journal-lost",
                f"{self.model} is in the way: the journal of a conversion (journal.jsonl beside it) is missing or "
                "damaged, so nothing says what in it is finished. If it is left from a conversion, remove "
                f"{self.path} to start again from the beginning; else choose another output folder.",
                folder=os.fspath(self.path),
            )
        if records and records[-1].get("done"):
            self._journal.cut(len(records) - 1)
        if not records:
            self._journal.append(began)

    def keep_to_text(self, sha256: str) -> bool:
        """The calibration text has this hash, after claim(). Whether what is committed was made with it; what was made
        with another one, or nobody knows with which, is not committed any more (written again by another kind of
        computer it may differ)."""
        path = self.path / TEXT
        known = None
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            known = load_sealed(path)["text"]
        if known == sha256:
            return True
        stale = bool(self.records)
        if stale:
            self._journal.cut(1)  # before the new hash is there: a process may be killed between the two
        save_sealed(path, {"text": sha256})
        return not stale

    def open(self, plan: tuple[TensorPlan, ...], cancel: Cancel, apart: bool) -> WeightFile:
        """The weight file behind its last commit, after claim(); everything uncommitted is thrown away.

        `apart`: it is ROUNDED of the work folder, and what is polished from it goes into the model's folder later.
        """
        self.model.mkdir(exist_ok=True)
        for entry in self.model.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif apart or entry.name != WEIGHTS:
                entry.unlink()
        names_and_shapes = [part for tensor in plan for part in stored_parts(tensor)]
        path = self.path / ROUNDED if apart else self.model / WEIGHTS
        return self._open_weights(path, header_space(names_and_shapes), plan, cancel)

    def commit(self, weights: WeightFile, record: dict[str, Any]) -> None:
        """First the tensor's bytes, then the line that says they are there."""
        weights.sync()
        self._journal.append(record)
        self._write_share()

    def check_space(self, needed: int) -> None:
        """Raises UserError("disk-full") when `needed` bytes would not fit."""
        if shutil.disk_usage(self.path).free < needed + SPARE_BYTES:
            raise disk_full(self.path, needed + SPARE_BYTES)

    def publish(self) -> None:
        """Rename the finished model to its place. Every file in it is synced by now."""
        for folder in [self.model, *(entry for entry in self.model.rglob("*") if entry.is_dir())]:
            sync_folder(folder)
        self._journal.append({"done": True})
        try:
            if self.out.is_dir():
                self.out.rmdir()  # an empty one; the preflight refused others
            os.rename(self.model, self.out)
        except OSError as error:
            if not os.path.lexists(self.out):
                raise
            raise UserError(
                "output-came",
                f"{self.out} was free when this conversion began, and is not any more ({error.strerror or error}). "
                "Nothing is overwritten: move it away and start the same conversion again, which puts the finished "
                "model there.",
                out=str(self.out), why=error.strerror or str(error),
            ) from error  # fmt: skip
        sync_folder(self.out.parent)

    def _open_weights(
        self, path: Path, space: int, plan: tuple[TensorPlan, ...], cancel: Cancel
    ) -> WeightFile:
        """Trust a commit only if its tensor is the planned one and its bytes still have their hash."""
        committed = [[Part.from_record(p) for p in record["parts"]] for record in self.records]
        weights = WeightFile(path, space, [part for parts in committed for part in parts])
        good = 0
        for tensor, record, parts in zip(plan, self.records, committed, strict=False):
            if record["name"] != tensor.name or not all(weights.check_part(p, cancel.check) for p in parts):
                break
            good += 1
        if good < len(committed):
            weights.close()
            self._journal.cut(1 + good)
            weights = WeightFile(path, space, [part for parts in committed[:good] for part in parts])
        return weights
