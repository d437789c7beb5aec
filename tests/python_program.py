"""A program for a test to run, in Python."""

import stat
import sys
from pathlib import Path


def write_program(path: Path, code: str) -> str:
    """`code` as a program at `path`. The kernel ends a first line's program at a space, so the shell finds Python:
    it reads the second line as a command, and Python as the beginning of a text."""
    path.write_text(
        f"#!/bin/sh\n'''exec' '{sys.executable}' \"$0\" \"$@\"\n' '''\n{code}\n", encoding="utf-8"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)
