"""Where each program file of the bundle comes from: installer/locks/windows-binaries.txt names every one.

The list is written by `python installer/build.py binaries` from what was built, and looked through; a build whose files
are not exactly those of the list, byte for byte, is refused. So a new binary, or another one under an old name, has to
be seen by somebody first. Ours are made anew each time: they have no sha256.
"""

import base64
import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import lock
from devenv import SetupError
from pe import Program

LIST = lock.LOCKS / "windows-binaries.txt"
KINDS = {".dll", ".exe", ".pyd"}
OURS = "BitConverter"
STARTERS = {"BitConverter.exe": "runw.exe", "bitconverter-cli.exe": "run.exe"}  # of PyInstaller's
NSIS = Path("/usr/share/nsis")
# What makensis puts into the installer beside its packed files; Plugins are unpacked while it runs.
OF_NSIS = (
    "Stubs/lzma_solid-amd64-unicode", "Plugins/amd64-unicode/LangDLL.dll", "Plugins/amd64-unicode/System.dll",
    "Plugins/amd64-unicode/nsDialogs.dll",
)  # fmt: skip
HEAD = """\
# every program file of the Windows bundle and of its installer, its sha256, and where it comes from
# (docs/RELEASING.md). "code": the sha256 is that of its machine code, which PyInstaller does not change when it
# adds our version and icon. Written by `python installer/build.py binaries`; look at what has changed.

"""


@dataclass(frozen=True)
class Binary:
    """One line of the list."""

    name: str  # its place in the bundle, with /
    digest: str  # "sha256:...", "code:...", or "made" for ours
    origin: str  # a package and its version, Python's version, NSIS' version, or ours


def listed() -> dict[str, Binary]:
    """The list, by the files' names."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    parts = [line.split("  ") for line in lines if line and not line.startswith("#")]
    return {name: Binary(name, digest, origin) for name, digest, origin in parts}


def check(folder: Path) -> None:
    """Raises SetupError where the bundle's binaries are not those of the list."""
    known, there = listed(), dict(_digests(folder))
    for name, digest in there.items():
        if name not in known:
            raise SetupError(f"{name} is not in {LIST.name}: find out where it comes from, and add it")
        if digest != known[name].digest:
            raise SetupError(
                f"{name} is not the file of {known[name].origin} that {LIST.name} names: its {digest} is new"
            )
    missing = sorted(name for name in known if name not in there and not name.startswith("nsis/"))
    if missing:
        raise SetupError(f"{', '.join(missing)}: in {LIST.name}, but not in the bundle")


def check_nsis() -> None:
    """Raises SetupError where Debian's NSIS is not the one of the list."""
    for name, digest in _of_nsis():
        if listed()[name].digest != digest:
            raise SetupError(f"{NSIS / name[5:]} is not the file that {LIST.name} names: its {digest} is new")


def write(folder: Path, site: Path, python: Path, nsis_version: str) -> None:
    """Write the list anew from the bundle in `folder`, made of the packages in `site` and the Python in `python`."""
    sources = _sources(site, python)
    entries = list[Binary]()
    for name, digest in _digests(folder):
        if digest == "made":
            entries.append(Binary(name, digest, OURS))
            continue
        found = sources.get(digest, [])
        inside = name.removeprefix("_internal/")
        exact = [origin for place, origin in found if place == inside]
        if not found:
            raise SetupError(f"{name} is a file of no locked package and not of Python")
        entries.append(Binary(name, digest, (exact or sorted(origin for _, origin in found))[0]))
    entries += [Binary(name, digest, f"NSIS {nsis_version}") for name, digest in _of_nsis()]
    lines = [f"{entry.name}  {entry.digest}  {entry.origin}" for entry in entries]
    LIST.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"{LIST.name}: {len(entries)} files")


def _digests(folder: Path) -> Iterator[tuple[str, str]]:
    """Every binary of a bundle and its digest."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix.lower() not in KINDS or not path.is_file():
            continue
        if name.startswith("_internal/bitconverter/"):
            yield name, "made"
        elif name in STARTERS:
            yield name, _code(path)
        else:
            yield name, _sha256(path)


def _of_nsis() -> Iterator[tuple[str, str]]:
    for name in OF_NSIS:
        yield f"nsis/{name}", _sha256(NSIS / name)


def _sources(site: Path, python: Path) -> dict[str, list[tuple[str, str]]]:
    """digest -> where such a file lies (from the folder of packages, or of Python's DLLs) and in what."""
    found = dict[str, list[tuple[str, str]]]()
    for info in site.glob("*.dist-info"):
        name, version = info.name.removesuffix(".dist-info").split("-")
        with (info / "RECORD").open(encoding="utf-8", newline="") as file:
            for place, digest, _ in csv.reader(file):
                if digest:
                    raw = base64.urlsafe_b64decode(digest.removeprefix("sha256=") + "=")
                    found.setdefault(f"sha256:{raw.hex()}", []).append(
                        (place, f"{lock.canonical(name)}=={version}")
                    )
    for starter in STARTERS.values():
        path = site / "PyInstaller" / "bootloader" / "Windows-64bit-intel" / starter
        (info,) = site.glob("pyinstaller-[0-9]*.dist-info")
        version = info.name.removesuffix(".dist-info").split("-")[1]
        found.setdefault(_code(path), []).append((starter, f"pyinstaller=={version}"))
    for path in [*python.glob("*.dll"), *python.glob("DLLs/*")]:
        found.setdefault(_sha256(path), []).append((path.name, "CPython 3.11.9"))
    return found


def _sha256(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def _code(path: Path) -> str:
    return f"code:{hashlib.sha256(Program(path).section('.text')).hexdigest()}"
