"""Make tests/golden/<family>/delta.npz: what torch's autograd gives for matrices added to the tiny golden models' MLPs.

    python tools/make_golden_delta.py [FOLDER]          (FOLDER: tests/golden)

Needs torch and transformers (5.x was used), like make_golden_gradients.py; run by hand and never at run time or by the
tests. Everything is computed in f64 from the weights widened: gate, up and down of every layer give y = W x + D x with
a random D, and the loss is the mean cross-entropy of every next token. Arrays, f32 unless said:

    loss        f64 []
    d.L.NAME    [rows, cols]  D
    dd.L.NAME                 the loss's gradient with respect to it
"""

from pathlib import Path

import golden_additions
import numpy as np
import torch

FAMILIES = ("smollm2",)


class Added(torch.nn.Module):
    """A linear map with its addition."""

    def __init__(self, linear: torch.nn.Linear, d: np.ndarray) -> None:
        super().__init__()
        self.linear = linear
        self.d = torch.nn.Parameter(torch.from_numpy(d.astype(np.float64)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + x @ self.d.T


def gradients(folder: Path) -> dict[str, np.ndarray]:
    """The arrays above."""
    model = golden_additions.opened(folder)
    rng, added = np.random.default_rng(8), {}
    for i, layer in enumerate(model.model.layers):
        for name in ("gate", "up", "down"):
            linear = getattr(layer.mlp, name + "_proj")
            d = (rng.standard_normal(linear.weight.shape) * 0.1).astype(np.float32)
            added[f"{i}.{name}"] = module = Added(linear, d)
            setattr(layer.mlp, name + "_proj", module)
    return golden_additions.gradients(folder, model, added, ("d",))


def main() -> None:
    golden_additions.write(FAMILIES, "delta.npz", gradients)


if __name__ == "__main__":
    main()
