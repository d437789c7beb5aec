"""gpu_accesses.py counts what a card would do. What a request costs is tested in native/tests/cuda_emulator."""

from pathlib import Path

import gpu_accesses
import pytest
from card_models import VOCAB, Shape, write_model
from gpu_accesses import Accesses

from bitconverter import engine

ROW = Accesses("bc_one", "shared", "write", 4, 10, 40, 10, "few.cuh:1 < few.cuh:9")


def test_the_head_is_read_once_by_whole_requests(tmp_path: Path) -> None:
    if not gpu_accesses.DRIVER.exists():
        pytest.skip(f"{gpu_accesses.DRIVER.name} is not built: python tools/dev.py ctest")
    if not (Path(engine.__file__).parent / "libbitconverter_cuda.so").exists():
        pytest.skip("this installation has no CUDA backend")
    folder = write_model(tmp_path / "model", Shape(64, 4, 1, hidden=512))
    rows = gpu_accesses.count(folder, "one", 3, "int8")
    head = [row for row in rows if row.kernel == "bc_gemv_int8" and row.memory == "device"]
    # a warp has a row of 512 int8: 16 a lane, and as much of the token; a lane writes the logit
    read = [row for row in head if (row.access, row.bytes) == ("read", 16)]
    assert sum(row.requests for row in read) == 2 * VOCAB
    assert sum(row.cost for row in read) == sum(row.fewest for row in read) == 2 * VOCAB * 512 / 32
    written = [row for row in head if row.access == "write"]
    assert [(row.bytes, row.requests, row.cost) for row in written] == [(4, VOCAB, VOCAB)]
    source = (gpu_accesses.ROOT / "native/cuda/kernels/gemv.cuh").read_text(encoding="utf-8").splitlines()
    assert written[0].place.startswith("gemv.cuh:")
    assert "=" in source[int(written[0].place.split(":")[1].split(" ")[0]) - 1]
    assert all(row.requests <= row.cost and row.fewest <= row.cost for row in rows)
    assert {"bc_one", "bc_prepare_x"} < {row.kernel for row in rows}


def test_the_most_expensive_comes_first_and_shares_are_of_its_memory() -> None:
    cheap = Accesses("bc_add", "device", "read", 16, 1, 16, 16, "reduce.cuh:2")
    rare = Accesses("bc_one", "shared", "read", 16, 1, 4, 4, "few.cuh:3")
    rows = gpu_accesses.merged([cheap, ROW, rare, ROW])
    assert [" ".join(line.split()) for line in gpu_accesses.table(rows, 0.05)] == [
        "bc_one",
        "84 turns of shared memory, 71% lost",
        "80 75% lost 20 x write 4 few.cuh:1 < few.cuh:9",
        "bc_add",
        "16 sectors of the device's memory, 0% lost",
        "16 0% lost 1 x read 16 reduce.cuh:2",
    ]


def test_without_the_counting_card_it_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r'"python tools/dev.py ctest" makes it'):
        gpu_accesses.count(tmp_path, "one", 3, "int8", tmp_path / "none.so")
