"""The tests of graphics cards on an emulated card, where there is no other: slow for a card, but the same code."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bitconverter import engine

ROOT = Path(__file__).parents[2]
DRIVERS = ROOT / "native" / "build-test"  # made with the C tests
GENERAL, SHAPES = "tests/engine/test_gpu.py", "tests/engine/test_gpu_shapes.py"
STEPS = "tests/engine/test_gpu_training.py"
FILES = [
    GENERAL, SHAPES, "tests/engine/test_gpu_check.py", "tests/engine/test_gpu_memory.py",
    "tests/tools/test_measure_gpu.py",
]  # fmt: skip
TRAINING = [STEPS, "tests/jobs/test_gpu_train.py", "tests/model/test_tower_check.py"]


@pytest.mark.parametrize(
    ("driver", "capability", "words", "least"),
    [
        ("emulated", "80", FILES, 100),
        ("emulated", "80", TRAINING, 55),
        # As 12.0: planes as bits, but no product of single bits; kernels that begin before the one before has ended.
        ("emulated", "120", [GENERAL, SHAPES, "-k", "not timed"], 60),
        # Every access of the kernels looked at (native/tests/cuda_emulator/checker.hpp). 6.1: no tensor cores, so gemv,
        # and gate and up apart. 9.0: kernels that begin before the one before has ended.
        ("checked", "61", [SHAPES, STEPS, "-k", "8of1 or two_layers or broad"], 8),
        ("checked", "90", [GENERAL, SHAPES, "-k", "not timed"], 60),  # hundreds of kernels, a call each
        ("checked", "90", [STEPS, "-k", "grouped or odd or more_windows"], 5),
    ],
)
def test_every_test_of_a_card_passes_on_an_emulated_one(
    driver: str, capability: str, words: list[str], least: int
) -> None:
    """In a process of its own: which driver there is is found out once."""
    library = DRIVERS / f"libcuda_{driver}.so"
    if not library.exists():
        pytest.skip(f"the emulated driver is not built ({library.name}): python tools/dev.py ctest")
    if not (Path(engine.__file__).parent / "libbitconverter_cuda.so").exists():
        pytest.skip("this installation has no CUDA backend")
    env = {**os.environ, "BC_CUDA_DRIVER": str(library), "BC_EMULATED_CAPABILITY": capability}
    if driver == "checked":
        env["BC_EMULATED_PROCESSORS"] = "132"  # as many as the cards have that this was measured on
    env.pop("BC_GPU_MODEL", None)
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", *words]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, encoding="utf-8", timeout=1200)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|skipped)", done.stdout)}
    of_a_real_model = 3
    assert counts["passed"] >= least, done.stdout[-2000:]
    assert counts.get("skipped", 0) <= of_a_real_model, done.stdout[-2000:]
