"""What make_golden_lora.py and make_golden_delta.py have in common: the loss, its gradients, and the file."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM

Arrays = dict[str, np.ndarray]


def opened(folder: Path) -> torch.nn.Module:
    """The model, widened to f64."""
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float64, attn_implementation="eager"
    ).eval()


def gradients(
    folder: Path, model: torch.nn.Module, added: Mapping[str, torch.nn.Module], parts: Sequence[str]
) -> Arrays:
    """The loss on the folder's tokens; by name of each addition its `parts`, and the loss's gradients of them."""
    tokens = torch.from_numpy(np.load(folder / "tokens.npy").astype(np.int64))[None]
    logits = model(tokens).logits[0, :-1]
    loss = torch.nn.functional.cross_entropy(logits, tokens[0, 1:])
    loss.backward()
    result = {"loss": loss.detach().numpy()}
    for name, module in added.items():
        for part in parts:
            parameter = getattr(module, part)
            result[f"{part}.{name}"] = parameter.detach().numpy().astype(np.float32)
            result[f"d{part}.{name}"] = parameter.grad.numpy().astype(np.float32)
    return result


def write(families: Sequence[str], file: str, made: Callable[[Path], Arrays]) -> None:
    """`file` in each family's folder, below the folder that the command line names or tests/golden."""
    here = Path(__file__).resolve().parents[1] / "tests" / "golden"
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else here
    torch.set_num_threads(1)
    for name in families:
        arrays = made(root / name)
        path = root / name / file
        np.savez_compressed(path, allow_pickle=False, **arrays)
        print(f"{name:14} {path.stat().st_size / 1000:5.0f} kB, loss {arrays['loss']:.4f}")
