"""Several texts decoded at once: one token of each in every forward pass, which reads the weights once for all."""

import time
from collections.abc import Callable, Sequence

from bitconverter.engine import Cancel, Session, forward_together
from bitconverter.jobs.benchmark import answer_hash


def decode_together(
    sessions: Sequence[Session], steps: int, rounds: int, each: Callable[[], None], cancel: Cancel
) -> tuple[list[float], str]:
    """tok/s of all sessions together in every round of `steps` tokens, before which `each` is called; and the hash of
    the last logits. The sessions are empty, with room for one token more than `steps`."""
    vocab, count = sessions[0].model.info.vocab_size, len(sessions)
    for i, session in enumerate(sessions):
        session.forward([i % vocab], want_logits=False)
    speeds = []
    for _ in range(rounds):
        each()
        for session in sessions:
            session.rewind(1)
        start = time.perf_counter()
        for step in range(steps):
            ids = [(7 * i + step) % vocab for i in range(count)]
            logits = forward_together(sessions, ids, cancel, want_logits=step == steps - 1)
        speeds.append(count * steps / (time.perf_counter() - start))
    assert logits is not None
    return speeds, answer_hash([], logits)
