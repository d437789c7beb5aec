"""Where the installer is tried: under wine as a user with a difficult name, or on the Windows that this runs on."""

import hashlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import ours
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
TOO_OLD, RUNNING, NOT_WRITTEN, OCCUPIED = 3, 5, 6, 7  # exit codes of installer and uninstaller
# Where a program may write that is not the user's: nothing of ours may come up there.
OF_ALL_USERS = (
    [Path(os.environ[name]) for name in ("ProgramData", "PUBLIC")] + [Path(os.environ["SYSTEMROOT"]) / "Temp"]
    if WINDOWS
    else [WINE.drive_c / name for name in ("ProgramData", "users/Public", "windows/temp")]
)


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
    """Every file of the user and of all users but what Windows itself notes; where others work, what can be ours."""
    return {
        path
        for place in (HOME, *OF_ALL_USERS)
        for path in place.rglob("*")
        if (not WINDOWS or ours.can_be(path))
        and not path.name.lower().startswith("ntuser.dat")
        and path.is_file()
    }


def registry_lines() -> set[str]:
    """Of the user's programs, each with its key; where others work, what can be ours. Not what wine notes itself."""
    keys = re.split(r"^(?=\[)", PC.registry(), flags=re.MULTILINE)
    wines = "[HKEY_CURRENT_USER\\Software\\Wine\\"
    lines = {
        f"{key.splitlines()[0]} {line}"
        for key in keys
        if key and not key.startswith(wines)
        for line in key.splitlines()
    }
    return {line for line in lines if not WINDOWS or ours.can_be(line)}


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


def remove_value(key: str, name: str) -> None:
    PC.run(["reg", "delete", key, "/v", name, "/f"])
