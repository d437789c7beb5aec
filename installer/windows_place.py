"""Where the installer is tried: under wine as a user with a difficult name, or on the Windows that this runs on."""

import hashlib
import re
import time
from collections.abc import Callable
from pathlib import Path

import this_windows
import windows_build
import wine
from devenv import WINDOWS, SetupError

WINE = wine.Prefix(windows_build.BUILD / "check", "田中　太郎😀 é")
PC = this_windows.ThisWindows() if WINDOWS else WINE
HOME = PC.home
LOCAL = HOME / "AppData" / "Local"
PROGRAM = LOCAL / "Programs" / "BitConverter"
DATA = LOCAL / "BitConverter"
WINDOW, CONSOLE = PROGRAM / "BitConverter.exe", PROGRAM / "bitconverter-cli.exe"
UNINSTALL = PROGRAM / "uninstall.exe"
RUNNING, NOT_WRITTEN = 5, 6  # exit codes of installer and uninstaller


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


def wait(condition: Callable[[], bool], what: str, seconds: float = 300) -> None:
    """Until `condition`; raises SetupError after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        expect(time.monotonic() < end, what)
        time.sleep(0.2)


def digests(folder: Path) -> dict[Path, str]:
    """Of every file below; none if there is no such folder."""
    return {name: digest(folder / name) for name in windows_build.files_of(folder)}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files() -> set[Path]:
    """Every file of the user but what Windows itself notes."""
    return {
        path for path in HOME.rglob("*") if path.is_file() and not path.name.lower().startswith("ntuser.dat")
    }


def section(registry: str, name: str) -> str:
    """The lines of one key of the user."""
    key = re.escape(rf"[HKEY_CURRENT_USER\{name}]")
    found = re.search(rf"^{key}$.*?(?=^\[|\Z)", registry, re.MULTILINE | re.DOTALL)
    return found[0] if found else ""


def default_value(registry: str, name: str) -> str:
    """What a key has without a name, as a program reads it; "" for none."""
    found = re.search(r'^@="(.*)"$', section(registry, name), re.MULTILINE)
    return re.sub(r"\\(.)", r"\1", found[1]) if found else ""


def set_value(key: str, value: str, name: str = "") -> bool:
    """Write into the registry; whether that was allowed."""
    words = ["reg", "add", key, *(["/v", name] if name else ["/ve"]), "/d", value, "/f"]
    return PC.run(words).returncode == 0


def remove_key(key: str) -> None:
    PC.run(["reg", "delete", key, "/f"])
