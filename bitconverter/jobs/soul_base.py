"""Which model a soul was trained on: found among those of this PC, by the hash of its weights."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from bitconverter.format.errors import UserError
from bitconverter.format.soul_file import weights_hash
from bitconverter.jobs.job import Context, Progress
from bitconverter.jobs.shelf import CONVERTED, ScanJob, ShelfEntry
from bitconverter.jobs.souls import opened_soul


@dataclass(frozen=True)
class FindBaseJob:
    """`folders`: models, or folders that hold some (see ScanJob); what lies beside the soul is looked at as well. The
    result is the folder of the converted model that `soul` was trained on.

    Reads the weights of one model after the other, those of the name that the soul tells first. Emits
    Progress(unit="model"). Raises UserError: "soul-missing", "soul-broken", "soul-base-missing"; Cancelled.
    """

    soul: str
    folders: tuple[str, ...]

    @property
    def work_dir(self) -> Path | None:
        return None

    def run(self, ctx: Context) -> str:
        path = Path(self.soul)
        soul = opened_soul(path)
        likely = self._likely(path, soul.base_name, ctx)
        for number, entry in enumerate(likely, 1):
            ctx.emit(Progress(number, len(likely), "model", entry.name))
            with contextlib.suppress(OSError):  # it went away, or may not be read: then it is not this one
                weights = Path(entry.path).glob("*.safetensors")
                if weights_hash(weights, ctx.cancel.check) == soul.base_sha256:
                    return entry.path
        raise UserError(
            "soul-base-missing",
            f"{path.name} was trained on the model {soul.base_name or '(without a name)'}, and no model with these "
            "weights was found. Put the folder of that converted model on the shelf, or beside the soul, and open the "
            "soul again.",
            soul=path.name, base=soul.base_name or "?",
        )  # fmt: skip

    def _likely(self, soul: Path, base_name: str, ctx: Context) -> list[ShelfEntry]:
        """The converted models, the most likely first."""
        place = soul.absolute().parent
        scan = ScanJob((*_models_beside(place), *self.folders))
        models = [entry for entry in scan.run(ctx) if entry.kind == CONVERTED and not entry.damaged]
        return sorted(models, key=lambda entry: (entry.name != base_name, Path(entry.path).parent != place))


def _models_beside(place: Path) -> list[str]:
    """Not what lies deeper: the soul may have been dropped from a folder of everything."""
    with contextlib.suppress(OSError):
        return [str(place / name) for name in sorted(os.listdir(place)) if _has_config(place / name)]
    return []


def _has_config(folder: Path) -> bool:
    return os.path.isfile(folder / "config.json")
