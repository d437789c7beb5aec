"""Another engine's speed: llama.cpp's llama-bench, a program that the caller names."""

import json
import math
import statistics
import subprocess
from pathlib import Path

from bitconverter.format.errors import UserError

LIMIT = 900  # seconds for one measurement


class Peer:
    """`program` llama-bench, `gguf` a model file; `name` is what a table calls them."""

    def __init__(self, program: str, gguf: str) -> None:
        for path in (program, gguf):
            if not Path(path).is_file():
                raise UserError("benchmark", f"There is no file {path}.", path=path)
        self.program, self.gguf = program, gguf
        self.name = Path(gguf).name

    def measure(self, threads: int, prompt: int, new: int) -> tuple[float, float]:
        """tok/s of prefill of `prompt` tokens and of decoding `new` ones from an empty context."""
        command = [self.program, "-m", self.gguf, "-t", str(threads), "-p", str(prompt), "-n", str(new)]
        try:
            done = subprocess.run(
                [*command, "-r", "1", "-o", "json"],
                capture_output=True,
                encoding="utf-8",
                timeout=LIMIT,
                check=True,
            )
            speeds = {
                bool(row["n_gen"]): statistics.median(row["samples_ts"]) for row in json.loads(done.stdout)
            }
            if not all(math.isfinite(speed) and speed > 0 for speed in speeds.values()):
                raise ValueError(f"its speeds are {speeds}")
            return speeds[False], speeds[True]
        except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            raise UserError(
                "benchmark",
                f"{self.program} did not measure {self.gguf}: {said[-1] if said else 'it said nothing'}",
                path=self.program,
            ) from error
