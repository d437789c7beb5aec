"""The files of a model folder: what is none must not hold the engine up, and all bytes of the others can be read."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import GOLDEN

from bitconverter.engine import Engine, FileError, Model


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no FIFOs in folders")
@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_fifo_in_the_folder_is_refused_at_once(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(GOLDEN / "llama2", folder)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(FileError, match="not a regular file"):
        Model(Engine(1), folder)


@pytest.mark.parametrize("threads", [1, 3])
def test_reading_a_model_reads_every_byte_of_its_files(threads: int) -> None:
    folder = GOLDEN / "llama2"
    model = Model(Engine(threads), folder)
    files = [np.fromfile(path, np.uint8) for path in folder.glob("*.safetensors")]
    assert model.info.mapped_bytes == sum(len(data) for data in files) > 0
    assert model.read() == sum(model.engine.read(data) for data in files) % 2**64
    longer = np.append(files[0], np.uint8(1))
    assert model.engine.read(longer) == model.engine.read(files[0]) + 1  # a byte more would show
