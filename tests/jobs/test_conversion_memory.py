"""A conversion never holds its source: under a cap that the weights alone would break, it ends."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from model_folders import edit_config, golden_copy
from safetensors.numpy import save_file

HIDDEN, INNER, LAYERS = 512, 1536, 24
LARGEST = 4 * HIDDEN * INNER  # bytes of the largest tensor in f32
ROOM = 96 << 20  # bytes: threads' stacks, tables, what the allocator keeps

# RLIMIT_DATA caps what a process has for itself, threads' stacks included; files that are mapped do not count.
CAPPED = """
import resource, sys
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.job import Cancel, Failed, run_job
now = next(int(line.split()[1]) for line in open("/proc/self/status", encoding="ascii") if line.startswith("VmData"))
limit = now * 1024 + int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
job = ConvertJob(source=sys.argv[1], out=sys.argv[2], method="fast", report=False, threads=2)
last = run_job(job, lambda event: None, Cancel())
print(type(last).__name__, type(getattr(last, "error", None)).__name__)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """82 million random weights in many layers, as a large model has them."""
    folder = golden_copy("llama2", tmp_path_factory.mktemp("many") / "layers")
    edit_config(
        folder, hidden_size=HIDDEN, intermediate_size=INNER, num_hidden_layers=LAYERS, num_attention_heads=8,
        num_key_value_heads=8, tie_word_embeddings=True,
    )  # fmt: skip
    vocab = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    random = np.random.default_rng(1)

    def weights(*shape: int) -> np.ndarray:
        return (random.standard_normal(shape, dtype=np.float32) * 0.02).astype(np.float16)

    tensors = {
        "model.embed_tokens.weight": weights(vocab, HIDDEN),
        "model.norm.weight": np.ones(HIDDEN, np.float16),
    }
    shapes = {"gate": (INNER, HIDDEN), "up": (INNER, HIDDEN), "down": (HIDDEN, INNER)}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        for name in "qkvo":
            tensors[f"{at}.self_attn.{name}_proj.weight"] = weights(HIDDEN, HIDDEN)
        for name, shape in shapes.items():
            tensors[f"{at}.mlp.{name}_proj.weight"] = weights(*shape)
        for name in ("input", "post_attention"):
            tensors[f"{at}.{name}_layernorm.weight"] = np.ones(HIDDEN, np.float16)
    save_file(tensors, str(folder / "model.safetensors"))
    return folder


def convert(source: Path, out: Path, room: int) -> str:
    done = subprocess.run(
        [sys.executable, "-c", CAPPED, str(source), str(out), str(room)],
        capture_output=True, encoding="utf-8", timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs RLIMIT_DATA")
def test_a_conversion_fits_where_its_source_does_not(source: Path, tmp_path: Path) -> None:
    room = ROOM + 3 * LARGEST
    assert (source / "model.safetensors").stat().st_size > 1.4 * room
    assert convert(source, tmp_path / "out", room) == "Finished NoneType"
    assert (tmp_path / "out" / "model.safetensors").stat().st_size > 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs RLIMIT_DATA")
def test_where_even_that_is_missing_it_is_an_error_and_no_model(source: Path, tmp_path: Path) -> None:
    """The cap is real: with next to nothing the conversion ends with the error of memory."""
    assert convert(source, tmp_path / "out", 1 << 20) in (
        "Failed MemoryError",
        "Failed OutOfMemoryError",
        "Failed _ArrayMemoryError",
    )
    assert not (tmp_path / "out").exists()
