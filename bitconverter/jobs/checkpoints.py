"""Checkpoints: folders with the state after some step, each whole or not there (docs/FORMAT.md section 4.2).

`step-N` holds files and DONE, written last, with their lengths and SHA-256. The newest few stay, and the one that the
file `best` names. What is damaged is renamed to `step-N.bad`.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitconverter.format.atomic import sync_folder, write_bytes, write_text

DONE, BEST = "DONE", "best"
_NAME = re.compile(r"step-(\d{8})")
_LEFT = re.compile(r"step-\d{8}\.(new|old)")  # of a process that was killed


class Checkpoints:
    def __init__(self, folder: Path, keep: int | None = 3) -> None:
        """`keep`: how many of the newest stay, beside the best; None: all."""
        self.folder, self.keep = folder, keep

    def save(self, step: int, files: Mapping[str, bytes], best: bool) -> None:
        """One that is there already for this step is replaced. `best`: it is the best one from now on."""
        self.folder.mkdir(exist_ok=True)
        place = self.place(step)
        new, old = place.with_name(place.name + ".new"), place.with_name(place.name + ".old")
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)
        new.mkdir()
        record = {}
        for name, data in files.items():
            write_bytes(new / name, data)
            record[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        write_bytes(new / DONE, json.dumps({"step": step, "files": record}).encode())
        if place.exists():
            os.rename(place, old)
        os.rename(new, place)
        sync_folder(self.folder)
        shutil.rmtree(old, ignore_errors=True)
        if best:
            write_text(self.folder / BEST, place.name)
        self._tidy()

    def steps(self) -> list[int]:
        """Those that are there, newest first; they may be damaged."""
        if not self.folder.is_dir():
            return []
        found = [_NAME.fullmatch(entry.name) for entry in self.folder.iterdir()]
        return sorted((int(match[1]) for match in found if match), reverse=True)

    def best(self) -> int | None:
        try:
            match = _NAME.fullmatch((self.folder / BEST).read_text(encoding="utf-8").strip())
        except (OSError, ValueError):
            return None
        return int(match[1]) if match else None

    def load(self, step: int) -> dict[str, bytes] | None:
        """The files of one, None if it is damaged."""
        place = self.place(step)
        try:
            record: Any = json.loads((place / DONE).read_bytes())
            if record["step"] != step:
                return None
            files = {}
            for name, told in record["files"].items():
                if Path(name).name != name:
                    return None
                data = (place / name).read_bytes()
                if len(data) != told["bytes"] or hashlib.sha256(data).hexdigest() != told["sha256"]:
                    return None
                files[name] = data
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        return files

    def set_aside(self, step: int) -> str:
        """Out of the way of the run, for who wants to look at it; its new name."""
        place = self.place(step)
        bad = place.with_name(place.name + ".bad")
        shutil.rmtree(bad, ignore_errors=True)
        os.rename(place, bad)
        return bad.name

    def remove_one(self, step: int) -> None:
        """Without those that are left the folder goes too, if nothing else is in it."""
        shutil.rmtree(self.place(step))
        self.remove_if_empty()

    def remove_if_empty(self) -> None:
        """The folder, if nothing is in it any more."""
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def remove(self) -> None:
        """All of them, and the folder if nothing else is in it."""
        if not self.folder.is_dir():
            return
        for entry in list(self.folder.iterdir()):
            if _NAME.match(entry.name):
                shutil.rmtree(entry, ignore_errors=True)
        (self.folder / BEST).unlink(missing_ok=True)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()

    def place(self, step: int) -> Path:
        """The folder of one, whether it is there or not."""
        return self.folder / f"step-{step:08d}"

    def _tidy(self) -> None:
        kept = {*self.steps()[: self.keep], self.best()}
        for step in self.steps():
            if step not in kept:
                shutil.rmtree(self.place(step), ignore_errors=True)
        for entry in list(self.folder.iterdir()):
            if _LEFT.fullmatch(entry.name):
                shutil.rmtree(entry, ignore_errors=True)
