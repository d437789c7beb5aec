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

import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM

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
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float64, attn_implementation="eager"
    ).eval()
    tokens = torch.from_numpy(np.load(folder / "tokens.npy").astype(np.int64))[None]
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
    logits = model(tokens).logits[0, :-1]
    loss = torch.nn.functional.cross_entropy(logits, tokens[0, 1:])
    loss.backward()
    result = {"loss": loss.detach().numpy()}
    for name, module in added.items():
        for short, parameter in (("a", module.a), ("b", module.b)):
            result[f"{short}.{name}"] = parameter.detach().numpy().astype(np.float32)
            result[f"d{short}.{name}"] = parameter.grad.numpy().astype(np.float32)
    return result


def main() -> None:
    here = Path(__file__).resolve().parents[1] / "tests" / "golden"
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else here
    torch.set_num_threads(1)
    for name in FAMILIES:
        arrays = gradients(root / name)
        path = root / name / "lora.npz"
        np.savez_compressed(path, allow_pickle=False, **arrays)
        print(f"{name:14} {path.stat().st_size / 1000:5.0f} kB, loss {arrays['loss']:.4f}")


if __name__ == "__main__":
    main()
