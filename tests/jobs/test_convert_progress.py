"""One bar over all stages of a conversion: what is quick counts little."""

from pathlib import Path

import pytest
from model_folders import golden_copy

from bitconverter.jobs.convert_progress import Stages
from bitconverter.jobs.job import Cancel, Context, Event, Progress
from bitconverter.jobs.preflight import check
from bitconverter.model.budget import Wish


@pytest.fixture
def events() -> list[Event]:
    return []


def stages(tmp_path: Path, events: list[Event], method: str) -> tuple[Stages, list[bool]]:
    """And of each tensor of its plan whether it is a linear matrix."""
    checked = check(str(golden_copy("llama3.1", tmp_path / "m")), None, Wish())
    assert checked.source is not None
    made = Stages(
        Context(events.append, Cancel()), checked.plan, checked.source,
        method=method, writing=method == "full", measured=method == "full", polished=0.0, report_text=0,
    )  # fmt: skip
    return made, [tensor.linear for tensor in checked.plan]


@pytest.mark.parametrize(("method", "most"), [("full", 0.01), ("diag", 0.05), ("fast", 1.0)])
def test_the_embedding_counts_as_long_as_it_takes(
    method: str, most: float, tmp_path: Path, events: list[Event]
) -> None:
    made, linear = stages(tmp_path, events, method)
    others = sum(span for span, is_linear in zip(made.spans, linear, strict=True) if not is_linear)
    matrices = sum(span for span, is_linear in zip(made.spans, linear, strict=True) if is_linear)
    assert 0 < others <= most * matrices


def test_it_goes_from_nothing_to_all_through_every_stage(tmp_path: Path, events: list[Event]) -> None:
    made, _ = stages(tmp_path, events, "full")
    made.writing(0.5)
    made.writing(1.0)
    made.begin_measuring()
    made.measuring(0.5)
    made.measuring(1.0)
    made.begin_rounding(0)
    done = 0
    for span in made.spans:
        done += span
        made.rounding(done, "layer 0")
    told = [event for event in events if isinstance(event, Progress)]
    counts = [event.done for event in told]
    assert counts == sorted(counts) and counts[0] > 0 and counts[-1] == told[-1].total
    assert [event.item for event in told[:4]] == ["own chat", "own chat", "sensitivity", "sensitivity"]
