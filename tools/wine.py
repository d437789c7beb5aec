"""A wine prefix of our own: a small Windows to try programs in. Nothing of it touches the user's home.

What Debian's wine makes difficult, and why the environment below is as it is:
- stdout must be a pipe and stdin closed: a Windows Python cannot use wine's plain files.
- wine drops every QT_ variable; programs take their own options instead.
- winemenubuilder writes into ~/.local/share, and Desktop links into $HOME: both are turned off or moved.
- the user's files get their names by the locale: without UTF-8 every letter that is not ASCII is lost.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from devenv import SetupError, apt_install

PACKAGES = ["wine", "wine64"]
LOADERS = ("/usr/lib/wine/wine64", "/usr/lib/wine/wine", "wine64", "wine")
_OVERRIDES = "winemenubuilder.exe=d;mscoree=;mshtml="


def loader() -> str:
    """The program that runs 64-bit Windows programs; the wrapper `wine` asks for 32-bit parts we do without."""
    for name in LOADERS if _has_wine() else ():
        found = shutil.which(name)
        if found:
            return found
    raise SetupError("wine is not installed (Debian: apt-get install --no-install-recommends wine wine64)")


def need_wine() -> None:
    """Install wine where we may; raise SetupError where it is still missing."""
    if not _has_wine():
        apt_install(PACKAGES, "wine, to run Windows programs")
    loader()


def _has_wine() -> bool:
    """PATH decides: the programs that LOADERS names by their whole path are only parts of it."""
    return any(shutil.which(name) for name in ("wine", "wine64"))


class Prefix:
    """One prefix in `folder` (made when it is not there); `drive_c` is its C:, `user` the name of its user."""

    def __init__(self, folder: Path, user: str = "user") -> None:
        self.folder = folder
        self.drive_c = folder / "drive_c"
        self.user = user
        self.home = self.drive_c / "users" / user
        self._started: list[subprocess.Popen[bytes]] = []

    def environment(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        """For everything started in this prefix."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("WINE", "QT_"))}
        env |= {
            "WINEPREFIX": str(self.folder),
            "WINEARCH": "win64",
            "WINEDEBUG": "-all",
            "WINEDLLOVERRIDES": _OVERRIDES,
            "HOME": str(self.folder),
            "USER": self.user,
            "LC_ALL": "C.UTF-8",
        }
        for name in ("DISPLAY", "WAYLAND_DISPLAY", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
            env.pop(name, None)
        return env | (extra or {})

    def create(self) -> None:
        """Make the prefix; it says it is Windows 10."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.check([loader(), "wineboot", "--init"])
        version = [r"HKCU\Software\Wine", "/v", "Version", "/d", "win10", "/f"]
        self.check([loader(), "reg", "add", *version])
        for place in self.home.iterdir():
            if place.is_symlink():  # Desktop, Documents and others all lead to $HOME
                place.unlink()
                place.mkdir()

    def run(
        self, command: Sequence[str | Path], *, timeout: float = 300, env: dict[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run a Windows program: `command` without the loader. Its output is in stdout, both kinds."""
        return self._start([loader(), *map(str, command)], timeout, env)

    def check(self, command: Sequence[str | Path], *, timeout: float = 300) -> None:
        """Run a whole command in the prefix; a failure raises SetupError."""
        done = self._start([str(word) for word in command], timeout, None)
        if done.returncode:
            raise SetupError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}")

    def _start(
        self, command: list[str], timeout: float, env: dict[str, str] | None
    ) -> "subprocess.CompletedProcess[str]":
        try:
            return subprocess.run(
                command, cwd=self.folder, env=self.environment(env), stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout,
                encoding="utf-8", errors="replace",
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            output = (error.stdout or b"").decode("utf-8", "replace") if error.stdout else ""
            self.stop()
            raise SetupError(f"{' '.join(command)} did not end within {timeout:.0f} s:\n{output}") from error

    def start(self, command: Sequence[str | Path]) -> None:
        """Start a Windows program and do not wait for it; `stop` ends it."""
        self._started.append(
            subprocess.Popen(
                [loader(), *map(str, command)], cwd=self.folder, env=self.environment(),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )
        )  # fmt: skip

    def processes(self, name: str) -> list[int]:
        """Of the program `name` (its file's beginning), in this prefix, as this machine numbers them.

        wine 8's own tasklist tells nothing.
        """
        found = list[int]()
        prefix = f"WINEPREFIX={self.folder}".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                program = (folder / "cmdline").read_bytes().split(b"\0")[0].decode("utf-8", "replace")
                ours = prefix in (folder / "environ").read_bytes().split(b"\0")
            except OSError:  # it has just ended
                continue
            if ours and program.replace("\\", "/").rpartition("/")[2].startswith(name):
                found.append(int(folder.name))
        return found

    def kill(self, name: str) -> None:
        """End that program at once, without asking it."""
        for number in self.processes(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)

    def registry(self) -> str:
        """The user's programs' part of the registry, as regedit exports it."""
        out = self.folder / "software.reg"
        self.check([loader(), "regedit", "/E", self.windows_path(out), r"HKEY_CURRENT_USER\Software"])
        return out.read_text(encoding="utf-16")

    def windows_path(self, path: Path) -> str:
        """How programs in the prefix name a file of this machine."""
        if path.is_relative_to(self.drive_c):
            return "C:\\" + str(path.relative_to(self.drive_c)).replace("/", "\\")
        return "Z:" + str(path).replace("/", "\\")

    def host_path(self, path: str) -> Path:
        """The file of this machine that programs in the prefix name so."""
        drive, _, rest = path.replace("\\", "/").partition(":/")
        top = {"C": self.drive_c, "Z": Path("/")}.get(drive.upper())
        if top is None:
            raise SetupError(f"{path} is on no drive of this prefix")
        return top / rest

    def stop(self) -> None:
        """End every program of this prefix, and its server."""
        server = next(
            (s for s in ("/usr/lib/wine/wineserver", "/usr/lib/wine/wineserver64") if Path(s).exists()),
            "wineserver",
        )
        for words in ([server, "-k"], [server, "-w"]):
            subprocess.run(words, env=self.environment(), capture_output=True, timeout=60)
        while self._started:
            self._started.pop().communicate()
