"""Sizes that are compared in a sentence."""

import pytest

from bitconverter.format.size_text import at_least, at_most


@pytest.mark.parametrize("there", [0, 5_083_136, 79_600_000, 999_999_999, 1_000_000_000, 3_400_000_001])
@pytest.mark.parametrize("lacking", [1, 4000, 400_000])
def test_what_is_too_little_never_reads_as_enough(there: int, lacking: int) -> None:
    def read(text: str) -> float:
        number, unit = text.split()
        return float(number) * {"MB": 1e6, "GB": 1e9}[unit]

    needed = there + lacking
    assert read(at_most(there)) <= there < needed <= read(at_least(needed)) * (1 + 1e-12)
    assert at_least(needed) != at_most(there)


def test_small_sizes_are_megabytes() -> None:
    assert at_least(80_000_000) == at_most(80_000_000) == "80.00 MB"
    assert at_most(5_083_136) == "5.08 MB" and at_least(2_345_678_901) == "2.35 GB"
