"""Tell the list of trainings that a soul has another name now."""

import os
from dataclasses import dataclass
from pathlib import Path

from bitconverter.jobs.job import Context
from bitconverter.store.run_store import open_runs


@dataclass(frozen=True)
class Renamed:
    """`soul`: where it lies now."""

    soul: str


@dataclass(frozen=True)
class RenameRunJob:
    """The newest training of the soul `old` is that of `new`, in the file `history`, if that is there."""

    history: str
    old: str
    new: str

    @property
    def work_dir(self) -> None:
        return None

    def run(self, ctx: Context) -> Renamed:
        """Raises UserError: "runs-newer", "runs-unavailable"."""
        if os.path.isfile(self.history):
            with open_runs(Path(self.history)) as store:
                store.renamed(os.path.abspath(self.old), os.path.abspath(self.new))
        return Renamed(self.new)
