"""How many planes each matrix gets under a budget of bits: greedily, what lowers the loss most per bit.

Without measurements of the model at hand the loss of a matrix is SENSITIVITY of its kind x its weights x the
relative squared error of rounding at N planes (of Gaussian weights, docs/MODEL.md). The sensitivities were derived
from allocations that a Fisher-weighted search made on a real model of 30 layers at three budgets.
"""

import heapq
import math
from collections.abc import Iterable
from dataclasses import replace

from bitconverter.format.errors import UserError
from bitconverter.model.plan import MAX_PLANES, TensorPlan, stored_parts

ROUNDING_ERROR = {1: 0.189, 2: 0.0301, 3: 0.0044, 4: 0.00054}
SENSITIVITY = {
    "self_attn.v_proj": 300.0, "self_attn.k_proj": 155.0, "mlp.down_proj": 40.0, "mlp.up_proj": 40.0,
    "mlp.gate_proj": 36.0, "self_attn.o_proj": 34.0, "self_attn.q_proj": 27.0,
}  # fmt: skip
SCALE_BYTES = 2  # one f16 a row


def allocate(plan: Iterable[TensorPlan], bits: float) -> tuple[TensorPlan, ...]:
    """The plan with the number of planes of every linear matrix chosen, so that planes and scales together take at
    most `bits` per linear weight, and as nearly that as whole matrices allow.

    Raises UserError("bits") when one plane everywhere is more than that already.
    """
    tensors = [replace(t, n_planes=1) if t.linear else t for t in plan]
    linear = [k for k, t in enumerate(tensors) if t.linear]
    weights = sum(math.prod(tensors[k].shape) for k in linear)
    left = bits * weights / 8 - sum(stored_bytes(tensors[k]) for k in linear)
    if not left >= 0:  # also for NaN
        exact = 8 * sum(stored_bytes(tensors[k]) for k in linear) / weights
        least = math.ceil(100 * exact) / 100
        raise UserError(
            "bits",
            f"{bits} bits per weight are too few: one plane everywhere takes {least}. Give at least that.",
            bits=bits, least=least,
        )  # fmt: skip
    layers = _layers(tensors)
    queue = [_upgrade(tensors[k], k, layers) for k in linear]
    heapq.heapify(queue)
    while queue:
        _, _, k = heapq.heappop(queue)
        more = replace(tensors[k], n_planes=tensors[k].n_planes + 1)
        cost = stored_bytes(more) - stored_bytes(tensors[k])
        if cost > left:
            continue  # this one does not fit; a smaller one may
        left -= cost
        tensors[k] = more
        if more.n_planes < MAX_PLANES:
            heapq.heappush(queue, _upgrade(more, k, layers))
    return tuple(tensors)


def stored_bytes(tensor: TensorPlan) -> int:
    """Bytes of a matrix's planes and scales."""
    (_, planes), (_, scales) = stored_parts(tensor)
    return math.prod(planes) + SCALE_BYTES * math.prod(scales)


def _upgrade(tensor: TensorPlan, index: int, layers: int) -> tuple[float, int, int]:
    """(minus the gain per bit of one more plane, a tie-breaker, index): the smallest goes first.

    Of equal matrices those of the first and last layers go first.
    """
    _, _, layer, *kind, _ = tensor.name.split(".")
    n = tensor.n_planes
    gain = SENSITIVITY[".".join(kind)] * (ROUNDING_ERROR[n] - ROUNDING_ERROR[n + 1])
    return -gain, min(int(layer), layers - 1 - int(layer)), index


def _layers(tensors: list[TensorPlan]) -> int:
    return 1 + max(int(t.name.split(".")[2]) for t in tensors if t.linear)
