"""The frozen Windows program in a real window: wine 10 of Debian 13 in a chroot, on a screen without a monitor.

Debian 12's wine 8 cannot open Qt's windows (it lacks WinRT's UISettings); Debian 13's wine 10 can, once the functions
that numpy wants of ucrtbase.dll are repaired as in wine 8 (installer/shims). Root only, because of the chroot. Mounts
are private to the process that makes them: nothing stays mounted.
The pictures to look at: build/windows/real-window*.png.
"""

import json
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
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
COLORS_OF_A_DIALOG = 50
FIGURES = 2000  # pixels: two lines of small figures; a page or a row that moves is more
SENTENCE = "三値の重みで静かに動く。日本語も一字ずつ届く。"  # of bitconverter/jobs/self_test_model.py
# Windows' own fonts are not there; these make Japanese readable in wine's and Qt's windows.
FONTS = ("MS Shell Dlg", "MS UI Gothic", "Segoe UI", "Tahoma", "Yu Gothic UI", "Meiryo")


def main() -> None:
    """The installer's pages in Japanese; of what they installed the self-test, the window, files by their types."""
    if os.geteuid() != 0:
        raise SetupError("a chroot needs root; run this as root, or look at the program on a real Windows")
    devenv.apt_install(["xvfb", "xdotool", "imagemagick", "debootstrap"], "a screen without a monitor")
    setup = windows_build.setup_file(windows_build.version())
    if not setup.exists():
        raise SetupError("there is no Windows program: run python installer/build.py windows first")
    make_system()
    shutil.rmtree(SHARED, ignore_errors=True)
    SHARED.mkdir()
    shutil.copy(setup, SHARED / "setup.exe")
    screen = subprocess.Popen(
        ["Xvfb", DISPLAY, "-screen", "0", SCREEN, "-nolisten", "tcp"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(lambda: Path(f"/tmp/.X11-unix/X{DISPLAY[1:]}").exists(), "Xvfb did not start")
        _prepare()
        _install()
        _self_test()
        _make_soul()
        _look()
        _remove()
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


def _install() -> None:
    """As a Japanese user does it: from page to page with the Return key. The last page starts the program."""
    say("the installer's pages, in Japanese")
    _inside(r"wine reg add 'HKCU\Software\BitConverter' /v Language /d 1041 /f", check=True)
    setup = Thread(target=lambda: _inside("wine /shared/setup.exe < /dev/null | cat"))
    setup.start()
    try:
        title = "BitConverter セットアップ"
        _wait(lambda: _window(title) != "", f"no window {title} appeared")
        for page in ("welcome", "folder", "parts"):
            _still_picture(f"setup-{page}", COLORS_OF_A_DIALOG)
            _key("Return", _window(title))
        _wait(_is_installed, "the pages installed nothing")
        _still_picture("setup-end", COLORS_OF_A_DIALOG)
        _key("Return", _window(title))
        setup.join(120)
        program = "^BitConverter$"
        _wait(lambda: _window(program) != "", "the last page did not start the program")
        _still_picture("after-setup")
        _key("alt+F4", _window(program))
        _wait(lambda: _window(program) == "", "the window does not close with Alt+F4", 120)
    finally:
        _inside("wineserver -k; true")
        setup.join()
    print("real window: installed by its pages in Japanese; the last one started the program")


def _installed() -> Path:
    users = SHARED / "prefix" / "drive_c" / "users"
    return next(users.glob("*/AppData/Local/Programs"), SHARED) / "BitConverter"


def _is_installed() -> bool:
    return (_installed() / "uninstall.exe").is_file()


def _program(name: str) -> str:
    """For a shell inside: an installed program's path."""
    return shlex.quote("/shared" + str(_installed() / name).removeprefix(str(SHARED)))


def _make_soul() -> None:
    """A model and a soul, by the installed program, to open by a double click."""
    from bitconverter.jobs.self_test_model import write_model

    write_model(SHARED / "model")
    (SHARED / "lesson.txt").write_text("".join(f"{SENTENCE} {n}\n" for n in range(40)), encoding="utf-8")
    for words in (
        r"convert 'Z:\shared\model' 'Z:\shared\small' --planes 2 --method fast",
        r"prepare 'Z:\shared\small' 'Z:\shared\lesson.txt' 'Z:\shared\lesson.u32'",
        r"train 'Z:\shared\small' 'Z:\shared\lesson.txt' 'Z:\shared\heart.soul' --steps 2 --layers 1 --window 32 "
        "--batch 2 --forget-limit 0",
    ):
        done = _inside(f"wine {_program('bitconverter-cli.exe')} {words} < /dev/null 2>&1 | cat")
        if not done.returncode and "--forget-limit" in words and not (SHARED / "heart.soul").is_file():
            raise SetupError(f"{words.split()[0]}: {done.stdout}")


def _self_test() -> None:
    say("the self-test in a real window")
    done = _inside(rf"wine {_program('BitConverter.exe')} --selftest 'Z:\shared\out.json' < /dev/null | cat")
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
    """Start it, open files by their types while another window is in front, close it as a user does."""
    say("the program on the screen")
    ended: list[subprocess.CompletedProcess[str]] = []
    # its exit status: a pipe behind it would give its own
    script = (
        f"wine {_program('BitConverter.exe')} --open 'Z:\\shared\\small' > /shared/said.txt 2>&1 < /dev/null"
    )
    program = Thread(target=lambda: ended.append(_inside(script)))
    program.start()
    title = "^BitConverter$"
    try:
        _wait(lambda: _window(title) != "" or bool(ended), "no window named BitConverter appeared")
        if not ended:
            _still_picture()
        if ended:
            said = (SHARED / "said.txt").read_text(encoding="utf-8", errors="replace")
            raise SetupError(f"the program ended by itself with {ended[0].returncode}: {said}")
        _show_types_to_wine()
        for file in ("lesson.u32", "heart.soul"):
            _open_by_type(file, _window(title))
        _ask(_window(title))
        _key("alt+F4", _window(title))
        _wait(lambda: bool(ended), "the window does not close with Alt+F4", 120)
    finally:
        if not ended:
            _inside("wineserver -k; true")
        program.join()
    if ended[0].returncode or _window(title):
        raise SetupError(
            f"closed, it ended with {ended[0].returncode}; windows left: {_window(title) or 'none'}"
        )
    _expect_kept("closed")
    print("real window: brought to the front by files of its types, asked, closed; look at the pictures")


def _show_types_to_wine() -> None:
    """wine looks for the types of all users alone, and an installer without rights registers them for this user."""
    for key in (".u32", ".soul", "BitConverter.Pack", "BitConverter.Soul"):
        place = rf"Software\Classes\{key}"
        _inside(rf"wine reg copy 'HKCU\{place}' 'HKLM\{place}' /s /f < /dev/null | cat", check=True)


def _open_by_type(file: str, window: str) -> None:
    """What a double click does (ShellExecute), with another window in front: the first start takes the file."""
    notepad = Thread(target=lambda: _inside("wine notepad < /dev/null | cat"))
    notepad.start()
    other = "(Notepad|メモ帳)"
    _wait(lambda: _window(other) != "", "no other window could be opened")
    _key("x", _window(other))
    if _in_front(other) == window:
        raise SetupError("the program is in front although another window was opened after it")
    _inside(rf"wine start 'Z:\shared\{file}' < /dev/null | cat", check=True)
    _wait(lambda: _in_front(other) == window, f"{file} was opened, and the first window is not in front")
    if len(_windows("^BitConverter$")) != 1:
        raise SetupError(f"{file} opened a second window: {_windows('^BitConverter$')}")
    _still_picture(file.partition(".")[2])
    _inside("wine taskkill /f /im notepad.exe < /dev/null | cat")
    notepad.join()


def _ask(window: str) -> None:
    """A question by the keyboard; the answer is known."""
    subprocess.run(["xdotool", "windowfocus", "--sync", window, "type", "hello"], env=_screen(), check=True)
    _key("Return", window)
    _wait(lambda: _said()[1:] == [SENTENCE], "the model did not answer")
    _still_picture("answer")


def _said() -> list[str]:
    """What the program's database of chats holds."""
    with closing(sqlite3.connect(f"{(_data() / 'chats.sqlite3').as_uri()}?mode=ro", uri=True)) as chats:
        return [text for (text,) in chats.execute("SELECT text FROM message ORDER BY created, id")]


def _data() -> Path:
    return _installed().parent.parent / "BitConverter"


def _expect_kept(when: str) -> None:
    """The chat and the soul that was opened."""
    with closing(sqlite3.connect(_data() / "chats.sqlite3")) as chats:
        (state,) = chats.execute("PRAGMA integrity_check").fetchone()
    if state != "ok" or _said() != ["hello", SENTENCE]:
        raise SetupError(f"{when}, the database of chats is {state} and holds {_said()}")
    souls = json.loads((_data() / "settings.json").read_text(encoding="utf-8"))["chat_souls"]
    if not any("heart.soul" in line for line in souls):
        raise SetupError(f"{when}, the settings know of no soul that was opened: {souls}")


def _remove() -> None:
    """The uninstaller keeps what was said."""
    place = _installed()
    _inside(f"wine {_program('uninstall.exe')} /S < /dev/null | cat", check=True)
    _wait(lambda: not place.exists(), "the uninstaller left the program there")
    _expect_kept("after the removal")
    print("real window: removed; the chat and the settings are still there")


def _windows(title: str) -> list[str]:
    words = ["xdotool", "search", "--onlyvisible", "--name", title]
    done = subprocess.run(words, env=_screen(), capture_output=True, encoding="utf-8")
    return done.stdout.split()


def _window(title: str) -> str:
    """The last of those with such a title; "" for none."""
    return ["", *_windows(title)][-1]


def _in_front(other: str) -> str:
    """The uppermost of the program's windows and the others: xdotool names them from the back to the front. (Without a
    window manager the keyboard stays where it is.)"""
    return _window(f"(^BitConverter$|{other})")


def _key(key: str, window: str) -> None:
    """Press it in that window: no window manager gives it the keyboard."""
    words = ["xdotool", "windowfocus", "--sync", window, "key", "--clearmodifiers", key]
    subprocess.run(words, env=_screen(), check=True)


def _screen() -> dict[str, str]:
    return {**os.environ, "DISPLAY": DISPLAY}


def _still_picture(name: str = "", colors: int = COLORS) -> None:
    """A picture of the screen once there is something on it and nothing moves any more."""
    path = windows_build.BUILD / f"real-window{f'-{name}' if name else ''}.png"
    _wait(lambda: _painted(path, colors), f"the screen stays empty or never stands still ({path.name})")


def _painted(path: Path, colors: int) -> bool:
    """Whether the newer of two pictures is one of a window that stands still; a figure of its memory may change."""
    before = path.with_suffix(".before.png")
    _take(before)
    time.sleep(3)
    _take(path)
    words = ["compare", "-metric", "AE", str(before), str(path), "null:"]
    changed = subprocess.run(words, capture_output=True, encoding="utf-8").stderr
    before.unlink()
    return _colors(path) > colors and float(changed) < FIGURES


def _take(picture: Path) -> None:
    subprocess.run(["import", "-window", "root", str(picture)], env=_screen(), check=True)


def _colors(picture: Path) -> int:
    words = ["identify", "-format", "%k", str(picture)]
    return int(subprocess.run(words, capture_output=True, encoding="utf-8", check=True).stdout)


def _wait(condition: Callable[[], bool], what: str, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SetupError(what)
        time.sleep(0.5)
