"""Make tests/golden/<family>/gradients.npz: what torch's autograd gives for the tiny golden models.

    python tools/make_golden_gradients.py [FOLDER]          (FOLDER: tests/golden)

Needs torch and transformers (5.x was used), like make_golden.py, whose models and tokens it takes; run by hand
and never at run time or by the tests. Everything is computed in f64 from the weights widened; the loss is the
mean cross-entropy of every next token. Arrays, f32 unless said, T tokens, L layers:

    loss          f64 []
    states        [L + 1, T, hidden]   hidden states: into layer 0, ..., out of the last layer
    d_states      [L + 1, T, hidden]   the loss's gradient with respect to them
    final_norm    [hidden]             with respect to the last norm's weights
    gain.L.NAME   [rows]               with respect to g in y = (1 + g) * (W x) + bias, that is sum_c W * dW
    bias.L.NAME   [rows]               with respect to the bias, where there is one
    norm.L.NAME   [hidden or head_dim] with respect to attn_norm, mlp_norm, q_norm, k_norm
"""

import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM

FAMILIES = ("llama3.1", "mistral", "qwen2-window", "qwen3", "smollm2")
NORMS = {
    "attn_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm",
    "q_norm": "self_attn.q_norm",
    "k_norm": "self_attn.k_norm",
}


def gradients(folder: Path) -> dict[str, np.ndarray]:
    """The arrays above, as f64."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float64, attn_implementation="eager"
    ).eval()
    tokens = torch.from_numpy(np.load(folder / "tokens.npy").astype(np.int64))[None]
    states: list[torch.Tensor] = []

    def keep(state: torch.Tensor) -> None:
        state.retain_grad()
        states.append(state)

    layers = model.model.layers
    layers[0].register_forward_pre_hook(lambda module, args: keep(args[0]))
    for layer in layers:
        layer.register_forward_hook(lambda module, args, out: keep(out))
    logits = model(tokens).logits[0, :-1]
    loss = torch.nn.functional.cross_entropy(logits, tokens[0, 1:])
    loss.backward()

    result = {
        "loss": loss.detach().numpy(),
        "states": np.stack([state.detach().numpy()[0] for state in states]),
        "d_states": np.stack([state.grad.numpy()[0] for state in states]),
        "final_norm": model.model.norm.weight.grad.numpy(),
    }
    for i, layer in enumerate(layers):
        for name, linear in layer.named_modules():
            if not isinstance(linear, torch.nn.Linear):
                continue
            short = name.rsplit(".", 1)[-1].removesuffix("_proj")
            result[f"gain.{i}.{short}"] = (linear.weight * linear.weight.grad).sum(1).detach().numpy()
            if linear.bias is not None:
                result[f"bias.{i}.{short}"] = linear.bias.grad.numpy()
        for short, name in NORMS.items():
            if (norm := dict(layer.named_modules()).get(name)) is not None:
                result[f"norm.{i}.{short}"] = norm.weight.grad.numpy()
    return result


def main() -> None:
    root = (
        Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "tests" / "golden"
    )
    torch.set_num_threads(1)
    for name in FAMILIES:
        arrays = gradients(root / name)
        stored = {key: array if key == "loss" else array.astype(np.float32) for key, array in arrays.items()}
        np.savez_compressed(root / name / "gradients.npz", allow_pickle=False, **stored)
        size = (root / name / "gradients.npz").stat().st_size
        print(f"{name:14} {size / 1000:5.0f} kB, loss {arrays['loss']:.4f}")


if __name__ == "__main__":
    main()
