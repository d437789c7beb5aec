"""What the rounding did to each matrix and layer, told as they are committed."""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from bitconverter.jobs.convert_layers import layer_number
from bitconverter.jobs.job import Context, Metric
from bitconverter.model.plan import TensorPlan

MATRIX = "matrix_error:"  # and the kind of matrix, in a metric's name


class RoundingErrors:
    """Emits, of a linear matrix, Metric("matrix_error:down", layer, value), and of a whole layer the mean of its
    matrices: Metric("output_error", layer, value) of calibrated ones, whose error is that of their outputs on text, or
    "weight_error", of their weights. Both relative squared errors."""

    def __init__(self, ctx: Context, plan: Iterable[TensorPlan], committed: Iterable[dict[str, Any]]) -> None:
        """`committed`: the records of another run, told first: who shows them has not seen that run."""
        self._ctx = ctx
        self._linear = {tensor.name for tensor in plan if tensor.linear}
        self._matrices = Counter(layer_number(name) for name in self._linear)
        self._errors: dict[int, list[float]] = {}
        for record in committed:
            self.add(record)

    def add(self, record: dict[str, Any]) -> None:
        """The journal record of one more tensor."""
        name = record["name"]
        if name not in self._linear:
            return
        layer, value = layer_number(name), error_of(record)
        self._ctx.emit(Metric(MATRIX + name.split(".")[-2].removesuffix("_proj"), layer, value))
        errors = self._errors.setdefault(layer, [])
        errors.append(value)
        if len(errors) == self._matrices[layer]:
            kind = "output_error" if "output_error" in record else "weight_error"
            self._ctx.emit(Metric(kind, layer, math.fsum(errors) / len(errors)))


def error_of(record: dict[str, Any]) -> float:
    """Of its outputs where it was calibrated, else of its weights."""
    whole = record["squared_weight"]
    return float(record.get("output_error", record["squared_error"] / whole if whole else 0.0))
