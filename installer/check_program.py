"""The installed program tried: its self-test, its starts, a second start, files given to it, the network."""

import shutil
import time
from pathlib import Path, PureWindowsPath
from typing import Any

import check_data
import measure_start
import moments
import ours
import self_test_report
import watch_network
import windows_build
import windows_python
import wine
from check_setup import open_command
from devenv import WINDOWS
from windows_place import CONSOLE, DATA, HOME, PC, WINDOW, WINE, Steps, expect, wait

LOG = DATA / "Logs" / "native-crash.log"
# In a folder of its own: the self-test may write beside its report, and finds what is written anywhere else.
REPORT = HOME / "試し" / "結果.json"
START_AND_KILL = 50
# Debian 12's wine cannot open Qt's windows, and drops the variable that says so
OFFSCREEN = ["--platform", "offscreen"]


def self_test(steps: Steps) -> dict[str, Any]:
    """Its report."""
    version = PC.run([PC.windows_path(CONSOLE), "--version"])
    expect(windows_build.version() in version.stdout, f"bitconverter-cli --version said {version.stdout}")
    parts = _self_test(WINDOW)
    expect(HOME.name in parts["versions"]["executable"], f"tested {parts['versions']}")
    for ending in ("json", "png"):
        shutil.copy(REPORT.with_suffix(f".{ending}"), windows_build.BUILD / f"self-test.{ending}")
    shutil.rmtree(REPORT.parent)
    seconds = parts["start"]["seconds_until_shown"]
    steps.done(f"self-test: {len(parts)} parts passed; {parts['engine']['isa']}, window after {seconds} s")
    return parts


def measure_starts(program: Path, times: int = 3) -> float:
    """The median until the window is painted, of a program that need not be installed; refused if it is too slow."""
    expect(
        WINDOWS or WINE.home.is_dir(), "there is no prefix to start it in: run python installer/build.py test"
    )
    if not WINDOWS:  # wine starts its own services with the first program
        _self_test(program)
    seconds = [float(_self_test(program)["start"]["seconds_until_shown"]) for _ in range(times)]
    PC.stop()
    shutil.rmtree(REPORT.parent)
    return measure_start.within_limit(seconds, f"{program.name}{'' if WINDOWS else ' under wine'}")


def _self_test(program: Path) -> dict[str, Any]:
    REPORT.parent.mkdir(exist_ok=True)
    command = [PC.windows_path(program), *OFFSCREEN, "--selftest", PC.windows_path(REPORT)]
    done = PC.run(command, timeout=1800)
    return self_test_report.parts(REPORT, done.returncode, done.stdout, frozen=True)


# ---- starting and ending


def start(*words: str) -> None:
    """Start the program and wait until it has come as far as its crash log."""
    LOG.unlink(missing_ok=True)
    PC.start([PC.windows_path(WINDOW), *OFFSCREEN, *words])
    wait(LOG.exists, "the program did not start")


def kill() -> None:
    expect(bool(PC.processes(WINDOW.name)), "the program ended by itself")
    PC.kill(WINDOW.name)
    wait(lambda: not PC.processes(WINDOW.name), "the program is still running")


def start_and_kill(steps: Steps, temporary: str) -> None:
    """At every moment of moments.MOMENTS. Nothing is left in `temporary`, the folder that the program calls so."""
    folder = PC.host_path(temporary)
    expect(folder.is_dir(), f"the program's folder for temporary files is {folder}, which is not there")
    _expect_watch_sees(folder)
    before = _temporary(folder)
    for number in range(START_AND_KILL):
        _start_and_kill_at(moments.MOMENTS[number % len(moments.MOMENTS)])
    grown = _temporary(folder) - before
    expect(not grown, f"{START_AND_KILL} starts left in {folder}: {sorted(map(str, grown))[:10]}")
    steps.done(
        f"started and killed {START_AND_KILL} times, {', '.join(moments.MOMENTS)}; no process is left, and nothing in "
        f"{PureWindowsPath(temporary)}"
    )


def _start_and_kill_at(moment: str) -> None:
    LOG.unlink(missing_ok=True)
    model = ["--open", PC.windows_path(check_data.MODEL)] if moment == moments.OPEN else []
    PC.start([PC.windows_path(WINDOW), *OFFSCREEN, *model])
    wait(lambda: bool(PC.processes(WINDOW.name)), "the program did not start", 120)
    number = PC.processes(WINDOW.name)[0]
    wait(
        lambda: moments.reached(moment, number, LOG, check_data.MODEL),
        f"the program was to be killed {moment}, and does not come so far", 120,
    )  # fmt: skip
    if moment == moments.OPEN:
        time.sleep(moments.IDLE)
    kill()


def _temporary(folder: Path) -> set[Path]:
    """What is in it; where others work, what can be ours."""
    return {
        path for path in folder.rglob("*") if not WINDOWS or ours.can_be_temporary(path.relative_to(folder))
    }


def _expect_watch_sees(folder: Path) -> None:
    """What a program puts into its %TEMP% comes up in `folder`: else nothing could be found there."""
    script, mark = HOME / "mark.bat", folder / "seen by the watch"
    script.write_bytes(b'@mkdir "%TEMP%\\seen by the watch"\r\n')
    PC.run(["cmd", "/c", PC.windows_path(script)])
    expect(mark.is_dir(), f"%TEMP% is not {folder}")
    mark.rmdir()
    script.unlink()


# ---- a second start


def second_start(steps: Steps) -> None:
    """It gives its file to the first one and ends; by the file types' commands too."""
    first = _first()
    _second(first)
    expect(not _has_open(first), "the first start has a model open that nobody gave it")
    _second(first, "--open", PC.windows_path(check_data.MODEL))
    wait(lambda: _has_open(first), "the first start did not open the model", 120)
    kill()
    check_data.remember_model()  # a soul is opened with its model, which must be found
    first = _first()
    registry = PC.registry()
    for kind, path, opens in (("Pack", check_data.PACK, False), ("Soul", check_data.SOUL, True)):
        words = [
            word.replace("%1", PC.windows_path(path))
            for word in open_command(f"BitConverter.{kind}", registry)
        ]
        expect(not _has_open(first), f"the first start has a model open before a {kind} was given to it")
        _second(first, *words[1:])
        if opens:
            wait(lambda: _has_open(first), "the first start did not open the soul", 120)
    kill()
    steps.done(
        "a second start ends with 0 and hands over: nothing, a model, a .u32 and a .soul by their types' commands"
    )


def _first() -> int:
    """Start it, and wait until its window is there and answers: then it has made its database of chats."""
    for path in DATA.glob(f"{check_data.CHATS.name}*"):
        path.unlink()
    start()
    wait(check_data.CHATS.exists, "the program made no database of chats")
    (number,) = PC.processes(WINDOW.name)
    return number


def _has_open(number: int) -> bool:
    """Whether that process has the model's weights mapped."""
    return moments.maps(number, check_data.MODEL.name, "model.safetensors")


def _second(first: int, *words: str) -> None:
    done = PC.run([PC.windows_path(WINDOW), *OFFSCREEN, *words], timeout=120)
    expect(done.returncode == 0, f"a second start with {words} ended with {done.returncode}: {done.stdout}")
    there = PC.processes(WINDOW.name)
    expect(there == [first], f"after a second start with {words} these run: {there}; the first was {first}")


# ---- the network


def no_connections(steps: Steps) -> None:
    """From outside, as the kernel sees it: the program, and wine's server, which connects on its behalf."""
    if WINDOWS:
        steps.done("connections: on Windows nobody watches from outside; see docs/RELEASING.md")
        return
    python = windows_python.PYTHON / "python.exe"
    program = [PC.windows_path(WINDOW), *OFFSCREEN]
    for words, connects in (
        (program, False),
        ([WINE.windows_path(python), "-c", watch_network.CONNECTS], True),
    ):
        PC.stop()  # its server must be one that is watched
        LOG.unlink(missing_ok=True)
        trace = windows_build.BUILD / f"network-{connects}.txt"
        command = [wine.loader(), *words]
        with watch_network.watched(command, WINE.environment(), trace, WINE.folder) as process:
            if connects:
                process.wait(120)
            else:
                wait(LOG.exists, "the program did not start", 120)
                time.sleep(watch_network.IDLE)
            PC.stop()
        watch_network.expect_connections(trace, connects)
    steps.done(
        f"no connection from the start until {watch_network.IDLE} s after it (strace, wine's server included)"
    )
