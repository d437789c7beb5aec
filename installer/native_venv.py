"""An environment of the locked packages for the system that builds, and PyInstaller in it."""

import os
import shutil
import sys
from pathlib import Path

import devenv
from devenv import run, say
from lock import LOCKS, PYTHON_VERSION


def make(folder: Path, system: str, wheel: Path) -> Path:
    """A fresh virtual environment of this Python with the locks of `system` and our wheel; its Python."""
    if sys.version_info[:2] != tuple(map(int, PYTHON_VERSION.split("."))):
        raise devenv.SetupError(
            f"the locked packages are for Python {PYTHON_VERSION}; this is {sys.version.split()[0]}"
        )
    say(f"the locked packages into {folder.relative_to(devenv.ROOT)}")
    shutil.rmtree(folder, ignore_errors=True)
    run([sys.executable, "-m", "venv", folder], quiet=True)
    python = folder / ("Scripts/python.exe" if devenv.WINDOWS else "bin/python")
    pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
    lists: list[str | Path] = [
        word for name in (system, f"{system}-build") for word in ("-r", LOCKS / f"{name}.txt")
    ]
    run([*pip, "--require-hashes", *lists], quiet=True)
    run([*pip, wheel], quiet=True)
    return python


def freeze(python: Path, spec: Path, build: Path) -> None:
    """Run PyInstaller; the program lies in build/dist/BitConverter."""
    env = devenv.environment() | {"BITCONVERTER_BUILD": str(build), "PATH": os.environ["PATH"]}
    words: list[str | Path] = [
        "--noconfirm",
        "--distpath",
        build / "dist",
        "--workpath",
        build / "work",
        spec,
    ]
    # not in our folder: it would take the program from there instead of from the wheel
    run([python, "-m", "PyInstaller", *words], quiet=True, env=env, cwd=build)
