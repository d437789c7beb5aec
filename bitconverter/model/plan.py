"""What becomes of each tensor: planes (and how many), int8, or as it is. A pure function of shapes and options."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bitconverter.model import names

PLANES, DIRECT, INT8, DENSE = "planes", "direct", "int8", "dense"  # direct: planes without a rotation
MAX_PLANES = 4


@dataclass(frozen=True)
class TensorPlan:
    """One source tensor and the form it is stored in (docs/FORMAT.md 1.2).

    `n_planes` is 0 unless form is "planes" or "direct". `input` names the activation that the matrix reads, the
    same for matrices that share it (q, k, v; gate, up): where calibration finds its importance; "" if none.
    """

    name: str
    shape: tuple[int, ...]
    form: str
    n_planes: int = 0
    input: str = ""

    @property
    def linear(self) -> bool:
        """Whether it counts into bits per linear weight: the decoder layers' matrices."""
        return self.form in (PLANES, DIRECT)


def make_plan(info: Any, n_planes: int | Callable[[str], int]) -> list[TensorPlan]:
    """The plan for a model of shape `info` (an engine ModelInfo), in file order; `n_planes` for all, or by name."""
    choose = n_planes if callable(n_planes) else lambda _name: n_planes
    plan = []
    for name, shape in names.expected_tensors(info).items():
        if name in (names.EMBEDDING, names.HEAD):
            plan.append(TensorPlan(name, shape, INT8))
            continue
        layer, inside = _split(name)
        if len(shape) == 2 and inside in names.INPUTS:
            count = choose(name)
            assert 1 <= count <= MAX_PLANES
            plan.append(TensorPlan(name, shape, PLANES, count, f"{layer}.{names.INPUTS[inside]}"))
        else:
            plan.append(TensorPlan(name, shape, DENSE))
    return plan


def stored_parts(plan: TensorPlan) -> list[tuple[str, tuple[int, ...]]]:
    """The (name, shape) of the tensors it is stored as."""
    stem = plan.name.removesuffix(".weight")
    if plan.linear:
        rows, cols = plan.shape
        name = ".planes" if plan.form == PLANES else ".direct_planes"
        return [(stem + name, (plan.n_planes, -(-rows // 5), cols)), (stem + ".scales", (rows,))]
    if plan.form == INT8:
        return [(stem + ".int8", plan.shape), (stem + ".scales", plan.shape[:1])]
    return [(plan.name, plan.shape)]


def estimated_bytes(plan: Iterable[TensorPlan], source_bytes: Mapping[str, int]) -> int:
    """Bytes of the finished weight file, without alignment; a tensor kept as it is has its source's bytes."""
    total = 0
    for tensor in plan:
        if tensor.form == DENSE:
            total += source_bytes.get(tensor.name, 0)
            continue
        (_, codes), (_, scales) = stored_parts(tensor)
        width = 2 if tensor.form == PLANES else 4
        total += _product(codes) + width * _product(scales)
    return total


def _split(name: str) -> tuple[str, str]:
    """("model.layers.3", "self_attn.q_proj") of a layer's weight; empty strings for others."""
    parts = name.split(".")
    if len(parts) < 5 or parts[:2] != ["model", "layers"] or parts[-1] != "weight":
        return "", ""
    return ".".join(parts[:3]), ".".join(parts[3:-1])


def _product(shape: tuple[int, ...]) -> int:
    out = 1
    for n in shape:
        out *= n
    return out
