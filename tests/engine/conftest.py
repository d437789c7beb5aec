"""What the tests of graphics cards share."""

import pytest
from card_models import an_engine

from bitconverter.engine import Engine, UnsupportedError, open_backend


@pytest.fixture(scope="module")
def card() -> Engine:
    """An engine with a card that works; skips with the backend's own sentence where there is none."""
    made = an_engine()
    try:
        open_backend(made)
    except UnsupportedError as error:
        pytest.skip(str(error))
    return made
