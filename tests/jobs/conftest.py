"""What the tests of jobs share."""

from pathlib import Path

import pytest
from reference.converted import write_converted


@pytest.fixture(scope="module")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, converted to two planes. A test's module has it to itself."""
    folder = tmp_path_factory.mktemp("converted") / "モデル 2"
    write_converted(tiny_model, folder, 2, seed=3)
    return folder
