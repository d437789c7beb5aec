"""The calibrated conversion of the real small model: how close it stays, against a recorded value."""

from pathlib import Path

import pytest

from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.evaluate import EvaluateJob
from bitconverter.jobs.job import Cancel, Finished, run_job

# Not in the calibration text.
TEXT = """\
The lighthouse at the end of the pier had not been lit for thirty years, but every evening the old harbour master
walked out to it with a can of oil, climbed the ninety-one steps and polished the brass. When the children asked him
why, he said that a lamp was like a promise: it did not matter whether anybody needed it tonight. In winter the spray
froze on the railing, and he went slowly, one hand on the rope, talking to the gulls as if they were clerks who had
come late to the office.

A compiler reads a program in several passes. The first turns characters into tokens, the second arranges the tokens
in a tree, and the third walks over the tree and checks that every name means something and every operation fits the
types of its operands. Only then does it begin to write instructions. Errors found early are cheap: a missing bracket
is reported in a millisecond, while a wrong pointer may hide for years and then bring down a machine on a Sunday.

Bread needs four things: flour, water, salt and time. Mix the first three, fold the dough a few times during the first
hours, and let the fourth do its work overnight in a cool place. In the morning it should be full of bubbles and
tremble a little when the bowl is moved. Bake it in a very hot oven, in a pot with a lid if you have one, and do not
cut it until it has stopped singing.

"You could have written," she said, and put the kettle on. "I did write," he answered, "four times. But the letters
sounded like someone else, so I burned them, and then the summer was over." She looked at him for a while. The clock
in the hall struck five, though it was nearly half past. "Well," she said at last, "sit down, whoever you are."
"""


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def divergence(model: Path, reference: Path, text: Path) -> float:
    last = run_job(EvaluateJob(str(model), str(text), str(reference)), lambda _: None, Cancel())
    assert isinstance(last, Finished), last
    assert last.result.kl is not None
    return float(last.result.kl)


@pytest.mark.slow
def test_two_planes_stay_as_close_as_recorded(smollm2: Path, text: Path, tmp_path: Path) -> None:
    """Few windows, to be quick: with the default 64 it is closer."""
    results = {}
    for method in ("fast", "full"):
        job = ConvertJob(
            str(smollm2), str(tmp_path / method), 2, method=method, calibration_windows=4, polish=0
        )
        assert isinstance(run_job(job, lambda _: None, Cancel()), Finished)
        results[method] = divergence(tmp_path / method, smollm2, text)
    assert results["full"] < RECORDED * 1.15
    assert results["full"] > RECORDED * 0.6  # better than that is not believed
    assert results["full"] < results["fast"] / 2


RECORDED = 0.363
