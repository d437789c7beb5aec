"""The Windows program and its installer: on Debian with wine's help, on Windows natively; one recipe for both."""

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePath

import binaries
import devenv
import icon
import licenses
import native_venv
import trim
import windows_engine
import windows_python
import wine
from devenv import ROOT, SetupError, run, say

BUILD = windows_python.BUILD
PROGRAM = BUILD / "dist" / "BitConverter"
DIST = ROOT / "dist" / "windows"
SPEC = ROOT / "installer" / "bitconverter.spec"
SCRIPT = ROOT / "installer" / "bitconverter.nsi"
MADE_WITH = "made-with.txt"
MAX_INSTALLER, MAX_PROGRAM = 60_000_000, 160_000_000  # bytes


def version() -> str:
    """The program's, as bitconverter/__init__.py says."""
    text = (ROOT / "bitconverter" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'__version__ = "([0-9.]+)"', text)
    assert found is not None
    return found[1]


def setup_file(number: str) -> Path:
    """The installer of that version."""
    return DIST / f"BitConverter-{number}-setup.exe"


def main() -> None:
    """Everything, from C sources to the installer; prints the sizes and refuses what is too large."""
    if not devenv.WINDOWS:  # what is missing is said before anything is compiled
        wine.need_wine()
        windows_python.fetch_python()
    need_makensis()
    if not devenv.WINDOWS:
        binaries.check_nsis()
    for old in [*DIST.glob("BitConverter-*-setup.exe"), DIST / MADE_WITH]:  # not to be taken for this build's
        old.unlink(missing_ok=True)
    if devenv.WINDOWS:
        _freeze_on_windows()
    else:
        _freeze_with_wine()
    check_program(PROGRAM)
    pack(version(), setup_file(version()))
    _note_what_it_was_made_with()
    installed, packed = windows_python.folder_bytes(PROGRAM), setup_file(version()).stat().st_size
    print(
        f"installed: {installed / 1e6:.1f} MB; installer: {packed / 1e6:.1f} MB ({setup_file(version()).name})"
    )
    if installed > MAX_PROGRAM or packed > MAX_INSTALLER:
        raise SetupError(
            f"too large: at most {MAX_PROGRAM // 10**6} MB and {MAX_INSTALLER // 10**6} MB are allowed"
        )


def _note_what_it_was_made_with() -> None:
    """made-with.txt beside the installer: what no list pins, by its version, and what came of it."""
    compiler = "gcc" if devenv.WINDOWS else windows_engine.COMPILER
    first = subprocess.run([compiler, "--version"], capture_output=True, encoding="utf-8", check=True).stdout
    setup = setup_file(version())
    lines = [
        f"compiler: {first.splitlines()[0]}", f"NSIS: {nsis_version()}", f"built by Python: {sys.version}",
        f"{setup.name}: sha256 {hashlib.sha256(setup.read_bytes()).hexdigest()}",
    ]  # fmt: skip
    (DIST / MADE_WITH).write_text("\n".join(lines) + "\n", encoding="utf-8")


def need_makensis() -> None:
    if shutil.which("makensis"):
        return
    if devenv.WINDOWS:
        raise SetupError("makensis is not on PATH: install NSIS 3.08 or newer")
    devenv.apt_install(["nsis"], "NSIS, which makes the installer")


def nsis_version() -> str:
    """Of the makensis on PATH."""
    done = subprocess.run(["makensis", "-VERSION"], capture_output=True, encoding="utf-8", check=True)
    return done.stdout.strip().removeprefix("v")


def _freeze_with_wine() -> None:
    windows_engine.need_tools()
    windows_engine.compile_engine()
    windows_engine.need_sound_libraries(windows_engine.BUILD)
    windows_python.prepare(windows_engine.wheel())
    _prepare_assets(windows_python.SITE, windows_python.PYTHON / "LICENSE.txt")
    say("freezing under wine")
    place = windows_python.PREFIX.windows_path
    try:
        words = ["--distpath", place(BUILD / "dist"), "--workpath", place(BUILD / "work"), place(SPEC)]
        log = windows_python.python(
            ["-m", "PyInstaller", "--noconfirm", *words],
            timeout=3 * 3600,
            env={"BITCONVERTER_BUILD": place(BUILD)},
        )
    finally:
        windows_python.PREFIX.stop()
    (BUILD / "pyinstaller.log").write_text(log, encoding="utf-8")


def _freeze_on_windows() -> None:
    python = native_venv.make(BUILD / "venv", "windows", windows_engine.native_wheel())
    site = BUILD / "venv" / "Lib" / "site-packages"
    _prepare_assets(site, Path(sys.base_prefix) / "LICENSE.txt")
    say("freezing")
    native_venv.freeze(python, SPEC, BUILD)


def _prepare_assets(site: Path, python_license: Path) -> None:
    shutil.rmtree(BUILD / "dist", ignore_errors=True)
    icon.write_icon(BUILD / "BitConverter.ico")
    licenses.gather(site, python_license, "windows", BUILD / "licenses")


def files_of(folder: Path) -> list[Path]:
    """Every file below, as a path from there."""
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def check_program(folder: Path) -> None:
    """What may not be in the bundle: what trim.py leaves out, wine's repaired DLLs, anything of wine at all.

    What must be: the licences, our libraries, which need nothing that Windows lacks, and otherwise exactly the
    binaries of installer/locks/windows-binaries.txt.
    """
    wrong = [str(name) for name in files_of(folder) if trim.left_out(str(name.relative_to(name.parts[0])))]
    if wrong:
        raise SetupError(f"these files should have been left out: {', '.join(wrong)}")
    repaired = set() if devenv.WINDOWS else windows_python.shim_hashes(windows_python.PREFIX)
    for name in files_of(folder):
        data = (folder / name).read_bytes()
        if hashlib.sha256(data).hexdigest() in repaired or b"Wine builtin DLL" in data[:4096]:
            raise SetupError(f"{name} is a file of wine; it may not be shipped")
    if not (folder / "_internal" / "licenses" / "README.txt").is_file():
        raise SetupError("the licences are not in the bundle")
    engine = folder / "_internal" / "bitconverter" / "engine"
    for library in windows_engine.LIBRARIES:
        if not (engine / library).is_file():
            raise SetupError(f"{library} is not in the bundle")
    windows_engine.need_sound_libraries(engine)
    binaries.check(folder)


def pack(number: str, out: Path, *, compress: bool = True, source: Path = PROGRAM) -> None:
    """The installer of that version number from the frozen program, or from another folder like it."""
    say(f"packing {out.name}")
    out.parent.mkdir(parents=True, exist_ok=True)
    run(
        ["makensis", "-V2", "-WX", "-INPUTCHARSET", "UTF8", *defines(number, out, compress, source), SCRIPT],
        quiet=True,
    )


def defines(number: str, out: PurePath, compress: bool, source: PurePath) -> list[str]:
    """What bitconverter.nsi wants to be told. Its files are named with the system's own slash: makensis on Windows
    takes a path apart at backslashes alone."""
    words = {"VERSION": number, "FILES": source / "*", "OUT": out, "ICON": BUILD / "BitConverter.ico"}
    words["COMPRESS"] = "lzma" if compress else "off"
    return [f"-D{name}={value}" for name, value in words.items()]
