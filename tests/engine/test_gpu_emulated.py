"""The tests of graphics cards on an emulated card, where there is no other: slow for a card, but the same code."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bitconverter import engine

ROOT = Path(__file__).parents[2]
EMULATED = ROOT / "native" / "build-test" / "libcuda_emulated.so"  # made with the C tests


FILES = [
    "tests/tools/test_measure_gpu.py",
    *(f"tests/engine/test_gpu{name}.py" for name in ("", "_check", "_memory", "_shapes")),
]
TRAINING = [
    "tests/engine/test_gpu_training.py", "tests/jobs/test_gpu_train.py", "tests/model/test_tower_check.py",
]  # fmt: skip


@pytest.mark.parametrize(
    ("capability", "words", "least"),
    [
        ("80", FILES, 100),
        ("61", [FILES[-1], "-k", "8of1 or two_layers"], 6),  # no tensor cores: gemv, and gate and up apart
        ("80", TRAINING, 55),
    ],
)
def test_every_test_of_a_card_passes_on_an_emulated_one(
    capability: str, words: list[str], least: int
) -> None:
    """In a process of its own: which driver there is is found out once."""
    if not EMULATED.exists():
        pytest.skip(f"the emulated driver is not built ({EMULATED.name}): python tools/dev.py ctest")
    if not (Path(engine.__file__).parent / "libbitconverter_cuda.so").exists():
        pytest.skip("this installation has no CUDA backend")
    env = {**os.environ, "BC_CUDA_DRIVER": str(EMULATED), "BC_EMULATED_CAPABILITY": capability}
    env.pop("BC_GPU_MODEL", None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, encoding="utf-8", timeout=1200)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|skipped)", done.stdout)}
    of_a_real_model = 3
    assert counts["passed"] >= least, done.stdout[-2000:]
    assert counts.get("skipped", 0) <= of_a_real_model, done.stdout[-2000:]
