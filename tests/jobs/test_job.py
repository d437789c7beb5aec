"""What every job has in common: it ends with a last event, whatever happens in it."""

from dataclasses import dataclass

import pytest

from bitconverter.format.errors import UserError
from bitconverter.jobs.job import Cancel, Context, Event, Failed, run_job


class _Panic(BaseException):
    """As a library written in Rust raises it."""


@dataclass(frozen=True)
class _Raises:
    error: BaseException
    work_dir = None

    def run(self, ctx: Context) -> None:
        raise self.error


def test_a_panic_of_a_library_is_a_failure() -> None:
    events: list[Event] = []
    last = run_job(_Raises(_Panic("index out of bounds")), events.append, Cancel())
    assert isinstance(last, Failed) and events == [last]
    assert "_Panic: index out of bounds" in str(last.error)
    assert isinstance(last.error.__cause__, _Panic)


def test_a_folder_in_the_place_of_a_file_is_named() -> None:
    last = run_job(
        _Raises(IsADirectoryError(21, "Is a directory", "/x/journal.jsonl")), lambda _: None, Cancel()
    )
    assert isinstance(last, Failed) and isinstance(last.error, UserError)
    assert last.error.code == "folder-in-way" and "/x/journal.jsonl is a folder" in str(last.error)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_what_ends_a_process_goes_on_behind_the_last_event(error: BaseException) -> None:
    events: list[Event] = []
    with pytest.raises(type(error)):
        run_job(_Raises(error), events.append, Cancel())
    assert [type(event) for event in events] == [Failed]
