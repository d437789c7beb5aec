"""The installed program tried: its self-test, its starts, a second start, files given to it, the network."""

import json
import shutil
import time
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

import check_data
import measure_start
import psutil
import watch_network
import windows_build
import windows_python
import wine
from check_setup import open_command
from devenv import WINDOWS
from windows_place import CONSOLE, DATA, HOME, PC, WINDOW, WINE, Steps, expect, wait

LOG = DATA / "Logs" / "native-crash.log"
START_AND_KILL = 50
# Debian 12's wine cannot open Qt's windows, and drops the variable that says so
OFFSCREEN = ["--platform", "offscreen"]


def self_test(steps: Steps) -> dict[str, Any]:
    """Its report."""
    version = PC.run([PC.windows_path(CONSOLE), "--version"])
    expect(windows_build.version() in version.stdout, f"bitconverter-cli --version said {version.stdout}")
    parts = _self_test(WINDOW)
    expect(HOME.name in parts["versions"]["executable"], f"tested {parts['versions']}")
    shutil.copy(HOME / "結果.png", windows_build.BUILD / "self-test.png")
    shutil.copy(HOME / "結果.json", windows_build.BUILD / "self-test.json")
    for ending in ("json", "png"):
        (HOME / f"結果.{ending}").unlink()
    seconds = parts["start"]["seconds_until_shown"]
    steps.done(f"self-test: {len(parts)} parts passed; {parts['engine']['isa']}, window after {seconds} s")
    return parts


def measure_starts(program: Path, times: int = 3) -> float:
    """The median until the window is painted, of a program that need not be installed; refused if it is too slow."""
    expect(
        WINDOWS or WINE.home.is_dir(), "there is no prefix to start it in: run python installer/build.py test"
    )
    seconds = [float(_self_test(program)["start"]["seconds_until_shown"]) for _ in range(times)]
    PC.stop()
    for ending in ("json", "png"):
        (HOME / f"結果.{ending}").unlink()
    return measure_start.within_limit(seconds, f"{program.name}{'' if WINDOWS else ' under wine'}")


def _self_test(program: Path) -> dict[str, Any]:
    out = HOME / "結果.json"
    command = [PC.windows_path(program), *OFFSCREEN, "--selftest", PC.windows_path(out)]
    done = PC.run(command, timeout=1800)
    expect(out.exists(), f"the self-test wrote nothing and ended with {done.returncode}: {done.stdout}")
    parts: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))["parts"]
    failed = {name: part for name, part in parts.items() if not part["ok"]}
    expect(
        not failed and done.returncode == 0, f"self-test: {json.dumps(failed, ensure_ascii=False, indent=1)}"
    )
    expect(parts["versions"]["frozen"], f"tested {parts['versions']}")
    expect(out.with_suffix(".png").stat().st_size > 10_000, "the window was not painted")
    return parts


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
    """Nothing is left in `temporary`, the folder that the program itself calls so."""
    folder = PC.host_path(temporary)
    expect(folder.is_dir(), f"the program's folder for temporary files is {folder}, which is not there")
    _expect_watch_sees(folder)
    before = set(folder.rglob("*"))
    for _ in range(START_AND_KILL):
        start()
        kill()
    grown = set(folder.rglob("*")) - before
    expect(not grown, f"{START_AND_KILL} starts left in {folder}: {sorted(map(str, grown))[:10]}")
    steps.done(
        f"started and killed {START_AND_KILL} times; no process is left, and nothing in {PureWindowsPath(temporary)}"
    )


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
    wanted = (check_data.MODEL.name, "model.safetensors")
    places = [PurePath(place.path).parts[-2:] for place in psutil.Process(number).memory_maps()]
    return wanted in places


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
