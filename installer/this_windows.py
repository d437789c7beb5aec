"""The Windows that this runs on, with the same calls as a wine prefix (tools/wine.py)."""

import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path


class ThisWindows:
    """`home`: the user's folder. Programs started here are ended by their names."""

    def __init__(self) -> None:
        self.home = Path.home()
        self.folder = self.home

    def create(self) -> None:
        """It is there."""

    def run(
        self, command: Sequence[str | Path], *, timeout: float = 300
    ) -> "subprocess.CompletedProcess[str]":
        """Run a program; its output is in stdout, both kinds."""
        return subprocess.run(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=timeout, encoding="utf-8", errors="replace",
        )  # fmt: skip

    def start(self, command: Sequence[str | Path]) -> None:
        """Start a program and do not wait for it."""
        subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def processes(self, name: str) -> list[int]:
        """Of the program `name` (its file's beginning)."""
        listing = self.run(["tasklist", "/FO", "CSV", "/NH"]).stdout
        return [
            int(number) for number in re.findall(rf'^"{re.escape(name)}[^"]*","(\d+)"', listing, re.MULTILINE)
        ]

    def kill(self, name: str) -> None:
        """End that program at once, without asking it."""
        for number in self.processes(name):
            self.run(["taskkill", "/F", "/PID", str(number)])

    def windows_path(self, path: Path) -> str:
        """The path itself."""
        return str(path)

    def host_path(self, path: str) -> Path:
        """The path itself."""
        return Path(path)

    def registry(self) -> str:
        """The user's programs' part of the registry."""
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "software.reg"
            self.run(["reg", "export", r"HKCU\Software", out, "/y"])
            return out.read_text(encoding="utf-16")

    def stop(self) -> None:
        """Nothing of it is ours to end."""
