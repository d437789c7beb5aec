"""What a training takes on the disk that its soul comes to, known before its first step."""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from bitconverter.format.errors import UserError
from bitconverter.format.size_text import at_least, at_most
from bitconverter.jobs.room import nearest_folder, roomier_drives, size_on_disk
from bitconverter.jobs.train_prefix import HEAD
from bitconverter.jobs.train_settings import TrainSettings

SPACE_FACTOR = 1.05
STATES = 5  # at once: the three newest, the best one, and the one that is being written
VECTORS = {"exact": 4, "mezo": 2}  # f64, in a saved state: the parameters and the best ones, two moments
OTHER_FILES = 16 * 1024  # bytes: heads of files, journals, job.json


@dataclass(frozen=True)
class Room:
    """Bytes that a training needs on its disk, beside what is there of it, and that are free in the folder
    `place`."""

    needed: int
    free: int
    place: str

    def check(self) -> None:
        """Raises UserError: "train-room", "train-room-elsewhere" (fields["others"]: drives with enough of it)."""
        if self.needed <= self.free:
            return
        text = (
            f"Too little space in {self.place}: this training takes about {at_least(self.needed)} there, "
            f"{at_most(self.free)} are free. Make room, or write the soul to another drive."
        )
        fields = {"place": self.place, "needed": at_least(self.needed), "free": at_most(self.free)}
        others = roomier_drives(Path(self.place), self.needed)
        if others:
            raise UserError(
                "train-room-elsewhere", f"{text} There is room on {others}.", **fields, others=others
            )
        raise UserError("train-room", text, **fields)


def work_bytes(job: TrainSettings, parameters: int, tokens: int, hidden: int) -> int:
    """Of the work folder at its largest: hidden states f32 [tokens, hidden] into the layers that learn, and the saved
    states of so many parameters with what is noted of every step. The soul is smaller than a state, and comes when none
    is written any more."""
    noted = 4 * 4 + (4 * job.directions + 8 + 4 if job.engine == "mezo" else 0)
    state = 8 * VECTORS[job.engine] * parameters + noted * job.steps
    return 4 * tokens * hidden + min(STATES, job.steps + 2) * state + HEAD + OTHER_FILES


def room_for(job: TrainSettings, parameters: int, tokens: int, hidden: int) -> Room:
    """Raises OSError where the soul cannot come to."""
    whole = work_bytes(job, parameters, tokens, hidden)
    left = max(0, whole - size_on_disk(job.work_dir))
    place = nearest_folder(Path(job.out))
    return Room(math.ceil(left * SPACE_FACTOR), shutil.disk_usage(place).free, str(place))
