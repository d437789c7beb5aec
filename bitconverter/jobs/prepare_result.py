"""What came of preparing a lesson: counts, and every row that is not used with its place and reason."""

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

from bitconverter.format.errors import UserError
from bitconverter.model.lesson_preview import Preview


class Where(NamedTuple):
    """A row's line, and its place where it stands in a list, else 0."""

    line: int
    place: int = 0

    def told(self, path: str) -> str:
        """In English."""
        return f"{path}, row {self.place} (line {self.line})" if self.place else f"{path}, line {self.line}"


@dataclass(frozen=True)
class Rejected:
    """One row that is not used. `place`: in a list, from 1, else 0. `code` and `fields` are of format/row_problem.py,
    `reason` and `fix` its English; `mends`: asking for repairs would use it."""

    file: str
    line: int
    field: str
    code: str
    reason: str
    fix: str
    mends: bool
    fields: dict[str, object] = dataclasses.field(default_factory=dict)
    place: int = 0


@dataclass(frozen=True)
class FileReport:
    """rows = used + rejected; `mended` of the used ones were put right; `encoding` "" for raw token ids."""

    name: str
    encoding: str
    rows: int
    used: int
    rejected: int
    mended: int


@dataclass(frozen=True)
class Apart:
    """A file or folder that was named and is of no use, and why."""

    path: str
    error: UserError


@dataclass(frozen=True)
class PrepareResult:
    """Counts over all files: rows = used + rejected. `out` and `rejects` are "" where nothing was written; `problems`
    holds the first MOST_LISTED rejected rows; `learned` of `tokens` are learned; `held` of `entries` are held back;
    `longest`: the tokens of the longest example; `templated`: rows went through the model's chat template; `labels`:
    the answers, where all rows are examples with one of a few answers of a single token (TrainJob.labels), else ();
    `windows`: of the wanted size, or the model's if that is less, which training will have of it; `converted`: the
    model is one that can be trained; `apart`: what was named and is of no use
    (PrepareJob.apart); `dreams` and `rehearsed`: entries beside the rows (PrepareJob.facts), `dreams_cut`: not all
    that could be dreamt is; `held_windows` of the windows are held back."""

    out: str
    rejects: str
    rows: int
    used: int
    rejected: int
    mended: int
    mendable: int
    tokens: int
    learned: int
    entries: int
    held: int
    texts: int
    examples: int
    longest: int
    templated: bool
    labels: tuple[str, ...]
    files: tuple[FileReport, ...]
    problems: tuple[Rejected, ...]
    previews: tuple[Preview, ...]
    windows: int = 0
    converted: bool = True
    apart: tuple[Apart, ...] = ()
    dreams: int = 0
    rehearsed: int = 0
    dreams_cut: bool = False
    held_windows: int = 0
