"""What a number of bits is expected to cost in quality, before anything is converted: an estimate from measurements.

KL divergence to the source (nats per token) of SmolLM2-135M-Instruct, on 24,528 tokens of prose, documents and code
(docs/quality.json, made by tools/compare_quality.py; `fast` at 1, 3, 4 planes on other texts, 1.65 bits with polish by
an earlier version of it). `full` and `polished` by the converter of 2026-11-29, but for `polished` at 1.65 bits; at 5.5
without the chat that the source writes; where the polish was not measured anew (4.0, 4.5, 4.85 and 6.46) the point is
without it. Between the points its logarithm is interpolated. Larger models lose less: the numbers are multiplied by
(weights / 135 million)^SIZE_POWER, which is how llama.cpp's types compare between this model and Llama 3 8B (IQ3_S 0.33
and 0.11, IQ4_XS 0.10 and 0.036; llama.cpp's own table).
"""

import itertools
import math

_HIGH = {4.0: 0.0936, 4.5: 0.0521, 4.85: 0.0308, 6.46: 0.0066}  # the same for both: see above
_FULL = {1.65: 1.74, 2.0: 1.01, 2.5: 0.619, 3.25: 0.200, 4.25: 0.0695, 5.5: 0.0174, **_HIGH}
_POLISHED = {1.65: 1.37, 2.0: 0.749, 2.5: 0.486, 3.25: 0.181, 4.25: 0.0663, 5.5: 0.0168, **_HIGH}
MEASURED = {  # method: (bits per linear weight, KL)
    "full": tuple(sorted(_FULL.items())),
    "polished": tuple(sorted(_POLISHED.items())),
    "fast": ((1.63, 10.98), (3.24, 1.59), (4.85, 0.192), (6.42, 0.03)),
}
MEASURED_WEIGHTS = 135e6
SIZE_POWER = -0.27


def expected_kl(bits: float, weights: int, method: str = "full") -> float:
    """The KL to expect of a model of so many weights at so many bits per linear weight."""
    points = MEASURED[method]
    bits = min(max(bits, points[0][0]), points[-1][0])
    for (a, kl_a), (b, kl_b) in itertools.pairwise(points):
        if bits <= b:
            share = (bits - a) / (b - a)
            kl = math.exp((1 - share) * math.log(kl_a) + share * math.log(kl_b))
            return kl * float((weights / MEASURED_WEIGHTS) ** SIZE_POWER)
    raise AssertionError
