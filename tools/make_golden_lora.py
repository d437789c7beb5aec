"""Make tests/golden/<family>/lora.npz: what torch's autograd gives for low-rank additions to the tiny golden models.

    python tools/make_golden_lora.py [FOLDER]          (FOLDER: tests/golden)

Needs torch and transformers (5.x was used), like make_golden_gradients.py; run by hand and never at run time or by the
tests. Everything is computed in f64 from the weights widened: every matrix of every layer gives y = W x + B (A x), with
random A and B of rank 3, and the loss is the mean cross-entropy of every next token. Arrays, f32 unless said:

    loss        f64 []
    a.L.NAME    [3, cols]     A
    b.L.NAME    [3, rows]     B transposed
    da.L.NAME, db.L.NAME      the loss's gradients with respect to them
"""

from pathlib import Path

import golden_additions
import numpy as np
import torch

FAMILIES = ("qwen2-window", "qwen3", "smollm2")
RANK = 3


class Added(torch.nn.Module):
    """A linear map with its addition."""

    def __init__(self, linear: torch.nn.Linear, a: np.ndarray, b: np.ndarray) -> None:
        super().__init__()
        self.linear = linear
        self.a = torch.nn.Parameter(torch.from_numpy(a.astype(np.float64)))
        self.b = torch.nn.Parameter(torch.from_numpy(b.astype(np.float64)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + (x @ self.a.T) @ self.b


def gradients(folder: Path) -> dict[str, np.ndarray]:
    """The arrays above."""
    model = golden_additions.opened(folder)
    rng, added = np.random.default_rng(8), {}
    for i, layer in enumerate(model.model.layers):
        for name, linear in list(layer.named_modules()):
            if isinstance(linear, torch.nn.Linear):
                rows, cols = linear.weight.shape
                a = (rng.standard_normal((RANK, cols)) / np.sqrt(cols)).astype(np.float32)
                b = (rng.standard_normal((RANK, rows)) * 0.3).astype(np.float32)
                parent, short = name.rsplit(".", 1)
                added[f"{i}.{short.removesuffix('_proj')}"] = module = Added(linear, a, b)
                setattr(layer.get_submodule(parent), short, module)
    return golden_additions.gradients(folder, model, added, ("a", "b"))


def main() -> None:
    golden_additions.write(FAMILIES, "lora.npz", gradients)


if __name__ == "__main__":
    main()
