"""What the tests of the engine share."""

import pytest
from card_models import engine_with_card

from bitconverter.engine import Engine


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(2)


@pytest.fixture(scope="module")
def card() -> Engine:
    """An engine with a card that works."""
    return engine_with_card()
