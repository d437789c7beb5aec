"""A stack of layers gives back the pages of its file, and they come again when they are needed."""

import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from reference.converted import write_converted

from bitconverter.engine import Engine
from bitconverter.model.layer_stack import LayerStack


def mapped_pages(path: Path) -> int:
    return sum(
        int(region.rss) for region in psutil.Process().memory_maps(grouped=False) if region.path == str(path)
    )


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system decides")
def test_pages_are_given_back_and_come_again(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_converted(tiny_model, folder, 2, seed=3)
    stack = LayerStack(Engine(1), folder)
    x = np.random.default_rng(0).normal(size=(1, 8, stack.info.hidden_size)).astype(np.float32)
    first, again = x.copy(), x.copy()
    block = stack.block(0, 8)
    block.forward(first, capture=())
    weights = folder / "model.safetensors"
    assert mapped_pages(weights) > 0
    stack.let_go()
    assert mapped_pages(weights) == 0
    block.forward(again, capture=())
    np.testing.assert_array_equal(first, again)
