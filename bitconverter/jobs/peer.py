"""Another engine's speed: llama.cpp's llama-bench, or one that prints like it, a program that the caller names."""

import json
import math
import shlex
import shutil
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

from bitconverter.engine import Cancel
from bitconverter.format.errors import UserError

LIMIT = 900  # seconds for one measurement
POLL_SECONDS = 0.1  # between looks at a wish to stop
Speeds = dict[str, float]  # "prefill" and "decode": tok/s


class Peer:
    """`program` llama-bench, a file or a name that the system finds; `gguf` a model file; `name` is what a table calls
    them. Raises UserError("peer-missing")."""

    def __init__(self, program: str, gguf: str) -> None:
        # absolute: a name without a folder would be looked for elsewhere than here
        found = Path(program).absolute() if Path(program).is_file() else shutil.which(program)
        for path, there in ((program, found is not None), (gguf, Path(gguf).is_file())):
            if not there:
                raise UserError(
                    "peer-missing",
                    f"There is no file {path!r}. Give the program llama-bench and a .gguf file, with their folders.",
                    path=path,
                )
        self.program, self.gguf = str(found), gguf
        self.name = Path(gguf).name

    def measure(
        self, threads: int, prompt: int, new: int, cancel: Cancel | None = None, repeats: int = 1
    ) -> Speeds:
        """Prefill of `prompt` tokens, if any, and decode of `new` ones from an empty context. Raises
        UserError("peer-failed"); Cancelled, when the program has ended."""
        command = [self.program, "-m", self.gguf, "-t", str(threads), "-p", str(prompt), "-n", str(new)]
        command += ["-r", str(repeats), "-o", "json"]
        try:
            speeds = speeds_in(_output_of(command, cancel))
            missing = {"prefill", "decode"} - ({"prefill"} if prompt == 0 else set()) - set(speeds)
            if missing:
                raise ValueError(f"it told no speed of {' and '.join(sorted(missing))}")
        except ValueError as error:
            raise UserError(
                "peer-failed",
                f"{self.program} did not measure {self.gguf}: {error}. Run it by itself to see more: "
                f"{shlex.join(command)}",
                program=self.program, gguf=self.gguf, why=str(error), command=shlex.join(command),
            ) from error  # fmt: skip
        return speeds


def speeds_in(said: str) -> Speeds:
    """What llama-bench -o json prints, which may have other lines before and behind it (ik_llama.cpp's has); the median
    of a row's samples, or its mean where it tells no samples. Raises ValueError."""
    rows = _rows_in(said)
    if rows is None:
        raise ValueError("what it printed holds no speeds")
    samples = [row.get("samples_ts") or [row.get("avg_ts")] for row in rows]
    if not all(_are_speeds(found) for found in samples):
        raise ValueError("the speeds that it printed are no numbers above 0")
    return {
        "decode" if row["n_gen"] else "prefill": statistics.median(found)
        for row, found in zip(rows, samples, strict=True)
    }


def _rows_in(said: str) -> list[Any] | None:
    """The first JSON list of objects with an "n_gen", in whatever text."""
    start = said.find("[")
    while start >= 0:
        try:
            value, _ = json.JSONDecoder().raw_decode(said, start)
        except ValueError:
            value = None
        except RecursionError:  # so many lists in lists are no speeds, nor is what lies in them
            return None
        if (
            isinstance(value, list)
            and value
            and all(isinstance(row, dict) and "n_gen" in row for row in value)
        ):
            return value
        start = said.find("[", start + 1)
    return None


def _are_speeds(found: Any) -> bool:
    return isinstance(found, list) and all(
        isinstance(speed, int | float) and 0 < speed < math.inf for speed in found
    )


def _output_of(command: list[str], cancel: Cancel | None) -> str:
    """Raises ValueError with the program's last words where it fails."""
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(command, stdout=pipe, stderr=pipe, encoding="utf-8", errors="replace")
    except OSError as error:
        raise ValueError(f"it cannot be started: {error.strerror or error}") from error
    with process:
        try:
            out, err = _wait(process, cancel)
        except BaseException:
            process.kill()
            raise
    if cancel is not None:
        cancel.check()  # Ctrl-C reaches both programs
    if process.returncode:
        said = (err.strip() or out.strip()).splitlines()
        raise ValueError(said[-1] if said else f"it ended with {process.returncode} and said nothing")
    return out


def _wait(process: "subprocess.Popen[str]", cancel: Cancel | None) -> tuple[str, str]:
    end = time.monotonic() + LIMIT
    while True:
        if cancel is not None:
            cancel.check()
        try:
            return process.communicate(timeout=POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if time.monotonic() > end:
                raise ValueError(f"it took more than {LIMIT // 60} minutes") from None
