"""The Linux bundle: the same recipe as for Windows, in a .tar.gz, and its self-test."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import devenv
import licenses
import native_venv
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
    python = native_venv.make(BUILD / "venv", "linux", windows_engine.native_wheel(DIST))
    (site,) = (BUILD / "venv" / "lib").glob("python3*/site-packages")
    licenses.gather(site, _python_license(), "linux", BUILD / "licenses")
    say("freezing")
    native_venv.freeze(python, windows_build.SPEC, BUILD)
    for library in LIBRARIES:
        if not (PROGRAM / "_internal" / "bitconverter" / "engine" / library).is_file():
            raise SetupError(f"{library} is not in the bundle")
    archive = DIST / f"BitConverter-{windows_build.version()}-linux-x86_64.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=6) as packed:
        packed.add(PROGRAM, "BitConverter")
    print(
        f"bundle: {folder_bytes(PROGRAM) / 1e6:.1f} MB; {archive.name}: {archive.stat().st_size / 1e6:.1f} MB"
    )


def _python_license() -> Path:
    places = [Path(sys.base_prefix) / "LICENSE.txt", Path(os.__file__).parent / "LICENSE.txt"]
    places.append(Path(f"/usr/share/doc/python3.{sys.version_info.minor}/copyright"))
    for place in places:
        if place.is_file():
            return place
    raise SetupError(f"the licence of this Python was not found in {', '.join(map(str, places))}")


def check() -> None:
    """Unpack it elsewhere and try it without anything of this machine's Python."""
    say("trying the Linux bundle")
    (archive,) = DIST.glob("BitConverter-*-linux-x86_64.tar.gz")
    with tempfile.TemporaryDirectory(prefix="bitconverter bundle 日本 ") as name:
        folder = Path(name)
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        (folder / "tmp").mkdir()
        env = {"PATH": "/usr/bin:/bin", "HOME": name, "TMPDIR": str(folder / "tmp"), "LANG": "C.UTF-8"}
        env["BITCONVERTER_HOME"] = str(folder / "home")
        program = [str(folder / "BitConverter" / "BitConverter"), "--platform", "offscreen"]
        _self_test(program, env, folder / "out.json")
        _watch_from_outside(program, env, folder)
        _start_and_kill(program, env, folder)


def _self_test(program: list[str], env: dict[str, str], out: Path) -> None:
    done = subprocess.run(
        [*program, "--selftest", str(out)], env=env, capture_output=True, encoding="utf-8", timeout=900
    )
    if not out.exists():
        raise SetupError(f"the self-test wrote nothing ({done.returncode}): {done.stderr}")
    report = json.loads(out.read_text(encoding="utf-8"))
    failed = {name: part for name, part in report["parts"].items() if not part["ok"]}
    if failed or done.returncode:
        raise SetupError(
            f"the self-test failed ({done.returncode}): {json.dumps(failed, ensure_ascii=False)}"
        )
    seconds = report["parts"]["start"]["seconds_until_shown"]
    print(f"Linux bundle: {len(report['parts'])} parts of the self-test passed, window after {seconds} s")


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
    """Killed in the middle of starting and after it: the next start works, and nothing piles up in TMPDIR."""
    log = folder / "home" / "logs" / "native-crash.log"
    for _ in range(START_AND_KILL):
        log.unlink(missing_ok=True)
        process = subprocess.Popen(program, env=env)
        end = time.monotonic() + 300
        while not log.exists():
            if process.poll() is not None or time.monotonic() > end:
                raise SetupError(f"the program did not start (status {process.poll()})")
            time.sleep(0.01)
        process.kill()
        process.wait()
    left = [path.name for path in (folder / "tmp").iterdir()]
    if left:
        raise SetupError(f"{START_AND_KILL} starts left temporary files: {', '.join(left)}")
    print(f"Linux bundle: started and killed {START_AND_KILL} times; left in TMPDIR: {left}")
