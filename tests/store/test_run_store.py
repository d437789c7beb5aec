"""The list of trainings: what is written is read back, whatever else the file holds."""

import math
import sqlite3
from pathlib import Path

import pytest

from bitconverter.format.errors import UserError
from bitconverter.store import run_store
from bitconverter.store.ran_on import RanOn
from bitconverter.store.run_store import ASIDE, DONE, UNFINISHED, RunStore, open_runs


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "田中 太郎 é" / "runs.sqlite3"


def test_a_run_is_kept_from_its_beginning_to_its_end(path: Path) -> None:
    with open_runs(path) as store:
        first = store.begin("/a.soul", {"steps": 30, "labels": ("a", "b"), "rate": 0.01}, resumed=False)
        (begun,) = store.runs()
        assert (begun.outcome, begun.ended, begun.settings["labels"]) == (UNFINISHED, None, ["a", "b"])
        store.end(
            first, DONE, "/a.soul", {"before": 2.0, "after": math.nan}, [(1, 2.5)], [(0, 2.0), (1, 1.5)]
        )
        second = store.begin("/b.soul", {}, resumed=False)
    with open_runs(path) as store:
        newest, oldest = store.runs()
        assert (newest.id, oldest.id, oldest.outcome) == (second, first, DONE)
        assert oldest.losses == () and oldest.ended is not None and oldest.ended >= oldest.started
        whole = store.run(first)
        assert whole.numbers == {"before": 2.0}  # what is no number is not there
        assert (whole.losses, whole.checks) == (((1, 2.5),), ((0, 2.0), (1, 1.5)))
        assert [run.id for run in store.runs(most=1)] == [second]
        assert store.runs(most=0) == store.runs(most=2**80) == [newest, oldest]  # 0: all


def test_a_run_that_goes_on_keeps_its_number(path: Path) -> None:
    with open_runs(path) as store:
        first = store.begin("/a.soul", {"steps": 1}, resumed=False)
        assert store.begin("/a.soul", {"steps": 1}, resumed=True) == first
        other = store.begin("/a.soul", {"steps": 2}, resumed=False)
        assert other != first and store.begin("/a.soul", {"steps": 2}, resumed=True) == other
        store.end(other, ASIDE, "/a.soul.aside", {}, [], [])
        assert store.run(other).soul == "/a.soul.aside"
        assert store.begin("/c.soul", {}, resumed=True) not in (first, other)  # its record is lost


@pytest.mark.parametrize("number", [0, 7, 2**63, 2**80])
def test_a_number_that_is_none_is_said(path: Path, number: int) -> None:
    with open_runs(path) as store, pytest.raises(UserError) as caught:
        store.run(number)
    assert caught.value.code == "run-missing"


def test_values_of_the_wrong_type_do_no_harm(path: Path) -> None:
    with open_runs(path) as store:
        number = store.begin("/a.soul", {}, resumed=False)
        for column, value in (
            ("settings", "[1"), ("numbers", '{"a": "x", "b": true, "c": 1.5}'), ("losses", '[[1, 2], "x", [1]]'),
            ("checks", b"\xff\xfe"), ("outcome", "odd"), ("started", "never"), ("ended", "x"),
        ):  # fmt: skip
            store._connection.execute(f"UPDATE run SET {column} = ?", (value,))
        found = store.run(number)
    assert (found.settings, found.numbers, found.losses, found.checks) == ({}, {"c": 1.5}, ((1, 2.0),), ())
    assert (found.outcome, found.started, found.ended) == (UNFINISHED, 0, None)


def test_a_damaged_file_is_set_aside_and_a_newer_one_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database at all, but long enough to be looked at" * 40)
    store = RunStore(path)
    assert store.set_aside == path.with_name("runs.sqlite3.bad") and store.runs() == []
    store.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(UserError, match="99") as caught:
        RunStore(path)
    assert caught.value.code == "runs-newer"


def test_the_first_version_stays_readable(path: Path) -> None:
    """What version 1 wrote, by its own words."""
    path.parent.mkdir()
    db = sqlite3.connect(path)
    db.executescript(
        run_store.MIGRATIONS[0]
        + f"PRAGMA application_id={run_store.RUNS.application_id}; PRAGMA user_version=1;"
        "INSERT INTO run(started, ended, outcome, soul, settings, numbers, losses, checks) VALUES "
        "(1000, 2000, 'done', '/a.soul', '{\"steps\": 3}', '{\"after\": 1.5}', '[[1, 2.5]]', '[[0, 2]]');"
    )
    db.close()
    with open_runs(path) as store:
        found = store.run(1)
    assert (found.started, found.ended, found.settings, found.numbers) == (
        1000,
        2000,
        {"steps": 3},
        {"after": 1.5},
    )
    assert (found.losses, found.checks) == (((1, 2.5),), ((0, 2.0),))
    assert found.devices == ()


def test_where_a_run_ran_is_kept(path: Path) -> None:
    devices = (RanOn("cpu", all_layers=6, before=10), RanOn("cuda:0", "RTX 4070 é", 4, 6, True, 10))
    with open_runs(path) as store:
        number = store.begin("/a.soul", {}, resumed=False)
        assert store.run(number).devices == ()
        store.runs_on(number, devices)
        assert store.run(number).devices == store.runs()[0].devices == devices
        odd = '[1, {}, {"where": 1}, {"where": "cuda:1", "layers": "x"}, {"where": "cpu", "more": 1}, null]'
        store._connection.execute("UPDATE run SET devices = ?", (odd,))
        assert store.run(number).devices == (RanOn("cpu"),)


@pytest.mark.parametrize(
    ("first", "second", "differs"),
    [
        (RanOn("cpu"), RanOn("cpu"), False),
        (RanOn("cpu"), RanOn("cuda:0", "A", 2, 2), True),
        (RanOn("cuda:0", "A", 2, 2), RanOn("cuda:1", "A", 2, 2), False),
        (RanOn("cuda:0", "A", 2, 2), RanOn("cuda:0", "B", 2, 2), True),
        (RanOn("cuda:0", "A", 2, 4), RanOn("cuda:0", "A", 3, 4), True),
        (RanOn("cuda:0", "A", 2, 2, True), RanOn("cuda:0", "A", 2, 2, False), True),
        (RanOn("cuda:0", "A", 2, 2, before=3), RanOn("cuda:0", "A", 2, 2, before=4), True),
        (RanOn("cuda:0", "A", 2, 2, before=3), RanOn("cuda:0", "A", 2, 2, before=-1), False),
    ],
)
def test_what_decides_about_the_last_digits(first: RanOn, second: RanOn, differs: bool) -> None:
    assert first.differs(second) is second.differs(first) is differs
