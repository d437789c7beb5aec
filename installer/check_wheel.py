"""The wheel as somebody with a Python installs it: by pip, into an empty virtual environment, with what it needs from
PyPI; then the installed `bitconverter` tried."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import self_test_report
import windows_python
from devenv import WINDOWS, SetupError, environment, run, say

OFFSCREEN = ["--platform", "offscreen"]
FOREIGN = ("VIRTUAL_ENV", "PYTHONPATH", "BITCONVERTER_HOME")  # what would lead to another program


def check(wheel: Path, version: str) -> None:
    """On the system that this runs on."""
    say(f"pip install {wheel.name}")
    with tempfile.TemporaryDirectory(prefix="bitconverter wheel 日本 ") as name:
        folder = Path(name)
        env = {key: value for key, value in environment().items() if key not in FOREIGN}
        env["BITCONVERTER_HOME"] = str(folder / "home")
        programs = folder / "venv" / ("Scripts" if WINDOWS else "bin")
        run([sys.executable, "-m", "venv", folder / "venv"], quiet=True, env=env, cwd=folder)
        run([programs / "python", "-m", "pip", "install", "--quiet", wheel], quiet=True, env=env, cwd=folder)
        out = folder / "out" / "report.json"
        out.parent.mkdir()

        def start(*words: str) -> "subprocess.CompletedProcess[str]":
            return subprocess.run(
                [programs / "bitconverter", *words], env=env, cwd=folder, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", timeout=900,
            )  # fmt: skip

        _expect_version(start("--version"), version)
        done = start(*OFFSCREEN, "--selftest", str(out))
        parts = self_test_report.parts(out, done.returncode, done.stdout, frozen=False)
        place = Path(parts["versions"]["executable"])
        if not place.is_relative_to(folder.resolve()):
            raise SetupError(f"the self-test tried {place}, which is not what pip has installed")
    print(f"{wheel.name}: installed by pip, {len(parts)} parts of the self-test passed")


def check_under_wine(wheel: Path, version: str) -> None:
    """The same with the Windows Python of windows_python, whose pip fetches the packages for Windows."""
    say(f"pip install {wheel.name}, under wine")
    prefix = windows_python.PREFIX
    folder = prefix.drive_c / "試し wheel"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    programs = folder / "venv" / "Scripts"
    out = folder / "out" / "report.json"
    out.parent.mkdir()
    settings = {"PIP_CONFIG_FILE": "nul", "PIP_FIND_LINKS": "", "PIP_CERT": ""}  # of this machine's pip
    if certificates := os.environ.get("PIP_CERT"):
        settings["PIP_CERT"] = prefix.windows_path(Path(certificates))

    def start(
        program: Path, *words: str | Path, env: dict[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        given = [prefix.windows_path(word) if isinstance(word, Path) else word for word in words]
        return prefix.run([prefix.windows_path(program), *given], timeout=1800, env=env)

    try:
        done = start(windows_python.PYTHON / "python.exe", "-m", "venv", folder / "venv")
        if done.returncode:
            raise SetupError(f"no virtual environment under wine ({done.returncode}): {done.stdout}")
        done = start(programs / "python.exe", "-m", "pip", "install", "--quiet", wheel, env=settings)
        if done.returncode:
            raise SetupError(f"pip under wine ended with {done.returncode}: {done.stdout}")
        _expect_version(start(programs / "bitconverter.exe", "--version"), version)
        done = start(programs / "bitconverter.exe", *OFFSCREEN, "--selftest", out)
        parts = self_test_report.parts(out, done.returncode, done.stdout, frozen=False)
        place = parts["versions"]["executable"]
        if not place.startswith(prefix.windows_path(folder)):
            raise SetupError(f"the self-test tried {place}, which is not what pip has installed")
    finally:
        prefix.stop()
    shutil.rmtree(folder)
    print(f"{wheel.name}: installed by pip under wine, {len(parts)} parts of the self-test passed")


def _expect_version(done: "subprocess.CompletedProcess[str]", version: str) -> None:
    if done.returncode or f"bitconverter {version}" not in done.stdout:
        raise SetupError(f"the installed bitconverter --version ended with {done.returncode}: {done.stdout}")
