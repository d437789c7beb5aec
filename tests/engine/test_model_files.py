"""What lies in a model folder but is not a file must not hold the engine up."""

import os
import shutil
import sys
from pathlib import Path

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
