"""The frozen Windows program in a real window: wine 10 of Debian 13 in a chroot, on a screen without a monitor.

Debian 12's wine 8 cannot open Qt's windows (it lacks WinRT's UISettings); Debian 13's wine 10 can, once the functions
that numpy wants of ucrtbase.dll are repaired as in wine 8 (installer/shims). Root only, because of the chroot. Mounts
are private to the process that makes them: nothing stays mounted.
The pictures to look at: build/windows/real-window.png and build/windows/real-window-self-test.png.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import devenv
import windows_build
import windows_python
from devenv import SetupError, say

SYSTEM = windows_build.BUILD.parent / "trixie"
SHARED = windows_build.BUILD / "real-window"  # /shared inside
MIRROR = "http://deb.debian.org/debian"
SCREEN, DISPLAY = "1366x768x24", ":77"
COLORS = 200  # a painted window has more; an empty screen or wine's own dialog has fewer
# Windows' own fonts are not there; these make Japanese readable in wine's and Qt's windows.
FONTS = ("MS Shell Dlg", "MS UI Gothic", "Segoe UI", "Tahoma", "Yu Gothic UI", "Meiryo")


def main() -> None:
    """The self-test on Qt's windows platform, then the program itself with a picture of the screen."""
    if os.geteuid() != 0:
        raise SetupError("a chroot needs root; run this as root, or look at the program on a real Windows")
    devenv.apt_install(["xvfb", "xdotool", "imagemagick", "debootstrap"], "a screen without a monitor")
    if not (windows_build.PROGRAM / "BitConverter.exe").exists():
        raise SetupError("there is no Windows program: run python installer/build.py windows first")
    make_system()
    shutil.rmtree(SHARED, ignore_errors=True)
    SHARED.mkdir()
    shutil.copytree(windows_build.PROGRAM, SHARED / "BitConverter")
    screen = subprocess.Popen(
        ["Xvfb", DISPLAY, "-screen", "0", SCREEN, "-nolisten", "tcp"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(lambda: Path(f"/tmp/.X11-unix/X{DISPLAY[1:]}").exists(), "Xvfb did not start")
        _prepare()
        _self_test()
        _look()
    finally:
        _inside("wineserver -k; true")
        screen.terminate()
        screen.wait()


def make_system() -> None:
    """A Debian 13 with wine, once: about 1.5 GB and three minutes."""
    if (SYSTEM / "ready").exists():
        return
    say("a Debian 13 with wine 10, in build/trixie")
    shutil.rmtree(SYSTEM, ignore_errors=True)
    devenv.run(["debootstrap", "--variant=minbase", "trixie", SYSTEM, MIRROR], quiet=True)
    packages = "wine wine64 fonts-noto-cjk"
    _inside(f"apt-get update -q && apt-get install -y -q --no-install-recommends {packages}", check=True)
    (SYSTEM / "ready").touch()


def _inside(script: str, *, check: bool = False, timeout: float = 900) -> "subprocess.CompletedProcess[str]":
    """Run a shell script in the Debian 13, with /proc, /sys, the screen's socket and SHARED as /shared."""
    SHARED.mkdir(parents=True, exist_ok=True)
    for name in ("shared", "tmp/.X11-unix"):
        (SYSTEM / name).mkdir(parents=True, exist_ok=True)
    mounts = [
        f"mount -t proc proc {SYSTEM}/proc", f"mount --rbind /sys {SYSTEM}/sys", f"mount --bind /dev {SYSTEM}/dev",
        f"mount --bind {SHARED} {SYSTEM}/shared",
        f"if [ -d /tmp/.X11-unix ]; then mount --bind /tmp/.X11-unix {SYSTEM}/tmp/.X11-unix; fi",
    ]  # fmt: skip
    command = " && ".join(mounts) + f' && exec chroot {SYSTEM} /bin/sh -c "$0"'
    env = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/wine", "HOME": "/root", "LC_ALL": "C.UTF-8",
        "DISPLAY": DISPLAY, "WINEPREFIX": "/shared/prefix", "WINEDEBUG": "-all",
        "WINEDLLOVERRIDES": "winemenubuilder.exe=d;mscoree=;mshtml=", "DEBIAN_FRONTEND": "noninteractive",
    }  # fmt: skip
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", command, script],
        env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout,
        encoding="utf-8", errors="replace",
    )  # fmt: skip
    if check and done.returncode:
        raise SetupError(f"in the Debian 13 this ended with {done.returncode}: {script}\n{done.stdout}")
    return done


def _prepare() -> None:
    """A new Windows in SHARED. A program that crashes ends there: wine's dialog about it would wait for a click."""
    say("a new Windows of wine 10")
    _inside("wine wineboot --init", check=True)
    library = SHARED / "prefix" / "drive_c" / "windows" / "system32" / "ucrtbase.dll"
    shim = windows_python.SHIMS / "patch_ucrt.py"
    devenv.run([sys.executable, shim, library, windows_python.SITE], quiet=True)
    values = [(rf"Fonts\Replacements\{name}", "REG_SZ", "Noto Sans CJK JP") for name in FONTS]
    values += [(r"DllOverrides\ucrtbase", "REG_SZ", "native"), (r"WineDbg\ShowCrashDialog", "REG_DWORD", "0")]
    for place, kind, value in values:
        key, _, name = place.rpartition("\\")
        words = rf'wine reg add "HKCU\Software\Wine\{key}" /v "{name}" /t {kind} /d "{value}" /f'
        _inside(words, check=True)


def _self_test() -> None:
    say("the self-test in a real window")
    done = _inside(r"wine /shared/BitConverter/BitConverter.exe --selftest 'Z:\shared\out.json' | cat")
    out = SHARED / "out.json"
    if not out.exists():
        raise SetupError(f"the self-test wrote nothing: {done.stdout}")
    parts = json.loads(out.read_text(encoding="utf-8"))["parts"]
    failed = {name: part for name, part in parts.items() if not part["ok"]}
    if failed or parts["start"]["platform"] != "windows":
        raise SetupError(f"self-test on {parts['start']}: {json.dumps(failed, ensure_ascii=False, indent=1)}")
    shutil.copy(out.with_suffix(".png"), windows_build.BUILD / "real-window-self-test.png")
    print(f"real window: {len(parts)} parts passed, shown after {parts['start']['seconds_until_shown']} s")


def _look() -> None:
    """Start it, wait for its window, take a picture of the screen, close it as a user does."""
    say("the program on the screen")
    environment = {**os.environ, "DISPLAY": DISPLAY}

    def window() -> str:
        words = ["xdotool", "search", "--onlyvisible", "--name", "BitConverter"]
        return subprocess.run(words, env=environment, capture_output=True, encoding="utf-8").stdout.strip()

    ended: list[subprocess.CompletedProcess[str]] = []
    # its exit status: a pipe behind it would give its own
    script = "wine /shared/BitConverter/BitConverter.exe > /shared/said.txt 2>&1 < /dev/null"
    program = Thread(target=lambda: ended.append(_inside(script)))
    program.start()
    try:
        _wait(lambda: window() != "" or bool(ended), "no window named BitConverter appeared")
        _wait(lambda: bool(ended) or _painted(environment), "the screen stays empty")
        if ended:
            said = (SHARED / "said.txt").read_text(encoding="utf-8", errors="replace")
            raise SetupError(f"the program ended by itself with {ended[0].returncode}: {said}")
        focus = ["windowfocus", "--sync", window().split()[-1]]  # no window manager gives it the keyboard
        subprocess.run(["xdotool", *focus, "key", "--clearmodifiers", "alt+F4"], env=environment, check=True)
        _wait(lambda: bool(ended), "the window does not close with Alt+F4", 60)
    finally:
        if not ended:
            _inside("wineserver -k; true")
        program.join()
    if ended[0].returncode or window():
        raise SetupError(f"closed, it ended with {ended[0].returncode}; windows left: {window() or 'none'}")
    print("real window: shown, painted and closed; look at build/windows/real-window.png")


def _painted(environment: dict[str, str]) -> bool:
    """Whether there is something on the screen, and nothing moves any more."""
    before = _colors(environment)
    time.sleep(3)
    return before > COLORS and _colors(environment) == before


def _colors(environment: dict[str, str]) -> int:
    picture = windows_build.BUILD / "real-window.png"
    subprocess.run(["import", "-window", "root", str(picture)], env=environment, check=True)
    words = ["identify", "-format", "%k", str(picture)]
    return int(subprocess.run(words, capture_output=True, encoding="utf-8", check=True).stdout)


def _wait(condition: Callable[[], bool], what: str, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SetupError(what)
        time.sleep(0.5)
