"""What installer and uninstaller do, asserted: files, registry, words, refusals, failures half-way."""

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import windows_build
import wine
from devenv import WINDOWS
from pe import Program
from windows_place import (
    CONSOLE,
    DATA,
    HOME,
    NOT_WRITTEN,
    PC,
    PROGRAM,
    RUNNING,
    UNINSTALL,
    WINDOW,
    WINE,
    default_value,
    digests,
    expect,
    files,
    remove_key,
    section,
    set_value,
    wait,
)  # fmt: skip

TYPES = {".soul": "BitConverter.Soul", ".u32": "BitConverter.Pack"}
WORDS = {  # of the types, as Explorer shows them
    1033: {"BitConverter.Soul": "BitConverter soul", "BitConverter.Pack": "BitConverter knowledge pack"},
    1041: {"BitConverter.Soul": "BitConverter ソウル", "BitConverter.Pack": "BitConverter 知識パック"},
}
ITEMS = ("_internal", WINDOW.name, CONSOLE.name)
LARGEST = 4_000_000  # bytes a file may have on a "full disk"; the program has larger ones


def install(setup: Path, *words: str) -> None:
    done = PC.run([PC.windows_path(setup), "/S", *words])
    expect(done.returncode == 0, f"{setup.name} ended with {done.returncode}: {done.stdout}")


def expect_installed(version: str, language: int = 1033) -> None:
    shipped, there = digests(windows_build.PROGRAM), digests(PROGRAM)
    wrong = set(there) ^ {*shipped, Path(UNINSTALL.name)}
    expect(not wrong, f"missing or too much: {sorted(map(str, wrong))[:10]}")
    changed = [str(name) for name in shipped if shipped[name] != there[name]]
    expect(not changed, f"these differ from the files that were packed: {changed[:10]}")
    registry = PC.registry()
    expect(f'"DisplayVersion"="{version}"' in registry, f"the registry does not tell version {version}")
    for extension, kind in TYPES.items():
        owner = default_value(registry, rf"Software\Classes\{extension}")
        expect(owner == kind, f"{extension} belongs to {owner!r}, not to {kind}")
        words = default_value(registry, rf"Software\Classes\{kind}")
        expect(words == WORDS[language][kind], f"{kind} is called {words!r}")
        expect(open_command(kind, registry)[1:] == ["--open", "%1"], f"{kind} is not opened by --open")
    _expect_resources(UNINSTALL, version, {"BitConverter installer", "BitConverter インストーラー"})
    _expect_resources(WINDOW, windows_build.version(), {"BitConverter"})
    _expect_resources(CONSOLE, windows_build.version(), {"BitConverter, command line"})


def expect_shortcuts(*folders: str) -> None:
    there = sorted(path.parent.name for path in HOME.rglob("BitConverter.lnk"))
    expect(there == sorted(folders), f"shortcuts are in {there}, not in {sorted(folders)}")


def open_command(kind: str, registry: str) -> list[str]:
    """The words of the command that Explorer starts for a file of that type."""
    command = default_value(registry, rf"Software\Classes\{kind}\shell\open\command")
    words = [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|(\S+)', command)]
    expect(bool(words) and words[0] == PC.windows_path(WINDOW), f"{kind} is opened by {command}")
    return words


def expect_setup_file(setup: Path, version: str) -> None:
    _expect_resources(setup, version, {"BitConverter installer", "BitConverter インストーラー"})


def _expect_resources(path: Path, version: str, descriptions: set[str]) -> None:
    """What Explorer shows of it, in every language; an icon."""
    program = Program(path)
    tables = program.version_words()
    for words in tables:
        expect(
            words["ProductName"] == "BitConverter" and words["CompanyName"] == "BitConverter contributors",
            f"{path.name} says of itself {words}",
        )
        expect(words["FileVersion"] == words["ProductVersion"] == version, f"{path.name} has version {words}")
    found = {words["FileDescription"] for words in tables}
    expect(found == descriptions, f"{path.name} describes itself as {found}")
    expect(program.icons() == 1, f"{path.name} has {program.icons()} icons")


# ---- removing


def uninstall(*words: str) -> None:
    """Run the uninstaller to its end: it goes on from a copy of itself, whose exit code nobody sees."""
    done = PC.run([PC.windows_path(UNINSTALL), "/S", *words])
    expect(done.returncode == 0, f"the uninstaller ended with {done.returncode}: {done.stdout}")
    wait(lambda: not PC.processes("Un"), "the uninstaller does not end")


def remove(*words: str) -> None:
    uninstall(*words)
    expect(not PROGRAM.exists(), f"{PROGRAM} is still there: {windows_build.files_of(PROGRAM)[:10]}")


def expect_removed(before: set[Path], kept: set[Path]) -> None:
    """Nothing is left but what was there before, the program's data, and `kept`."""
    own = re.compile(r"/Temp/~nsu")  # the uninstaller's copy of itself; Windows removes it at the next start
    left = {path for path in files() - before if not own.search(path.as_posix())}
    left = {path for path in left if not path.is_relative_to(DATA)} - kept
    expect(not left, f"left behind: {sorted(map(str, left))}")
    for line in PC.registry().splitlines():
        ours = "BitConverter" in line or re.search(r"\.(soul|u32)\b", line)
        expect(not ours, f"left in the registry: {line}")


# ---- refusals


def expect_refused_while_running(setup: Path) -> None:
    """Installer and uninstaller say 5 and change nothing."""
    before, registry = digests(PROGRAM), PC.registry()
    done = PC.run([PC.windows_path(setup), "/S"])
    expect(done.returncode == RUNNING, f"an upgrade while the program runs ended with {done.returncode}")
    # with _? it goes on where it is, and its own exit code is seen; the folder comes last and without quotes
    place = f"_?={PC.windows_path(PROGRAM)}".split(" ")
    done = PC.run([PC.windows_path(UNINSTALL), "/S", *place])
    expect(done.returncode == RUNNING, f"a removal while the program runs ended with {done.returncode}")
    uninstall()
    expect(digests(PROGRAM) == before, "a refused upgrade or removal changed files")
    _expect_same_registry(registry, "a refused upgrade or removal")


def expect_whole_after_failures(setup: Path) -> None:
    """Wherever the exchange fails, the exit code is 6 and the version from before is whole."""
    before, registry = digests(PROGRAM), PC.registry()

    def fails(broken: Path, why: str) -> None:
        done = PC.run([PC.windows_path(broken), "/S"])
        _expect_failed(done.returncode, why, before)

    for name in ("~new", "~old"):
        (PROGRAM / name).write_text("in the way", encoding="utf-8")
        expected = before | digests(PROGRAM)
        done = PC.run([PC.windows_path(setup), "/S"])
        _expect_failed(done.returncode, f"{name} could not be made", expected)
        (PROGRAM / name).unlink()
    for item in ITEMS:
        fails(_setup_without(item), f"{item} could not be put in place")
    with _power_cut():
        fails(_setup_without(CONSOLE.name), "the exchange before was cut off")
    if not WINDOWS:
        _expect_failed(_on_a_full_disk(setup), "the disk was full", before)
    _expect_same_registry(registry, "an upgrade that failed")


def _expect_same_registry(before: str, what: str) -> None:
    changed = _without_wine(before) ^ _without_wine(PC.registry())
    expect(not changed, f"{what} changed the registry: {sorted(changed)[:10]}")


def _without_wine(registry: str) -> set[str]:
    """The registry's lines, each with its key, without what wine notes for itself."""
    keys = re.split(r"^(?=\[)", registry, flags=re.MULTILINE)
    theirs = "[HKEY_CURRENT_USER\\Software\\Wine\\"
    return {
        f"{key.splitlines()[0]} {line}"
        for key in keys
        if key and not key.startswith(theirs)
        for line in key.splitlines()
    }


def expect_nothing_after_a_failure() -> None:
    """The same where nothing was installed before."""
    done = PC.run([PC.windows_path(_setup_without(CONSOLE.name)), "/S"])
    _expect_failed(done.returncode, "a first installation", {})
    expect(not PROGRAM.exists(), f"a first installation that failed left {PROGRAM}")


def _expect_failed(status: int, why: str, before: dict[Path, str]) -> None:
    expect(status == NOT_WRITTEN, f"{why}: the installer ended with {status}, not {NOT_WRITTEN}")
    after = digests(PROGRAM)
    changed = sorted(str(name) for name in {*before, *after} if before.get(name) != after.get(name))
    expect(not changed, f"{why}: these files are not what they were: {changed[:10]}")


def _setup_without(item: str) -> Path:
    """An installer of a version that lacks one of its items: putting it in place must fail."""
    out = windows_build.BUILD / "broken" / f"without-{item}.exe"
    source = out.with_suffix("")
    if not out.exists():
        for name in set(ITEMS) - {item}:
            path = source / name / "new.txt" if name == "_internal" else source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("a newer version", encoding="utf-8")
        windows_build.pack("9.9.8", out, compress=False, source=source)
    return out


@contextmanager
def _power_cut() -> Iterator[None]:
    """As if the PC had gone off between two steps of the exchange."""
    (PROGRAM / "~old").mkdir()
    for name in ("_internal", WINDOW.name):
        (PROGRAM / name).rename(PROGRAM / "~old" / name)
    yield


def _on_a_full_disk(setup: Path) -> int:
    """Its exit code where no file may grow beyond LARGEST: a write fails as on a full disk. wine's server runs before,
    without that limit."""
    import resource

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, LARGEST))

    holder = subprocess.Popen(
        [wine.loader(), "cmd", "/c", "pause"], cwd=WINE.folder, env=WINE.environment(),
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait(lambda: bool(PC.processes("cmd")), "wine's cmd does not start")
        return subprocess.call(
            [wine.loader(), PC.windows_path(setup), "/S"], cwd=WINE.folder, env=WINE.environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300,
            preexec_fn=limit, restore_signals=False,
        )  # fmt: skip
    finally:
        holder.communicate(b"\n", timeout=60)


# ---- file types and languages


def expect_japanese(setup: Path) -> None:
    """As after a user chose Japanese: words of the file types; the uninstaller finds the language too."""
    set_value(r"HKCU\Software\BitConverter", "1041", "Language")
    install(setup)
    expect_installed(windows_build.version(), 1041)
    remove()


def expect_owners_left_alone(setup: Path) -> None:
    """A file type of another program stays that program's; ours is among those offered, until it is removed."""
    set_value(r"HKCU\Software\Classes\.soul", "Other.Soul")
    of_all = set_value(
        r"HKLM\Software\Classes\.u32", "Other.Pack"
    )  # needs an administrator on a real Windows
    expect(of_all or WINDOWS, "wine did not let us write for all users")
    try:
        install(setup, "/NODESKTOP")
        _expect_owner(".soul", "Other.Soul", offered=True)
        if of_all:
            _expect_owner(".u32", "", offered=True)
        remove()
        _expect_owner(".soul", "Other.Soul", offered=False)
    finally:
        remove_key(r"HKCU\Software\Classes\.soul")
        if of_all:
            remove_key(r"HKLM\Software\Classes\.u32")


def _expect_owner(extension: str, owner: str, *, offered: bool) -> None:
    registry = PC.registry()
    found = default_value(registry, rf"Software\Classes\{extension}")
    expect(found == owner, f"{extension} belongs to {found!r}; the user's own entry was {owner!r}")
    among = section(registry, rf"Software\Classes\{extension}\OpenWithProgids")
    expect((TYPES[extension] in among) == offered, f"offered for {extension}: {among}")
