"""Keep a soul after all that training had set aside, because the model has forgotten too much with it."""

import os
from dataclasses import dataclass
from pathlib import Path

from bitconverter.format.atomic import sync_folder
from bitconverter.format.errors import UserError
from bitconverter.jobs.job import Context, Note
from bitconverter.jobs.train_result import ASIDE, aside_path, output_exists
from bitconverter.store.run_store import StoreError, open_runs


@dataclass(frozen=True)
class AdoptResult:
    """`out`: where the soul lies now."""

    out: str


@dataclass(frozen=True)
class AdoptJob:
    """`soul`: its name, with or without the ending of what was set aside. `history`: the file with the list of
    trainings, which is told ("": none). Where it cannot be, the soul is kept all the same, and
    Note("adopt-not-listed", reason)."""

    soul: str
    history: str = ""

    @property
    def work_dir(self) -> None:
        return None

    def run(self, ctx: Context) -> AdoptResult:
        """Raises UserError: "nothing-aside", "output-exists"."""
        soul = Path(self.soul)
        if soul.suffix == ASIDE and not aside_path(self.soul).is_file():
            soul = soul.with_suffix("")
        aside = aside_path(str(soul))
        if not aside.is_file():
            raise UserError(
                "nothing-aside",
                f"There is no {aside}: nothing was set aside. Check the path.",
                path=str(aside),
            )
        if soul.exists():
            raise output_exists(str(soul))
        os.rename(aside, soul)
        sync_folder(soul.absolute().parent)
        if os.path.isfile(self.history):
            try:
                with open_runs(Path(self.history)) as store:
                    store.adopted(os.path.abspath(aside), os.path.abspath(soul))
            except (UserError, StoreError, OSError) as error:
                ctx.emit(Note("adopt-not-listed", {"reason": str(error)}))
        return AdoptResult(str(soul))
