"""Does this installation work on this PC, as a job for the window: each part of jobs/self_test.py, and the user's
own folder. Everything is made in a temporary folder below the given one, and removed again."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bitconverter.engine import Cancelled
from bitconverter.format.atomic import write_bytes
from bitconverter.jobs import self_test
from bitconverter.jobs.job import Context, Progress
from bitconverter.jobs.needing import DIFFICULT_NAME, need
from bitconverter.jobs.scratch import scratch_folder
from bitconverter.jobs.self_test_documents import documents

TRIED = 1 << 20  # bytes written and read again


@dataclass(frozen=True)
class Check:
    """One result: `code` names what was looked at, `fields` have the numbers, `problem` is "" when it is well."""

    code: str
    fields: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class SelfTestResult:
    """`ok`: nothing has a problem."""

    checks: tuple[Check, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        return not any(check.problem for check in self.checks)


@dataclass(frozen=True)
class SelfTestJob:
    """`folder` is where files are tried: best the one where models go. Emits Progress(unit="check")."""

    folder: str

    @property
    def work_dir(self) -> Path | None:
        return None

    def run(self, ctx: Context) -> SelfTestResult:
        started = time.monotonic()
        checks: list[Check] = []
        with scratch_folder() as top:
            place = top / DIFFICULT_NAME
            place.mkdir()
            steps: tuple[tuple[str, Callable[[], dict[str, Any]]], ...] = (
                ("files", self._files), ("memory", _memory), ("engine", self_test.engine),
                ("cards", self_test.graphics_cards), ("conversion", lambda: self_test.convert(place)),
                ("chat", lambda: self_test.chat(str(place / "converted モデル 3"))),
                ("database", lambda: self_test.database(place)), ("documents", lambda: documents(place)),
                ("paths", lambda: self_test.files(place)),
            )  # fmt: skip
            for number, (code, step) in enumerate(steps):
                ctx.cancel.check()
                ctx.emit(Progress(number, len(steps), "check", code))
                checks.append(_one(code, step))
            ctx.emit(Progress(len(steps), len(steps), "check"))
        return SelfTestResult(tuple(checks), time.monotonic() - started)

    def _files(self) -> dict[str, Any]:
        """Write, sync, rename and read again in the user's folder, with a name that is not ASCII."""
        os.makedirs(self.folder, exist_ok=True)
        with scratch_folder(Path(self.folder)) as place:
            data = os.urandom(TRIED)
            write_bytes(place / "書き込み 😀.bin", data)
            need((place / "書き込み 😀.bin").read_bytes() == data, f"{place} was read back differently")
            return {"folder": self.folder, "free": shutil.disk_usage(place).free}


def _memory() -> dict[str, Any]:
    memory = psutil.virtual_memory()
    return {"free": memory.available, "total": memory.total}


def _one(code: str, step: Callable[[], dict[str, Any]]) -> Check:
    try:
        return Check(code, step())
    except Cancelled:
        raise
    except Exception as error:  # whatever goes wrong is what the test is for
        return Check(code, {}, f"{type(error).__name__}: {error}")
