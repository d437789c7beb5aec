"""The end of a training, in one piece: what is to be written is told in the work folder first (docs/FORMAT.md section
4.2, `ending.json`). Killed at any moment behind that, the next start finds either nothing of the soul, and goes on from
the checkpoints, or the soul as it was told, and only clears up.
"""

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bitconverter.format.atomic import write_bytes
from bitconverter.jobs import train_state
from bitconverter.jobs.job import Context
from bitconverter.jobs.placement import Placed
from bitconverter.jobs.taught_model import Forgetting
from bitconverter.jobs.train_result import TrainResult, output_exists
from bitconverter.jobs.train_run import TrainRun

ENDING, JOB = "ending.json", "job.json"


@dataclass(frozen=True)
class Ending:
    """`early`: before the last step, because the user wanted it. losses and checks: those of State."""

    result: TrainResult
    early: bool
    losses: list[tuple[int, float]]
    checks: list[tuple[int, float, float]]


def end(run: TrainRun, started: float, early: bool = False, patiently: bool = True) -> Ending:
    """Write the soul, and the step log before it; what an earlier process wrote before it was killed is the same.
    `patiently`: waiting where manners want it. Raises UserError("output-exists"), Cancelled."""
    files = run.files(patiently)
    state, work = run.state, run.job.work_dir
    result = run.result(time.monotonic() - started)
    ending = Ending(result, early, list(state.losses), list(state.checks))
    told = {
        **asdict(ending),
        "job": _text(work / JOB),
        "files": {str(path): hashlib.sha256(data).hexdigest() for path, data in files.items()},
    }
    for path, data in files.items():
        if path.exists() and path.read_bytes() != data:
            raise output_exists(str(path))
    write_bytes(work / ENDING, json.dumps(told).encode())
    for path, data in files.items():
        write_bytes(path, data)
    run.tell_end()
    return ending


def ended(work: Path, ctx: Context) -> Ending | None:
    """The ending of a training that was killed between its soul and the end of the clearing up, else None. What was
    told and did not come to its soul is taken back: the training goes on."""
    try:
        told: Any = json.loads((work / ENDING).read_bytes())
        ending = _parsed(told)
        # only what lies beside the work folder, as its soul does: nothing else is ever taken back
        files = {Path(p): sha256 for p, sha256 in told["files"].items() if Path(p).parent == work.parent}
        same_job = _text(work / JOB) in ("", told["job"])  # "": it was cleared up already
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        (work / ENDING).unlink(missing_ok=True)
        return None
    if same_job and _sha256(Path(ending.result.out)) == files.get(Path(ending.result.out), "?"):
        ctx.emit(train_state.told(work, ending.losses, ending.checks))
        return ending
    if train_state.present(work):
        for path, sha256 in files.items():  # the step log, which another ending makes anew
            if _sha256(path) == sha256:
                path.unlink()
    (work / ENDING).unlink()
    return None


def forget(work: Path) -> None:
    """Behind all that the clearing up removes."""
    (work / JOB).unlink(missing_ok=True)
    (work / ENDING).unlink(missing_ok=True)


def _parsed(told: Any) -> Ending:
    values = dict(told["result"])
    forgetting = values["forgetting"]
    values["forgetting"] = None if forgetting is None else Forgetting(**forgetting)
    values["placed"] = Placed(**values["placed"])
    return Ending(
        TrainResult(**values),
        bool(told["early"]),
        [(int(step), float(loss)) for step, loss in told["losses"]],
        [(int(step), float(loss), float(right)) for step, loss, right in told["checks"]],
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
