"""Which exact packages go into the program: `python installer/build.py lock` writes installer/locks/ anew.

Each list is a pip requirements file with the sha256 of the one wheel that is used, so `pip install
--require-hashes --no-deps -r LIST` gives the same bytes everywhere. pip itself resolves (a dry run with
a report), from the dependencies of pyproject.toml.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import devenv
from devenv import ROOT, SetupError, say

LOCKS = ROOT / "installer" / "locks"
PYTHON_VERSION = "3.11"
PLATFORMS = {"windows": "win_amd64", "linux": "manylinux_2_34_x86_64"}
OLDER_LINUX = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
BUILD_TOOLS = {
    "windows": ["pyinstaller==6.22.3", "pefile", "pywin32-ctypes", "colorama"],
    "linux": ["pyinstaller==6.22.3"],
}
# Wanted by a package, and never imported by what we use of it; the self-test of the frozen program proves it.
LEFT_OUT = {
    "huggingface-hub": "tokenizers wants it to download by name; we never do",
    "requests": "gguf wants it for remote files; we read local ones",
    "tqdm": "gguf's writer shows a bar; we only read",
}


def write_locks() -> None:
    """Resolve the newest allowed versions and write one list per system and purpose."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for system in PLATFORMS:
        run_time = _resolve(system, project["dependencies"])
        _write(f"{system}.txt", "what the program is made of", run_time)
        tools = _resolve(system, BUILD_TOOLS[system])
        _write(f"{system}-build.txt", "what freezes it; of this only PyInstaller's bootloader ships", tools)


def _resolve(system: str, wanted: list[str]) -> dict[str, dict[str, Any]]:
    """name -> pip's report of it, of `wanted` and what they need, without LEFT_OUT and what only those need."""
    say(f"resolving for {system}: {' '.join(wanted)}")
    platforms = [PLATFORMS[system], *(OLDER_LINUX if system == "linux" else ())]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [str(devenv.PYTHON), "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        command += ["--report", str(report), "--target", folder, "--python-version", PYTHON_VERSION]
        command += ["--implementation", "cp", "--only-binary=:all:"]
        command += [word for platform in platforms for word in ("--platform", platform)]
        done = subprocess.run([*command, *wanted], capture_output=True, encoding="utf-8")
        if done.returncode:
            raise SetupError(f"pip could not resolve for {system}:\n{done.stderr}")
        items = json.loads(report.read_text(encoding="utf-8"))["install"]
    found = {canonical(item["metadata"]["name"]): item for item in items}
    return {name: found[name] for name in sorted(_reachable(found, wanted))}


def _reachable(found: dict[str, dict[str, Any]], wanted: list[str]) -> set[str]:
    from packaging.requirements import Requirement

    todo, seen = [Requirement(text).name for text in wanted], set[str]()
    while todo:
        name = canonical(todo.pop())
        if name in seen or name in LEFT_OUT or name not in found:
            continue  # pip left a package out: its marker is for another system
        seen.add(name)
        for text in found[name]["metadata"].get("requires_dist", []):
            requirement = Requirement(text)
            if "extra ==" not in str(requirement.marker or ""):
                todo.append(requirement.name)
    return seen


def canonical(name: str) -> str:
    """A package name as pip compares it."""
    return name.lower().replace("_", "-").replace(".", "-")


def _write(name: str, purpose: str, packages: dict[str, dict[str, Any]]) -> None:
    lines = [f"# {purpose}; written by `python installer/build.py lock`, do not edit", ""]
    for package, item in packages.items():
        digest = item["download_info"]["archive_info"]["hashes"]["sha256"]
        lines.append(f"{package}=={item['metadata']['version']} --hash=sha256:{digest}")
    LOCKS.mkdir(exist_ok=True)
    (LOCKS / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{name}: {len(packages)} packages")


def installed(system: str) -> dict[str, str]:
    """name -> version of the run-time list."""
    lines = (LOCKS / f"{system}.txt").read_text(encoding="utf-8").splitlines()
    words = [line.split(" ")[0] for line in lines if "==" in line]
    return {word.split("==")[0]: word.split("==")[1] for word in words}


if __name__ == "__main__":
    sys.exit("run `python installer/build.py lock`")
