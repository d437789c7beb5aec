"""The text that a conversion is calibrated on, and what of it the source is to write itself."""

from collections.abc import Sequence

from bitconverter.jobs import own_chat, polish
from bitconverter.jobs.convert_layers import read_calibration, windows_used
from bitconverter.jobs.convert_settings import ConvertSettings
from bitconverter.jobs.convert_subject import Subject
from bitconverter.jobs.job import Context
from bitconverter.model.calibration_text import CalibrationText, Conversation


class ConversionText:
    """`whole`: the text; None where nothing is calibrated. `writes`: the source is to write dialogue for it, which is
    missing until add(). `fingerprint`: of the source and of the text as it was then, whatever is written later."""

    def __init__(self, job: ConvertSettings, ctx: Context, subject: Subject) -> None:
        """Emits Note("calibration") unless `writes`. Raises what calibration_text() does."""
        self._job, self._ctx, self._subject = job, ctx, subject
        self._chat: Sequence[Conversation] = ()
        calibrated = job.method != "fast" and subject.rounds
        self.writes = (
            calibrated
            and job.method == "full"
            and job.own_chat
            and not job.calibration
            and own_chat.can_chat(subject.source)
        )
        self.whole = self._calibration(quiet=self.writes) if calibrated else None
        self.fingerprint = subject.source.fingerprint() + (f" {self.whole.sha256}" if self.whole else "")
        if self.writes:
            self.fingerprint += f" {own_chat.asking(subject.source)}"

    @property
    def conversations(self) -> int:
        """How many the source wrote."""
        return len(self._chat)

    def add(self, chat: Sequence[Conversation]) -> CalibrationText:
        """The whole text with this dialogue, which may be none. Emits Note("calibration")."""
        self._chat = chat
        self.whole = self._calibration(quiet=False)
        return self.whole

    def lesson(self) -> CalibrationText:
        """For the polish: other windows."""
        return self._read(polish.WINDOWS + polish.HELD_OUT, self._job.seed + 1, quiet=True)

    def _calibration(self, *, quiet: bool) -> CalibrationText:
        job = self._job
        windows = windows_used(self._subject.info, job.method, job.calibration_windows)
        return self._read(windows, job.seed, quiet=quiet)

    def _read(self, windows: int, seed: int, *, quiet: bool) -> CalibrationText:
        subject = self._subject
        return read_calibration(
            self._ctx, subject.side_files, subject.source.config, subject.info,
            files=self._job.calibration, windows=windows, seed=seed, own_chat=self._chat, quiet=quiet,
        )  # fmt: skip
