"""The installer tried: under wine as a user with a difficult name, or on the Windows that this runs on.

Every expectation is asserted:

install silently -> self-test of the installed program -> upgrade -> upgrade and removal while it runs ->
remove -> nothing left that should not be, everything kept that should be. The wine prefix is made anew each
time; the repairs of installer/shims/ are in it, not in the installer (windows_build.check_program).
"""

import hashlib
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import this_windows
import windows_build
import windows_python
import wine
from devenv import WINDOWS, SetupError, say

WINE = wine.Prefix(windows_build.BUILD / "check", "田中　太郎😀 é")
PC = this_windows.ThisWindows() if WINDOWS else WINE
HOME = PC.home
LOCAL = HOME / "AppData" / "Local"
PROGRAM = LOCAL / "Programs" / "BitConverter"
DATA = LOCAL / "BitConverter"
LOG = DATA / "Logs" / "native-crash.log"
RUNNING = 5  # the exit code of installer and uninstaller while the program runs
START_AND_KILL = 50
NEXT_VERSION = "9.9.9"


class Steps:
    """Prints each step with its time when it is done."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def done(self, what: str) -> None:
        now = time.monotonic()
        print(f"  {now - self._since:6.1f} s  {what}", flush=True)
        self._since = now


def expect(condition: bool, what: str) -> None:
    """Raises SetupError unless `condition`."""
    if not condition:
        raise SetupError(f"the installer test failed: {what}")


def main() -> None:
    """All of it. The installer of windows_build must be there."""
    setup = windows_build.setup_file(windows_build.version())
    if not setup.exists():
        raise SetupError(f"{setup} is not there: run python installer/build.py windows first")
    say("trying the installer")
    steps = Steps()
    if not WINDOWS:
        WINE.stop()
        shutil.rmtree(WINE.folder, ignore_errors=True)
        WINE.create()
        windows_python.repair_wine(WINE)
    for place in (PROGRAM, DATA, _model_file()):
        expect(
            not place.exists(), f"{place} is there already; this test needs a Windows without BitConverter"
        )
    upgrade = windows_build.BUILD / "upgrade.exe"
    windows_build.pack(NEXT_VERSION, upgrade, compress=False)
    steps.done("a new Windows, and a second installer of a later version")
    try:
        _tour(setup, upgrade, steps)
    finally:
        PC.stop()


def _tour(setup: Path, upgrade: Path, steps: Steps) -> None:
    before = _files()
    _keep_data()
    _install(setup)
    _expect_installed(windows_build.version())
    steps.done("installed silently")
    _self_test(steps)
    _upgrade(upgrade, steps)
    _while_running(setup, steps)
    _start_and_kill(steps)
    _remove()
    _expect_removed(before)
    _expect_data_kept()
    steps.done("removed; settings, chat and model are still there, nothing else is")
    _install(setup, "/NODESKTOP")
    expect(not list(HOME.rglob("Desktop/*.lnk")), "/NODESKTOP made a shortcut on the desktop")
    _remove("/REMOVEDATA")
    expect(not DATA.exists(), f"/REMOVEDATA left {DATA}")
    expect(_model_file().is_file(), "/REMOVEDATA removed the user's model")
    steps.done("installed again without a shortcut, removed with its data; the model is still there")


# ---- installing


def _install(setup: Path, *words: str) -> None:
    done = PC.run([PC.windows_path(setup), "/S", *words])
    expect(done.returncode == 0, f"{setup.name} ended with {done.returncode}: {done.stdout}")


def _expect_installed(version: str) -> None:
    shipped, there = windows_build.files_of(windows_build.PROGRAM), windows_build.files_of(PROGRAM)
    wrong = set(there) ^ {*shipped, Path("uninstall.exe")}
    expect(not wrong, f"missing or too much: {sorted(map(str, wrong))[:10]}")
    for name in shipped:
        same = _digest(PROGRAM / name) == _digest(windows_build.PROGRAM / name)
        expect(same, f"{name} differs from the file that was packed")
    links = {path.name: path for path in HOME.rglob("*.lnk")}
    places = sorted(path.parent.name for path in HOME.rglob("BitConverter.lnk"))
    expect(places == ["Desktop", "Programs"], f"shortcuts are in {places}, {links}")
    registry = PC.registry()
    expect(f'"DisplayVersion"="{version}"' in registry, f"the registry does not tell version {version}")
    for extension, kind in ((".soul", "BitConverter.Soul"), (".u32", "BitConverter.Pack")):
        section = _section(registry, rf"Software\Classes\{extension}")
        expect(f'@="{kind}"' in section, f"{extension} does not belong to {kind}: {section}")
        command = _section(registry, rf"Software\Classes\{kind}\shell\open\command")
        expect(
            "BitConverter.exe" in command and '--open \\"%1\\"' in command, f"{kind} is opened by {command}"
        )
    for exe in ("BitConverter.exe", "bitconverter-cli.exe"):
        data = (PROGRAM / exe).read_bytes()
        for words in ("BitConverter contributors", windows_build.version()):
            expect(words.encode("utf-16-le") in data, f"{exe} has no version resource with {words}")


def _upgrade(upgrade: Path, steps: Steps) -> None:
    stale = PROGRAM / "_internal" / "stale from before.dll"
    stale.write_bytes(b"old")
    _install(upgrade)
    expect(not stale.exists(), "the upgrade left a file of the old version")
    _expect_installed(NEXT_VERSION)
    _expect_data_kept()
    steps.done("upgraded; stale files are gone, the user's files are there")


def _while_running(setup: Path, steps: Steps) -> None:
    _start()
    before = {name: _digest(PROGRAM / name) for name in windows_build.files_of(PROGRAM)}
    done = PC.run([PC.windows_path(setup), "/S"])
    expect(done.returncode == RUNNING, f"an upgrade while the program runs ended with {done.returncode}")
    _uninstall()
    after = {name: _digest(PROGRAM / name) for name in windows_build.files_of(PROGRAM)}
    expect(before == after, "a refused upgrade or removal changed files")
    _kill()
    _install(setup)
    _expect_installed(windows_build.version())
    steps.done("refused while the program runs, the old version left whole; done after it was closed")


def _uninstall(*words: str) -> None:
    """Run the uninstaller to its end: it goes on from a copy of itself, whose exit code nobody sees."""
    done = PC.run([PC.windows_path(PROGRAM / "uninstall.exe"), "/S", *words])
    expect(done.returncode == 0, f"the uninstaller ended with {done.returncode}: {done.stdout}")
    _wait(lambda: not PC.processes("Un"), "the uninstaller does not end")


def _remove(*words: str) -> None:
    _uninstall(*words)
    expect(not PROGRAM.exists(), f"{PROGRAM} is still there: {windows_build.files_of(PROGRAM)[:10]}")


def _expect_removed(before: set[Path]) -> None:
    own = re.compile(r"/Temp/~nsu")  # the uninstaller's copy of itself; Windows removes it at the next start
    left = {path for path in _files() - before if not own.search(str(path)) and not path.is_relative_to(DATA)}
    left -= {_model_file()}
    expect(not left, f"left behind: {sorted(map(str, left))}")
    for line in PC.registry().splitlines():
        expect(
            "BitConverter" not in line and not re.search(r"\.(soul|u32)\b", line),
            f"left in the registry: {line}",
        )


# ---- the user's files


def _model_file() -> Path:
    return HOME / "モデル" / "model.safetensors"


def _keep_data() -> None:
    _model_file().parent.mkdir(parents=True)
    _model_file().write_bytes(b"weights")
    DATA.mkdir(parents=True)
    (DATA / "settings.json").write_text('{"temperature": 0.5}', encoding="utf-8")
    (DATA / "chats.txt").write_text("チャット", encoding="utf-8")


def _expect_data_kept() -> None:
    expect(_model_file().read_bytes() == b"weights", "the user's model is not what it was")
    settings = json.loads((DATA / "settings.json").read_text(encoding="utf-8"))
    expect(settings["temperature"] == 0.5, f"the settings are {settings}")
    expect((DATA / "chats.txt").read_text(encoding="utf-8") == "チャット", "the chats are not what they were")


# ---- the installed program


def _self_test(steps: Steps) -> None:
    version = PC.run([PC.windows_path(PROGRAM / "bitconverter-cli.exe"), "--version"])
    expect(windows_build.version() in version.stdout, f"bitconverter-cli --version said {version.stdout}")
    out = HOME / "結果.json"
    command = [PC.windows_path(PROGRAM / "BitConverter.exe"), "--platform", "offscreen"]
    done = PC.run([*command, "--selftest", PC.windows_path(out)], timeout=1800)
    expect(out.exists(), f"the self-test wrote nothing and ended with {done.returncode}: {done.stdout}")
    report: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    failed = {name: part for name, part in report["parts"].items() if not part["ok"]}
    expect(
        not failed and done.returncode == 0, f"self-test: {json.dumps(failed, ensure_ascii=False, indent=1)}"
    )
    parts = report["parts"]
    expect(
        parts["versions"]["frozen"] and HOME.name in parts["versions"]["executable"],
        f"tested {parts['versions']}",
    )
    picture = out.with_suffix(".png")
    expect(picture.stat().st_size > 10_000, "the window was not painted")
    shutil.copy(picture, windows_build.BUILD / "self-test.png")
    shutil.copy(out, windows_build.BUILD / "self-test.json")
    for path in (out, picture):
        path.unlink()
    steps.done(
        f"self-test: {len(parts)} parts passed; {parts['engine']['isa']}, "
        f"window after {parts['start']['seconds_until_shown']} s"
    )


def _start() -> None:
    """Start the program and wait until it has come as far as its crash log."""
    LOG.unlink(missing_ok=True)
    PC.start([PC.windows_path(PROGRAM / "BitConverter.exe"), "--platform", "offscreen"])
    _wait(LOG.exists, "the program did not start")


def _kill() -> None:
    expect(bool(PC.processes("BitConverter.exe")), "the program ended by itself")
    PC.kill("BitConverter.exe")
    _wait(lambda: not PC.processes("BitConverter.exe"), "the program is still running")


def _start_and_kill(steps: Steps) -> None:
    temp = LOCAL / "Temp"
    before = set(temp.rglob("*"))
    for _ in range(START_AND_KILL):
        _start()
        _kill()
    grown = set(temp.rglob("*")) - before
    expect(not grown, f"{START_AND_KILL} starts left in {temp}: {sorted(map(str, grown))[:10]}")
    steps.done(f"started and killed {START_AND_KILL} times; no process and no temporary file is left")


# ---- looking


def _wait(condition: Any, what: str, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        expect(time.monotonic() < end, what)
        time.sleep(0.2)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _files() -> set[Path]:
    """Every file of the user but what Windows itself notes."""
    return {
        path for path in HOME.rglob("*") if path.is_file() and not path.name.lower().startswith("ntuser.dat")
    }


def _section(registry: str, name: str) -> str:
    """The lines of one key."""
    key = re.escape(rf"[HKEY_CURRENT_USER\{name}]")
    found = re.search(rf"^{key}$.*?(?=^\[|\Z)", registry, re.MULTILINE | re.DOTALL)
    return found[0] if found else ""
