"""The list of jobs that are over: what is written is read back, the newest, whatever else the file holds."""

import math
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bitconverter.format.errors import UserError
from bitconverter.store.job_store import DONE, FAILED, MOST, STOPPED, JobStore, PastJob


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "田中 太郎 é" / "jobs.sqlite3"


def job(number: int, outcome: str = DONE, **more) -> PastJob:
    return PastJob(number, "convert", f"モデル {number} 🙂", "convert", outcome, number, 10 * number, **more)


def test_what_is_over_is_there_when_the_file_is_opened_again(path: Path) -> None:
    first = job(1, result="/出力/a", numbers={"kl": 0.25, "steps": 7})
    second = job(2, FAILED, title="A title", text="what\nand why", details="Traceback")
    with closing(JobStore(path)) as store:
        store.add(first)
        store.add(second)
    with closing(JobStore(path)) as store:
        assert store.jobs() == [second, first]  # the one that ended last comes first


def test_what_is_no_number_or_no_text_for_a_file_is_not_kept(path: Path) -> None:
    with closing(JobStore(path)) as store:
        store.add(job(1, result="/a\udc80b", numbers={"kl": math.nan, "bits": math.inf, "steps": 2}))
        (found,) = store.jobs()
    assert found.numbers == {"steps": 2} and found.result == "/a�b"


def test_removed_comes_back_until_the_bin_is_emptied(path: Path) -> None:
    with closing(JobStore(path)) as store:
        for number in (1, 2, 3):
            store.add(job(number))
        store.remove([1, 3])
        assert [each.id for each in store.jobs()] == [2]
        store.remove([3], removed=False)
        assert [each.id for each in store.jobs()] == [3, 2]
        store.empty_bin()
        store.remove([1], removed=False)
        assert [each.id for each in store.jobs()] == [3, 2]


def test_only_the_newest_are_kept(path: Path) -> None:
    with closing(JobStore(path)) as store:
        for number in range(1, MOST + 6):
            store.add(job(number))
        numbers = [each.id for each in store.jobs()]
    assert numbers == list(range(MOST + 5, 5, -1))


def test_values_of_the_wrong_type_do_no_harm(path: Path) -> None:
    with closing(JobStore(path)) as store:
        store.add(job(1, FAILED))
        for column, value in (
            ("kind", b"\xff"), ("outcome", "odd"), ("started", "never"), ("ended", -3), ("result", 5),
            ("numbers", '{"a": "x", "b": true, "c": 1.5, "d": 1e999}'), ("details", b"\xfe"),
        ):  # fmt: skip
            store._connection.execute(f"UPDATE job SET {column} = ?", (value,))
        (found,) = store.jobs()
        assert (found.kind, found.outcome, found.started, found.ended) == ("", STOPPED, 0, 0)
        assert (found.numbers, found.details) == ({"c": 1.5}, "")
        store._connection.execute("UPDATE job SET numbers = '[1'")
        assert store.jobs()[0].numbers == {}


def test_a_damaged_file_is_set_aside_and_a_newer_one_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database at all, but long enough to be looked at" * 40)
    with closing(JobStore(path)) as store:
        assert store.set_aside == path.with_name("jobs.sqlite3.bad") and store.jobs() == []
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(UserError, match="99") as caught:
        JobStore(path)
    assert caught.value.code == "jobs-newer"
