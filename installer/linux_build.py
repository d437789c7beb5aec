"""The Linux bundle: the same recipe as for Windows, in a .tar.gz, and its self-test."""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import check_wheel
import devenv
import licenses
import moments
import native_venv
import self_test_report
import watch_network
import windows_build
import windows_engine
from devenv import ROOT, SetupError, say
from windows_python import folder_bytes

BUILD = ROOT / "build" / "linux"
PROGRAM = BUILD / "dist" / "BitConverter"
DIST = ROOT / "dist" / "linux"
LIBRARIES = ("libbitconverter.so", "libbitconverter_cuda.so")
START_AND_KILL = 50


def main() -> None:
    """From C sources to dist/linux/BitConverter-VERSION-linux-x86_64.tar.gz."""
    devenv.need_compiler()
    devenv.need_qt_libraries(display=True)  # PyInstaller collects what Qt's xcb plugin is linked with
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    for old in DIST.glob("BitConverter-*.tar.gz"):  # not to be taken for this build's where it fails
        old.unlink()
    python = native_venv.make(BUILD / "venv", "linux", windows_engine.native_wheel(DIST))
    (site,) = (BUILD / "venv" / "lib").glob("python3*/site-packages")
    licenses.gather(site, _python_license(), "linux", BUILD / "licenses")
    say("freezing")
    native_venv.freeze(python, windows_build.SPEC, BUILD)
    for library in LIBRARIES:
        if not (PROGRAM / "_internal" / "bitconverter" / "engine" / library).is_file():
            raise SetupError(f"{library} is not in the bundle")
    archive = archive_file()
    with tarfile.open(archive, "w:gz", compresslevel=6) as packed:
        packed.add(PROGRAM, "BitConverter")
    print(
        f"bundle: {folder_bytes(PROGRAM) / 1e6:.1f} MB; {archive.name}: {archive.stat().st_size / 1e6:.1f} MB"
    )


def archive_file() -> Path:
    return DIST / f"BitConverter-{windows_build.version()}-linux-x86_64.tar.gz"


def _python_license() -> Path:
    places = [Path(sys.base_prefix) / "LICENSE.txt", Path(os.__file__).parent / "LICENSE.txt"]
    places.append(Path(f"/usr/share/doc/python3.{sys.version_info.minor}/copyright"))
    for place in places:
        if place.is_file():
            return place
    raise SetupError(f"the licence of this Python was not found in {', '.join(map(str, places))}")


def check() -> None:
    """Unpack it elsewhere and try it without anything of this machine's Python; and what pip makes of the wheel."""
    (wheel,) = DIST.glob("bitconverter-*.whl")
    check_wheel.check(wheel, windows_build.version())
    say("trying the Linux bundle")
    with tempfile.TemporaryDirectory(prefix="bitconverter bundle 日本 ") as name:
        folder = Path(name)
        with tarfile.open(archive_file()) as packed:
            packed.extractall(folder, filter="data")
        (folder / "tmp").mkdir()
        env = {"PATH": "/usr/bin:/bin", "HOME": name, "TMPDIR": str(folder / "tmp"), "LANG": "C.UTF-8"}
        env["BITCONVERTER_HOME"] = str(folder / "home")
        program = [str(folder / "BitConverter" / "BitConverter"), "--platform", "offscreen"]
        _self_test(program, env, folder / "out" / "report.json")
        _watch_from_outside(program, env, folder)
        _start_and_kill(program, env, folder)


def _self_test(program: list[str], env: dict[str, str], out: Path) -> None:
    out.parent.mkdir()  # of its own: the self-test may write beside its report, and finds what is written elsewhere
    done = subprocess.run(
        [*program, "--selftest", str(out)], env=env, capture_output=True, encoding="utf-8", timeout=900
    )
    parts = self_test_report.parts(out, done.returncode, done.stderr, frozen=True)
    seconds = parts["start"]["seconds_until_shown"]
    print(f"Linux bundle: {len(parts)} parts of the self-test passed, window after {seconds} s")


def _watch_from_outside(program: list[str], env: dict[str, str], folder: Path) -> None:
    """No connection while it starts and stands idle, as the kernel sees it; and what is looked for is seen."""
    log = folder / "home" / "logs" / "native-crash.log"
    log.unlink(missing_ok=True)
    trace = folder / "network.txt"
    with watch_network.watched(program, env, trace):
        _wait(log.exists, "the program did not start under strace")
        time.sleep(watch_network.IDLE)
    watch_network.expect_connections(trace, False)
    trace = folder / "network of one that connects.txt"
    with watch_network.watched([sys.executable, "-c", watch_network.CONNECTS], env, trace) as process:
        process.wait(120)
    watch_network.expect_connections(trace, True)
    print(f"Linux bundle: no connection from the start until {watch_network.IDLE} s after it (strace)")


def _wait(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 120
    while not condition():
        if time.monotonic() > end:
            raise SetupError(what)
        time.sleep(0.1)


def _start_and_kill(program: list[str], env: dict[str, str], folder: Path) -> None:
    """Killed in the middle of starting and after it, at every moment of moments.MOMENTS in turn: the next start works,
    and nothing piles up in TMPDIR."""
    log, model = folder / "home" / "logs" / "native-crash.log", _model(env, folder)
    for number in range(START_AND_KILL):
        moment = moments.MOMENTS[number % len(moments.MOMENTS)]
        log.unlink(missing_ok=True)
        process = subprocess.Popen(
            [*program, *(["--open", str(model)] if moment == moments.OPEN else [])], env=env
        )
        end = time.monotonic() + 300
        while not moments.reached(moment, process.pid, log, model):
            if process.poll() is not None or time.monotonic() > end:
                process.kill()
                raise SetupError(f"the program did not come so far as {moment} (status {process.poll()})")
            time.sleep(0.01)
        if moment == moments.OPEN:
            time.sleep(moments.IDLE)
        process.kill()
        process.wait()
    left = [path.name for path in (folder / "tmp").iterdir()]
    if left:
        raise SetupError(f"{START_AND_KILL} starts left temporary files: {', '.join(left)}")
    print(
        f"Linux bundle: started and killed {START_AND_KILL} times, {', '.join(moments.MOMENTS)}; left: {left}"
    )


def _model(env: dict[str, str], folder: Path) -> Path:
    """Converted by the bundle's own command line."""
    from bitconverter.jobs.self_test_model import write_model

    source, model = folder / "元 source", folder / "小さい model"
    write_model(source)
    program = folder / "BitConverter" / "bitconverter-cli"
    devenv.run([program, "convert", source, model, "--planes", "2", "--method", "fast"], quiet=True, env=env)
    return model
