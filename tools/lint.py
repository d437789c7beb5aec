"""Every style check, in one go; run by `python tools/dev.py lint`, which prepares what it needs."""

import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from devenv import BIN, PYTHON, ROOT, SetupError, environment, say

NATIVE = ROOT / "native"
COMMANDS: list[tuple[str, list[str | Path]]] = [
    ("ruff check", [PYTHON, "-m", "ruff", "check", "."]),
    # no text in the encoding that the system happens to have; a rule that ruff has in preview only
    ("ruff, encodings", [PYTHON, "-m", "ruff", "check", "--preview", "--select", "PLW1514", "."]),
    ("ruff format", [PYTHON, "-m", "ruff", "format", "--check", "."]),
    ("mypy", [PYTHON, "-m", "mypy"]),
    ("import rules", [BIN / "lint-imports"]),
]
# Only platform.c tells Windows from POSIX, and its likeness for the tests; the public header marks its exports.
WINDOWS_ALLOWED = {"src/platform.c", "tests/test_os.c", "include/bitconverter.h"}


FORMATTED = (".c", ".h", ".cpp", ".hpp", ".cu", ".cuh")


def native_sources() -> list[Path]:
    """Our files in C, C++ and CUDA, without build folders."""
    files = [path for suffix in (*FORMATTED, ".inc") for path in NATIVE.rglob(f"*{suffix}")]
    return sorted(path for path in files if not path.relative_to(NATIVE).parts[0].startswith("build"))


def python_sources() -> list[Path]:
    """Our Python files, without what is generated."""
    tops = ("bitconverter", "tests", "tools", "native", "installer")
    files = [path for top in tops for path in (ROOT / top).rglob("*.py")]
    return sorted(path for path in files if path.name != "_abi.py" and "build" not in path.parts)


def windows_only_in_platform() -> list[str]:
    """Places that tell Windows from POSIX where they may not."""
    wrong = []
    for path in native_sources():
        name = path.relative_to(NATIVE).as_posix()
        if name in WINDOWS_ALLOWED:
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        wrong += [
            f"native/{name}:{number}: only src/platform.c may know Windows from POSIX"
            for number, line in enumerate(lines, 1)
            if re.search(r"\b_WIN(32|64)\b|<windows\.h>|__MINGW", line)
        ]
    return wrong


def file_names_are_wide() -> list[str]:
    """Places in the engine that open a file by a name in the code page of Windows, which holds no other script."""
    wrong = []
    for path in native_sources():
        name = path.relative_to(NATIVE).as_posix()
        if not name.startswith(("src/", "cuda/")):
            continue
        narrow = r"\b(Create|Open|Find|Load|Get|Delete|Move)\w*A\s*\("
        if name != "src/platform.c":  # which opens for the others, and has a part of its own for POSIX
            narrow += r"|(?<![.>])\b(fopen|fopen_s|freopen|_?open|creat)\s*\("
        lines = path.read_text(encoding="utf-8").splitlines()
        wrong += [
            f"native/{name}:{number}: files are opened by src/platform.c, by their wide name on Windows"
            for number, line in enumerate(lines, 1)
            if re.search(narrow, line)
        ]
    return wrong


def clang_format() -> list[str]:
    """What clang-format would change."""
    files = [str(path) for path in native_sources() if path.suffix in FORMATTED]
    if not files:
        return []
    done = subprocess.run(
        [str(BIN / "clang-format"), "--dry-run", "--Werror", *files],
        cwd=ROOT, capture_output=True, text=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    return done.stderr.splitlines() if done.returncode else []


def text_files_are_plain() -> list[str]:
    """Unix line ends, no tabs outside Makefiles, a last newline."""
    wrong = []
    for path in [*native_sources(), *python_sources()]:
        data = path.read_bytes()
        if b"\r" in data or b"\t" in data or (data and not data.endswith(b"\n")):
            wrong.append(f"{path.relative_to(ROOT)}: holds a tab or CR, or lacks the last newline")
    return wrong


OWN_CHECKS: list[tuple[str, Callable[[], list[str]]]] = [
    ("clang-format", clang_format),
    ("Windows only in platform.c", windows_only_in_platform),
    ("wide file names", file_names_are_wide),
    ("plain text files", text_files_are_plain),
]


def totals() -> str:
    """How much code there is, and the largest file of each language."""
    return "; ".join(
        _total(name, files)
        for name, files in (("C, C++ and CUDA", native_sources()), ("Python", python_sources()))
        if files
    )


def _total(name: str, files: Iterable[Path]) -> str:
    sizes = {path: len(path.read_bytes().splitlines()) for path in files}
    largest = max(sizes, key=lambda path: sizes[path])
    return (
        f"{name}: {len(sizes)} files, {sum(sizes.values())} lines, "
        f"largest {largest.relative_to(ROOT).as_posix()} ({sizes[largest]})"
    )


def main() -> None:
    """Run all checks, print what each says, raise SetupError if any failed."""
    failed = []
    for name, command in COMMANDS:
        say(name)
        if subprocess.call([str(word) for word in command], cwd=ROOT, env=environment()):
            failed.append(name)
    for name, check in OWN_CHECKS:
        say(name)
        complaints = check()
        print("\n".join(complaints) if complaints else "ok", flush=True)
        if complaints:
            failed.append(name)
    print(totals())
    if failed:
        raise SetupError(f"failed: {', '.join(failed)}")
