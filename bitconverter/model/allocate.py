"""How many planes each matrix gets under a budget of bits: greedily, what lowers the loss most per bit.

The loss of a matrix is a sensitivity x the relative squared error of rounding at N planes (of Gaussian weights,
docs/MODEL.md). The sensitivities are measured on the model at hand (jobs/sensitivity.py); where that is not done
they are SENSITIVITY of the matrix's kind x its weights, derived from allocations that a Fisher-weighted search made
on a real model of 30 layers at three budgets.
"""

import heapq
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from bitconverter.format.errors import UserError
from bitconverter.model.plan import MAX_PLANES, PLANES, TensorPlan, stored_parts

ROUNDING_ERROR = {1: 0.189, 2: 0.0301, 3: 0.0044, 4: 0.00054}
SENSITIVITY = {
    "self_attn.v_proj": 300.0, "self_attn.k_proj": 155.0, "mlp.down_proj": 40.0, "mlp.up_proj": 40.0,
    "mlp.gate_proj": 36.0, "self_attn.o_proj": 34.0, "self_attn.q_proj": 27.0,
}  # fmt: skip
SCALE_BYTES = 2  # one f16 a row


def allocate(
    plan: Iterable[TensorPlan], bits: float, sensitivity: Mapping[str, float] | None = None
) -> tuple[TensorPlan, ...]:
    """The plan with the number of planes of every linear matrix chosen, so that planes and scales together take at
    most `bits` per linear weight, and as nearly that as whole matrices allow. `sensitivity` by matrix, in nats per
    token for a relative squared error of 1; None: the table.

    Raises UserError("bits") when one plane everywhere is more than that already.
    """
    tensors = [replace(t, n_planes=1) if t.linear else t for t in plan]
    linear = [k for k, t in enumerate(tensors) if t.linear]
    open_ones = [k for k in linear if tensors[k].form == PLANES]  # a ternary matrix has its one plane
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
    known = (
        sensitivity if sensitivity is not None else {tensors[k].name: _typical(tensors[k]) for k in open_ones}
    )
    queue = [_upgrade(tensors[k], k, layers, known[tensors[k].name]) for k in open_ones]
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
            heapq.heappush(queue, _upgrade(more, k, layers, known[more.name]))
    return tuple(tensors)


def bits_of(plan: Iterable[TensorPlan]) -> float:
    """Bits per linear weight of the planes and scales."""
    linear = [tensor for tensor in plan if tensor.linear]
    return 8 * sum(map(stored_bytes, linear)) / sum(math.prod(tensor.shape) for tensor in linear)


def stored_bytes(tensor: TensorPlan) -> int:
    """Bytes of a matrix's planes and scales."""
    (_, planes), (_, scales) = stored_parts(tensor)
    return math.prod(planes) + SCALE_BYTES * math.prod(scales)


def _typical(tensor: TensorPlan) -> float:
    *_, block, name, _ = tensor.name.split(".")
    return SENSITIVITY[f"{block}.{name}"] * math.prod(tensor.shape)


def _upgrade(tensor: TensorPlan, index: int, layers: int, sensitivity: float) -> tuple[float, int, int]:
    """(minus the gain per weight of one more plane, a tie-breaker, index): the smallest goes first.

    Of equal matrices those of the first and last layers go first.
    """
    layer, n = int(tensor.name.split(".")[2]), tensor.n_planes
    gain = sensitivity / math.prod(tensor.shape) * (ROUNDING_ERROR[n] - ROUNDING_ERROR[n + 1])
    return -gain, min(layer, layers - 1 - layer), index


def _layers(tensors: list[TensorPlan]) -> int:
    return 1 + max(int(t.name.split(".")[2]) for t in tensors if t.linear)
