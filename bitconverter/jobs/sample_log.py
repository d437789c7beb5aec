"""What a training answered on its way, in its work folder, so that whoever opens it again can read it.

`samples.jsonl` has a line of JSON for each answer. A training that goes on from an earlier state gives the same answers
once more: of two to one question after one step the later line counts. No bit of the training depends on the file.
"""

import contextlib
import json
from pathlib import Path

Sample = tuple[int, str, str]  # step, question, answer

NAME = "samples.jsonl"
MOST = 50_000_000  # bytes that are read: many times what the longest training writes


def add(folder: Path, sample: Sample) -> None:
    """One more. A disk that is full is told of by the next saved state, which needs more room."""
    with contextlib.suppress(OSError), open(folder / NAME, "ab") as file:
        file.write(b"\n" + json.dumps(sample).encode() + b"\n")  # a kill may have cut off the line before


def read(folder: Path) -> list[Sample]:
    """All, in the order in which they were given; none where the file cannot be read. A damaged line is passed over."""
    found: dict[tuple[int, str], Sample] = {}
    try:
        with open(folder / NAME, "rb") as file:
            lines = file.read(MOST).splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            step, question, answer = json.loads(line)
        except (ValueError, TypeError, RecursionError):
            continue
        if type(step) is int and isinstance(question, str) and isinstance(answer, str):
            found[step, question] = (step, question, answer)
    return list(found.values())


def remove(folder: Path) -> None:
    """The file."""
    (folder / NAME).unlink(missing_ok=True)
