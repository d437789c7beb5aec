"""What it costs to choose a token: python tools/measure_sampling.py MODEL [--rounds 7]

Microseconds of `Session.sample` behind a short prompt, the best of the rounds of 100, for the knobs that go different
ways through the sampler.
"""

import argparse
import time

from bitconverter.engine import Engine, Model, Sampler, Session

KNOBS = {
    "greedy": Sampler(temperature=0.0),
    "as it comes": Sampler(),
    "repeat penalty": Sampler(repeat_penalty=1.1),
    "no top-k": Sampler(top_k=0),
}
TIMES = 100


def microseconds(session: Session, sampler: Sampler) -> float:
    """Of one token, the mean of a round."""
    began = time.perf_counter()
    for _ in range(TIMES):
        session.sample(sampler)
    return (time.perf_counter() - began) / TIMES * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a converted model")
    parser.add_argument("--rounds", type=int, default=7)
    words = parser.parse_args()
    model = Model(Engine(threads=1), words.model)
    session = Session(model, n_ctx=64)
    session.forward(range(64), want_logits=False)
    print(f"{model.info.vocab_size} logits")
    for name, sampler in KNOBS.items():
        best = min(microseconds(session, sampler) for _ in range(words.rounds))
        print(f"{name:15} {best:8.1f} us")


if __name__ == "__main__":
    main()
