"""What is measured on a graphics card, on an emulated one: that every figure is there, not what it is."""

from pathlib import Path

import measure_gpu
import pytest
from card_models import Shape, engine_with_card, write_model

pytestmark = pytest.mark.gpu

FIGURES = {
    "load_s", "decode_tok_s", "decode_at_20_tok_s", "prefill_40_tok_s", "decode_3_sessions_tok_s", "used_mb",
    "copy_gb_s", "share_of_copy",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def a_card() -> None:
    engine_with_card()


def test_every_figure_is_there_and_each_kernel_s_time(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", Shape(64, 4, 1, layers=2))
    words = "--tokens 1 --prefill 40 --deep 20 --sessions 3 --repeat 2 --kernels --ctx 64 --batch 64"
    found = measure_gpu.measure(measure_gpu.parse([str(folder), *words.split()]))
    assert found["layers"] == "2 of 2, head True" and set(found) >= FIGURES
    assert all(found[name] > 0 for name in FIGURES)
    steps = found["kernels_us"]
    assert list(steps) == ["prefill_40", "one_token_at_40", "one_token_at_0", "3_sessions"]
    for kernels in steps.values():
        every = kernels.pop("all")
        assert [sum(part) for part in zip(*kernels.values(), strict=True)] == pytest.approx(every)
        assert every[0] >= 10 and every[1] > 0 and all(name.startswith("bc_") for name in kernels)
