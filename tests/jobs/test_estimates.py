"""What a conversion is told to take of memory and disk is what it takes: within 30 %, in a process of its own.

Time is measured, not asserted: tools/measure_estimates.py.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_folders import edit_config, golden_copy
from safetensors.numpy import save_file

HIDDEN, INNER, LAYERS, VOCABULARY = 512, 2048, 4, 24576
WITHIN = 0.3
MEASURE = Path(__file__).parents[2] / "tools" / "measure_estimates.py"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 million random weights; a vocabulary as large beside the layers as that of a small real model."""
    folder = golden_copy("llama3.1", tmp_path_factory.mktemp("told") / "見積り")
    edit_config(
        folder, hidden_size=HIDDEN, intermediate_size=INNER, num_hidden_layers=LAYERS, num_attention_heads=8,
        num_key_value_heads=4, head_dim=64, vocab_size=VOCABULARY, tie_word_embeddings=True,
        max_position_embeddings=512,
    )  # fmt: skip
    random = np.random.default_rng(1)

    def weights(*shape: int) -> np.ndarray:
        return (random.standard_normal(shape, dtype=np.float32) * 0.02).astype(np.float16)

    tensors = {"model.embed_tokens.weight": weights(VOCABULARY, HIDDEN)}
    tensors["model.norm.weight"] = np.ones(HIDDEN, np.float16)
    shapes = {
        "self_attn.q": (HIDDEN, HIDDEN), "self_attn.k": (HIDDEN // 2, HIDDEN), "self_attn.v": (HIDDEN // 2, HIDDEN),
        "self_attn.o": (HIDDEN, HIDDEN), "mlp.gate": (INNER, HIDDEN), "mlp.up": (INNER, HIDDEN),
        "mlp.down": (HIDDEN, INNER),
    }  # fmt: skip
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        for name, shape in shapes.items():
            tensors[f"{at}.{name}_proj.weight"] = weights(*shape)
        for name in ("input", "post_attention"):
            tensors[f"{at}.{name}_layernorm.weight"] = np.ones(HIDDEN, np.float16)
    for file in folder.glob("*.safetensors"):
        file.unlink()
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    return folder


def measured(source: Path, method: str, *more: str) -> dict[str, Any]:
    """What the tool that people run says of one conversion: {"memory": [told, taken], "disk": …}."""
    done = subprocess.run(
        [sys.executable, str(MEASURE), str(source), "--json", "--presets", "tiny", "--methods", method, *more],
        capture_output=True, encoding="utf-8", timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert len(rows) == 1
    return dict(rows[0])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="own memory is counted otherwise there")
@pytest.mark.parametrize(
    ("method", "more"), [("fast", ()), ("full", ("--windows", "8", "--polish", "1"))], ids=["fast", "full"]
)
def test_memory_and_disk_are_what_was_told(source: Path, method: str, more: tuple[str, ...]) -> None:
    """Fewer windows and steps than usual: what they take is reckoned with, and they take less time."""
    found = measured(source, method, *more)
    for what in ("memory", "disk"):
        told, taken = found[what]
        assert abs(taken / told - 1) < WITHIN, (what, told, taken)
    assert found["seconds"][0] > 0
