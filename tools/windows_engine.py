"""The engine for Windows, built on Linux: cross-compiled, its tests run under wine, packed into the wheel.

The quick tier: no Windows Python, no display. `python tools/dev.py windows`, also in .ci/run.
"""

import os
import re
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import devenv
import wine
from devenv import PYTHON, ROOT, SetupError, run, say
from pe import Program

NATIVE = ROOT / "native"
BUILD = NATIVE / "build-mingw"
TOOLCHAIN = NATIVE / "mingw.cmake"
DIST = ROOT / "dist" / "windows"
COMPILER = "x86_64-w64-mingw32-gcc-win32"
LIBRARIES = ("bitconverter_cuda.dll", "libbitconverter.dll")
# What every Windows 10 has: msvcrt, and the C run time in the parts that the gcc of MSYS2's UCRT64 asks for.
SYSTEM_LIBRARIES = re.compile(r"kernel32\.dll|msvcrt\.dll|ucrtbase\.dll|api-ms-win-crt-[a-z]+-l1-1-0\.dll")


def main() -> str:
    """Build, test, pack; the sentence that sums the tests up."""
    need_tools()
    compile_engine()
    need_sound_libraries(BUILD)
    summary = test()
    print(f"wheel: {wheel().relative_to(ROOT)}")
    return summary


def need_tools() -> None:
    """The cross compiler, wine, and the developer's environment."""
    if not shutil.which(COMPILER):
        devenv.apt_install(["gcc-mingw-w64-x86-64"], "the Windows cross compiler")
    wine.need_wine()
    devenv.need_venv()
    devenv.need_packages(["run", "dev"])
    devenv.need_compiler()


def compile_engine() -> None:
    """The libraries and the test programs into native/build-mingw."""
    say("the engine for Windows")
    options = [f"-DCMAKE_TOOLCHAIN_FILE={TOOLCHAIN}", "-DCMAKE_BUILD_TYPE=Release", "-DBC_TESTS=ON"]
    options.append(f"-DPython_EXECUTABLE={PYTHON}")
    options.append(f"-DCMAKE_CROSSCOMPILING_EMULATOR={wine.loader()}")
    run(["cmake", "-S", NATIVE, "-B", BUILD, *options], quiet=True)
    run(["cmake", "--build", BUILD, "--parallel", str(os.cpu_count() or 1)], quiet=True)


def need_sound_libraries(folder: Path) -> None:
    """A user's PC has no gcc: what is not Windows' own must be linked in. A backend shows its table alone."""
    for name in LIBRARIES:
        library = Program(folder / name)
        foreign = {other for other in library.imports() if not SYSTEM_LIBRARIES.fullmatch(other.lower())}
        if foreign:
            raise SetupError(f"{name} needs {', '.join(sorted(foreign))}, which Windows does not have")
        exports = library.exports()
        if name == "bitconverter_cuda.dll" and exports != {"bc_backend_table"}:
            raise SetupError(f"{name} should export bc_backend_table alone, not {', '.join(sorted(exports))}")


def test() -> str:
    """The C tests under wine, each instruction set that this processor has."""
    say("C tests under wine")
    prefix = wine.Prefix(BUILD / "wine")
    prefix.create()
    report = BUILD / "ctest.xml"
    report.unlink(missing_ok=True)
    env = devenv.environment()
    command = [shutil.which("ctest", path=env["PATH"]) or "ctest", "--test-dir", str(BUILD)]
    command += ["--output-on-failure", "--no-tests=error", "--timeout", "300", "--output-junit", str(report)]
    try:
        status = subprocess.call(command, cwd=ROOT, env=prefix.environment({"PATH": env["PATH"]}))
    finally:
        prefix.stop()
    suite = ElementTree.parse(report).getroot()
    total, failed = int(suite.get("tests", "0")), int(suite.get("failures", "0"))
    summary = f"C tests for Windows: {total - failed} passed, {failed} failed"
    if status or failed or not total:
        raise SetupError(summary)
    return summary


def native_wheel(folder: Path = DIST) -> Path:
    """The wheel of the system that builds."""
    say("the wheel")
    _remove_wheels(folder)
    run([PYTHON, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT], quiet=True)
    (made,) = folder.glob("bitconverter-*.whl")
    if devenv.WINDOWS:
        need_sound_wheel(made)
    return made


def wheel() -> Path:
    """The Windows wheel, in dist/windows."""
    say("the wheel for Windows")
    _remove_wheels(DIST)
    env = devenv.environment() | {"CMAKE_TOOLCHAIN_FILE": str(TOOLCHAIN)}  # CMAKE_ARGS ends at a space
    run([PYTHON, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", DIST, ROOT], quiet=True, env=env)
    (made,) = DIST.glob("bitconverter-*.whl")
    # scikit-build-core names the wheel for the system that builds; what is in it is for Windows.
    run([PYTHON, "-m", "wheel", "tags", "--remove", "--platform-tag", "win_amd64", made], quiet=True)
    (made,) = DIST.glob("bitconverter-*-py3-none-win_amd64.whl")
    need_sound_wheel(made)
    return made


def _remove_wheels(folder: Path) -> None:
    """The wheels alone: an installer that was made lies beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("bitconverter-*.whl"):
        old.unlink()


def need_sound_wheel(wheel: Path) -> None:
    """It holds our libraries, and they ask for nothing that a user lacks."""
    with zipfile.ZipFile(wheel) as packed, tempfile.TemporaryDirectory() as name:
        names = packed.namelist()
        libraries = sorted(name for name in names if re.search(r"\.(dll|so|pyd)$", name))
        wanted = [f"bitconverter/engine/{name}" for name in LIBRARIES]
        if libraries != wanted or "bitconverter/engine/_abi.py" not in names:
            raise SetupError(f"{wheel.name} should hold {', '.join(wanted)} and _abi.py, and has {libraries}")
        packed.extractall(name, wanted)
        need_sound_libraries(Path(name) / "bitconverter" / "engine")
