"""docs/ACCEPTANCE.md names tests that exist, says something of each criterion, and nothing else."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = re.findall(
    r"^\| (\d+) \| (.+?) \| (.+?) \| (.*?) \| (.*?) \|$",
    (ROOT / "docs" / "ACCEPTANCE.md").read_text(encoding="utf-8"), re.MULTILINE,
)  # fmt: skip
WINDOW = re.findall(
    r"^\| ([^|]*[^|\d ][^|]*) \| (holds|partly|not yet|only on real Windows) \| ([^|]*) \| (`tests/[^|]+) \|$",
    (ROOT / "docs" / "ACCEPTANCE.md").read_text(encoding="utf-8"), re.MULTILINE,
)  # fmt: skip
STATES = {"holds", "partly", "not yet", "only on real Windows"}


@cache
def names_in(path: str) -> set[str]:
    return set(re.findall(r"^def (test_\w+)\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE))


def check_names(tests: str) -> list[str]:
    named = re.findall(r"`(tests/[^`]+)`", tests)
    for name in named:
        path, _, test = name.partition("::")
        assert (ROOT / path).is_file() and test in names_in(path), name
    return named


def test_every_promise_of_the_window_names_tests_that_exist() -> None:
    assert len(WINDOW) >= 30
    for _, state, why, tests in WINDOW:
        assert check_names(tests)
        assert state == "holds" or why.strip()


def test_every_criterion_has_its_row_and_a_state() -> None:
    assert [int(row[0]) for row in ROWS] == list(range(1, 26))
    assert {row[2] for row in ROWS} <= STATES


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_every_test_that_is_named_exists(row: tuple[str, ...]) -> None:
    _, _, state, why, tests = row
    assert check_names(tests) or state == "not yet"
    assert state == "holds" or why.strip()  # what is missing is said
    for path in re.findall(r"`((?:tools|installer|docs)/[\w./]+)", why):
        assert (ROOT / path).exists(), path
