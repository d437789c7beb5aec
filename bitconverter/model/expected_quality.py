"""What a number of bits is expected to cost in quality, before anything is converted: an estimate from measurements.

KL divergence to the source (nats per token) of SmolLM2-135M-Instruct, on about 21,000 tokens of prose, documents and
code; between the points its logarithm is interpolated. Larger models lose less: the numbers are multiplied by
(weights / 135 million)^SIZE_POWER, which is how llama.cpp's types compare between this model and Llama 3 8B
(IQ3_S 0.33 and 0.11, IQ4_XS 0.10 and 0.036; llama.cpp's own table).
"""

import itertools
import math

MEASURED = {  # method: (bits per linear weight, KL)
    "full": (
        (1.62, 2.47), (2.0, 1.25), (2.5, 0.79), (3.22, 0.263), (4.0, 0.118), (4.5, 0.063), (4.82, 0.044),
        (6.42, 0.0068),
    ),
    "polished": ((1.65, 1.37), (2.0, 0.81), (2.5, 0.55), (3.25, 0.2155), (6.42, 0.0068)),
    "fast": ((1.63, 10.98), (3.24, 1.47), (4.85, 0.192), (6.42, 0.03)),
}  # fmt: skip
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
