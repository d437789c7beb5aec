"""What a training works with from its first moment to its last: the model, the lesson, the state; and when it saves
and waits."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bitconverter import __version__
from bitconverter.engine import ModelInfo
from bitconverter.format.soul_file import weights_hash
from bitconverter.jobs import train_state
from bitconverter.jobs.asking import Asking
from bitconverter.jobs.device_word import Device
from bitconverter.jobs.eco import Manners, Probes, wait_until_free
from bitconverter.jobs.job import Context
from bitconverter.jobs.learners import AdapterKind, learner_of
from bitconverter.jobs.opening import open_engine
from bitconverter.jobs.placement import Placed
from bitconverter.jobs.train_begin import Beginning
from bitconverter.jobs.train_lesson import TrainLesson
from bitconverter.jobs.train_prefix import Prefix
from bitconverter.jobs.train_settings import TrainSettings, usual_rate
from bitconverter.model.block_trainer import Batch
from bitconverter.model.layer_stack import LayerStack
from bitconverter.model.lessons import label_tokens
from bitconverter.model.tokenizer import Tokenizer

SAVE_SECONDS = 20.0  # at most so much work is done again after a kill
# Outside of steps so many tokens' hidden states are held at a time; fewer, down to LEAST_RUN, where these times a
# model's weights are more than RUN_WORK: nothing is saved inside of a part, which shall be over in half a minute on a
# slow PC.
RUN_TOKENS = 1024
LEAST_RUN = 256
RUN_WORK = 2 << 40


class TrainWork:
    """`together`: windows at a time, outside of steps. `before`: seconds of work before this process. `placed`: on what
    the steps run, known once it was chosen."""

    def __init__(self, job: TrainSettings, ctx: Context) -> None:
        self.job, self.ctx, self.cancel = job, ctx, ctx.cancel
        folder = Path(job.model)
        self.stack = LayerStack(open_engine(job.threads, job.cpu), folder)
        info = self.stack.info
        tokenizer = Tokenizer(folder)
        tokenizer.check_fits(info.vocab_size)
        labels = label_tokens(tokenizer, job.labels)
        self.lesson = TrainLesson(job, tokenizer, labels, info, self.cancel)
        kind = AdapterKind(job.adapter, job.rank, job.targets)
        self.trainer = kind.trainer(self.stack, job.layers, self.lesson.window, tuple(labels.values()))
        self.learner = learner_of(job, self.trainer)
        self.base_sha256 = weights_hash(folder.glob("*.safetensors"), self.cancel.check)
        tokens, targets = self.lesson.tokens, self.lesson.targets
        self.key = train_state.run_key(
            tokens, targets, tokens.shape, self.base_sha256, __version__, *_usual(job)
        )
        self.together = max(1, run_tokens(info) // self.lesson.window)
        key = f"{self.key} {self.trainer.trained.start}"
        self.prefix = Prefix(job.work_dir, key, self.lesson.lengths, info.hidden_size, self.together)
        self.checkpoints = train_state.checkpoints(job.work_dir)
        self.state = Beginning(job, ctx, self.key, self.checkpoints, self.trainer, self.learner).state()
        self.before = self.state.seconds
        self._began = self._saved_at = time.monotonic()
        self.asking = Asking(self.stack, tokenizer, job.lesson)
        self.manners = Manners(job.eco, 60 * job.away, Probes())
        self.asked = Device(job.device, job.gpu_memory, job.gpu_layers)
        self.placed = Placed(all_layers=len(self.trainer.trained))

    def batch(self, which: npt.NDArray[np.int64]) -> Batch:
        """These windows, as they come into the layers that learn."""
        lesson = self.lesson
        lengths = lesson.lengths[which]
        targets = lesson.targets[which][np.arange(lesson.window) < lengths[:, None]]
        return Batch(self.prefix.read(which), lengths, targets)

    def tokens_outside(self) -> int:
        """At most, of a call outside of steps."""
        return self.together * self.lesson.window

    def save(self, best: bool = False) -> None:
        """The state, as one more checkpoint; `best`: it is the best one from now on."""
        self.state.seconds = self.before + time.monotonic() - self._began
        files = {train_state.STATE: self.state.file(self.learner.state())}
        self.checkpoints.save(self.state.step, files, best)
        self.saved_now()

    def saved_now(self) -> None:
        """Nothing would be lost by a kill in this moment."""
        self._saved_at = time.monotonic()

    def save_due(self) -> bool:
        return time.monotonic() - self._saved_at >= SAVE_SECONDS

    def give_way(self, save: Callable[[], None] = lambda: None) -> bool:
        """Wait where manners want it, once save() is through; whether it has waited."""
        reason = self.manners.reason()
        if reason is None:
            return False
        save()
        wait_until_free(self.ctx, self.manners, reason)
        self.saved_now()
        return True

    def wait_no_more(self) -> None:
        """Whatever manners want."""
        self.manners = Manners(False, 0, Probes())


def run_tokens(info: ModelInfo) -> int:
    """At most so many tokens go through a model at a time outside of steps, in whole windows."""
    fitting = RUN_WORK // max(1, info.linear_weights) // LEAST_RUN * LEAST_RUN
    return min(RUN_TOKENS, max(LEAST_RUN, fitting))


def _usual(job: TrainSettings) -> list[float]:
    """What is usual here and was another number in an earlier version: what that began is not gone on with at this."""
    changed = job.engine == "mezo" and job.adapter == "gain" and not job.labels and not job.by_spread
    return [usual_rate(job)] if changed and job.rate is None else []
