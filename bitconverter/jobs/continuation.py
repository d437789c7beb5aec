"""What a model writes behind given tokens: one text, or several side by side."""

from collections.abc import Callable, Sequence

from bitconverter.engine import Cancel, Sampler, Session, forward_together

WRITTEN_COST = 2.0  # of a token, beside one of a prompt
GREEDY = Sampler(temperature=0.0, top_p=1.0, top_k=0, min_p=0.0)


def continuation(
    session: Session,
    prompt: list[int],
    ends: frozenset[int],
    most: int,
    cancel: Cancel,
    sampler: Sampler = GREEDY,
) -> list[int]:
    """What follows `prompt`: at most `most` tokens, up to one of `ends` or to the end of the context, which the end of
    a long prompt shares with it. Of no prompt nothing. Raises Cancelled."""
    return continuations([session], [prompt], [sampler], ends, most, cancel)[0]


def continuations(
    sessions: Sequence[Session],
    prompts: Sequence[list[int]],
    samplers: Sequence[Sampler],
    ends: frozenset[int],
    most: int,
    cancel: Cancel,
    after_step: Callable[[float], None] = lambda cost: None,
) -> list[list[int]]:
    """The same for each prompt in a session of its own, all of one model, which read the weights together;
    after_step() hears what was done, as so many tokens of prompts. No text depends on the others."""
    made: list[list[int]] = [[] for _ in prompts]
    going = [k for k, prompt in enumerate(prompts) if prompt]
    for k in going:
        sessions[k].rewind(0)
        room = max(1, sessions[k].n_ctx - most)
        sessions[k].forward(prompts[k][-room:], want_logits=False, cancel=cancel)
        after_step(len(prompts[k]))
    while going := [k for k in going if len(made[k]) < most and sessions[k].position < sessions[k].n_ctx]:
        cancel.check()
        drawn = {k: sessions[k].sample(samplers[k]) for k in going}
        going = [k for k in going if drawn[k] not in ends]
        for k in going:
            made[k].append(drawn[k])
        if going:
            forward_together(
                [sessions[k] for k in going], [drawn[k] for k in going], cancel, want_logits=False
            )
        after_step(WRITTEN_COST * len(going))
    return made
