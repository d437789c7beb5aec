"""The frozen Windows program in a real window: wine 10 of Debian 13 in a chroot, on a screen without a monitor.

Debian 12's wine 8 cannot open Qt's windows (it lacks WinRT's UISettings); Debian 13's wine 10 can. Root only,
because of the chroot. Mounts are private to the process that makes them: nothing stays mounted.
The pictures to look at: build/windows/real-window.png and build/windows/real-window-self-test.png.
"""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import devenv
import windows_build
from devenv import SetupError, say

SYSTEM = windows_build.BUILD.parent / "trixie"
SHARED = windows_build.BUILD / "real-window"  # /shared inside
MIRROR = "http://deb.debian.org/debian"
SCREEN, DISPLAY = "1366x768x24", ":77"
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


def _inside(script: str, *, check: bool = False, timeout: float = 1800) -> "subprocess.CompletedProcess[str]":
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


def _self_test() -> None:
    say("the self-test in a real window")
    _inside("cp /etc/hostname /shared/ 2>/dev/null; wine wineboot --init", check=True)
    keys = "; ".join(
        rf'wine reg add "HKCU\Software\Wine\Fonts\Replacements" /v "{name}" /d "Noto Sans CJK JP" /f'
        for name in FONTS
    )
    _inside(keys, check=True)
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

    script = "wine /shared/BitConverter/BitConverter.exe | cat"
    from threading import Thread

    program = Thread(target=_inside, args=(script,))
    program.start()
    try:
        _wait(lambda: window() != "", "no window named BitConverter appeared")
        _wait(lambda: _colors(environment) > 200, "the screen stays empty")
    finally:
        subprocess.run(["xdotool", "key", "--clearmodifiers", "alt+F4"], env=environment)
        program.join(60)
        if program.is_alive():
            _inside("wineserver -k; true")
    if window():
        raise SetupError("the window is still there after it was closed")
    print("real window: shown, painted and closed; look at build/windows/real-window.png")


def _colors(environment: dict[str, str]) -> int:
    picture = windows_build.BUILD / "real-window.png"
    subprocess.run(["import", "-window", "root", str(picture)], env=environment, check=True)
    words = ["identify", "-format", "%k", str(picture)]
    return int(subprocess.run(words, capture_output=True, encoding="utf-8", check=True).stdout)


def _wait(condition: object, what: str, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > end:
            raise SetupError(what)
        time.sleep(0.5)
