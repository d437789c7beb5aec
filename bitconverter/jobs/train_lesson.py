"""The windows of a training: those that it learns from, behind them those held back to check with, and the order in
which the steps take them."""

import numpy as np
import numpy.typing as npt

from bitconverter.engine import Cancel, ModelInfo
from bitconverter.jobs.train_settings import TrainSettings
from bitconverter.model.block_trainer import learned_lengths
from bitconverter.model.lessons import read_lessons
from bitconverter.model.tokenizer import Tokenizer

I64 = npt.NDArray[np.int64]

CHECK_TOKENS = 8192  # at most so many tokens are looked at in a check
HELD = 0.1  # the share of windows to check with


class TrainLesson:
    """`tokens` and `targets` [n_learn + n_check, window]; of each window only the first `lengths` tokens lead to one
    that is learned. The order depends on the seed and the step alone."""

    def __init__(
        self,
        job: TrainSettings,
        tokenizer: Tokenizer,
        labels: dict[str, int],
        info: ModelInfo,
        cancel: Cancel,
    ) -> None:
        """`info`: of the model that is to learn it. Raises what read_lessons() does."""
        self._batch, self._seed = job.batch, job.seed
        window = min(job.window, info.max_positions)
        lessons = read_lessons(job.lesson, tokenizer, window, cancel, labels, info.vocab_size)
        learn, check = lessons.split(HELD, job.seed)
        self.window = lessons.tokens.shape[1]
        check = check.take(np.arange(min(len(check.tokens), max(1, CHECK_TOKENS // self.window))))
        self.n_learn, self.n_check = len(learn.tokens), len(check.tokens)
        self.tokens = np.concatenate([learn.tokens, check.tokens])
        self.targets = np.concatenate([learn.targets, check.targets])
        self.lengths = learned_lengths(self.targets)

    def __len__(self) -> int:
        """Windows in all."""
        return len(self.tokens)

    def places(self, step: int) -> I64:
        """The windows of a step: epoch after epoch, each in an order of its own."""
        places = range(step * self._batch, (step + 1) * self._batch)
        orders: dict[int, I64] = {}
        for epoch in {place // self.n_learn for place in places}:
            orders[epoch] = self._order(epoch)
        return np.array([orders[place // self.n_learn][place % self.n_learn] for place in places])

    def _order(self, epoch: int) -> I64:
        return np.random.default_rng([self._seed, epoch]).permutation(self.n_learn)

    def longest_step(self) -> int:
        """Tokens of a step, at most."""
        longest = np.sort(self.lengths[: self.n_learn])[::-1]
        return int(longest[: self._batch].sum()) + max(0, self._batch - len(longest)) * int(longest[0])

    def targets_once(self) -> int:
        """Learned tokens of all windows that are learned from."""
        return int((self.targets[: self.n_learn] >= 0).sum())

    def learned_tokens(self, steps: int) -> int:
        """Of so many steps: every window once an epoch, and those of the epoch that is not over."""
        epochs, more = divmod(steps * self._batch, self.n_learn)
        counts = (self.targets[: self.n_learn] >= 0).sum(axis=1)
        return int(epochs * counts.sum() + counts[self._order(epochs)[:more]].sum())
