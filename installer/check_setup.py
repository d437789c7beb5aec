"""What installer and uninstaller do, asserted: files, registry, words, refusals, failures half-way."""

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ours
import windows_build
import wine
from devenv import WINDOWS
from pe import Program
from windows_place import (
    CONSOLE,
    DATA,
    HOME,
    NOT_WRITTEN,
    OCCUPIED,
    PC,
    PROGRAM,
    RUNNING,
    TOO_OLD,
    UNINSTALL,
    WINDOW,
    WINE,
    default_value,
    digests,
    expect,
    files,
    registry_lines,
    remove_key,
    remove_value,
    section,
    set_value,
    wait,
)  # fmt: skip

TYPES = {".soul": "BitConverter.Soul", ".u32": "BitConverter.Pack"}
WORDS = {  # of the types, as Explorer shows them
    1033: {"BitConverter.Soul": "BitConverter soul", "BitConverter.Pack": "BitConverter prepared lesson"},
    1041: {"BitConverter.Soul": "BitConverter ソウル", "BitConverter.Pack": "BitConverter 準備済み教材"},
}
ITEMS = ("_internal", WINDOW.name, CONSOLE.name)
ELSEWHERE = HOME / "別の場所 é" / "BitConverter"  # where a user may move the program
LARGEST = 4_000_000  # bytes a file may have on a "full disk"; the program has larger ones


def install(setup: Path, *words: str) -> None:
    status = _setup_status(setup, *words)
    expect(status == 0, f"{setup.name} {' '.join(words)} ended with {status}")


def _setup_status(setup: Path, *words: str) -> int:
    return PC.run([PC.windows_path(setup), "/S", *words]).returncode


def _into(place: Path) -> list[str]:
    """The words that choose the place: they come last, and without quotes."""
    return f"/D={PC.windows_path(place)}".split(" ")


def expect_installed(version: str, language: int = 1033, place: Path = PROGRAM) -> None:
    shipped, there = digests(windows_build.PROGRAM), digests(place)
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
        given = open_command(kind, registry, place)[1:]
        expect(given == ["--open", "%1"], f"{kind} is not opened by --open")
    own = windows_build.version()
    _expect_resources(
        place / UNINSTALL.name, version, {"BitConverter installer", "BitConverter インストーラー"}
    )
    _expect_resources(place / WINDOW.name, own, {"BitConverter"})
    _expect_resources(place / CONSOLE.name, own, {"BitConverter, command line"})


def expect_shortcuts(*folders: str) -> None:
    there = sorted(path.parent.name for path in HOME.rglob("BitConverter.lnk"))
    expect(there == sorted(folders), f"shortcuts are in {there}, not in {sorted(folders)}")


def open_command(kind: str, registry: str, place: Path = PROGRAM) -> list[str]:
    """The words of the command that Explorer starts for a file of that type."""
    command = default_value(registry, rf"Software\Classes\{kind}\shell\open\command")
    words = [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|(\S+)', command)]
    expect(bool(words) and words[0] == PC.windows_path(place / WINDOW.name), f"{kind} is opened by {command}")
    return words


def forget_shortcut() -> None:
    """As a user who does not want it on the desktop."""
    (link,) = (path for path in HOME.rglob("BitConverter.lnk") if path.parent.name == "Desktop")
    link.unlink()


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


def uninstall(*words: str, place: Path = PROGRAM) -> None:
    """Run the uninstaller to its end: it goes on from a copy of itself, whose exit code nobody sees."""
    done = PC.run([PC.windows_path(place / UNINSTALL.name), "/S", *words])
    expect(done.returncode == 0, f"the uninstaller ended with {done.returncode}: {done.stdout}")
    wait(lambda: not PC.processes("Un"), "the uninstaller does not end")


def remove(*words: str) -> None:
    uninstall(*words)
    expect(not PROGRAM.exists(), f"{PROGRAM} is still there: {windows_build.files_of(PROGRAM)[:10]}")


def expect_removed(before: set[Path], registry: set[str], kept: set[Path]) -> None:
    """Nothing is left but what was there before, files and lines of the registry, the program's data, and `kept`."""
    own = re.compile(r"/Temp/~nsu")  # the uninstaller's copy of itself; Windows removes it at the next start
    left = {path for path in files() - before if not own.search(path.as_posix())}
    left = {path for path in left if not path.is_relative_to(DATA)} - kept
    expect(not left, f"left behind: {sorted(map(str, left))}")
    lines = sorted(line for line in registry_lines() - registry if ours.can_be(line))
    expect(not lines, f"left in the registry: {lines[:10]}")


# ---- refusals


def expect_refused_while_running(setup: Path) -> None:
    """Installer and uninstaller say 5 and change nothing."""
    before, registry = digests(PROGRAM), registry_lines()
    for words in ([], _into(ELSEWHERE)):
        status = _setup_status(setup, *words)
        expect(status == RUNNING, f"an upgrade {words} while the program runs ended with {status}")
    expect(not ELSEWHERE.exists(), f"a refused upgrade made {ELSEWHERE}")
    # with _? it goes on where it is, and its own exit code is seen; the folder comes last and without quotes
    place = f"_?={PC.windows_path(PROGRAM)}".split(" ")
    done = PC.run([PC.windows_path(UNINSTALL), "/S", *place])
    expect(done.returncode == RUNNING, f"a removal while the program runs ended with {done.returncode}")
    uninstall()
    expect(digests(PROGRAM) == before, "a refused upgrade or removal changed files")
    _expect_same_registry(registry, "a refused upgrade or removal")


def expect_whole_after_failures(setup: Path) -> None:
    """Wherever the exchange fails, the exit code is 6 and the version from before is whole."""
    before, registry = digests(PROGRAM), registry_lines()

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


def _expect_same_registry(before: set[str], what: str) -> None:
    changed = before ^ registry_lines()
    expect(not changed, f"{what} changed the registry: {sorted(changed)[:10]}")


def expect_nothing_after_a_failure(setup: Path) -> None:
    """The same where nothing was installed before."""
    registry = registry_lines()
    _expect_failed(_setup_status(_setup_without(CONSOLE.name)), "a first installation", {})
    expect(not PROGRAM.exists(), f"a first installation that failed left {PROGRAM}")
    if not WINDOWS:
        _expect_failed(_on_a_full_disk(setup), "a first installation on a full disk", {})
        expect(not PROGRAM.exists(), f"a first installation on a full disk left {PROGRAM}")
    _expect_same_registry(registry, "a first installation that failed")


# ---- the place


def expect_moved(setup: Path, version: str) -> None:
    """An upgrade into another folder: the program is there afterwards, and no longer where it was."""
    note = PROGRAM / "of the user.txt"
    note.write_text("kept", encoding="utf-8")
    inside = PROGRAM / "_internal" / "inside"  # it would be removed with the old version
    status = _setup_status(setup, *_into(inside))
    expect(status == OCCUPIED and not inside.exists(), f"into the program itself: it ended with {status}")
    install(setup, *_into(ELSEWHERE))
    expect_installed(version, place=ELSEWHERE)
    expect(list(PROGRAM.iterdir()) == [note], f"of the old place is left: {list(PROGRAM.iterdir())}")
    links = list(HOME.rglob("BitConverter.lnk"))
    wrong = [
        link for link in links if PC.windows_path(ELSEWHERE).encode("utf-16-le") not in link.read_bytes()
    ]
    expect(len(links) == 2 and not wrong, f"of the shortcuts {links} these lead elsewhere: {wrong}")
    place = section(PC.registry(), r"Software\BitConverter")
    expect(ELSEWHERE.name in place and "Unfinished" not in place, f"the registry says {place}")
    install(setup)
    expect_installed(version, place=ELSEWHERE)
    expect(list(PROGRAM.iterdir()) == [note], "an upgrade did not go where the program is")
    # the same folder by another name, which a program may give it: it is not the old place
    again = f"{PC.windows_path(ELSEWHERE)}\\_internal\\.."
    install(setup, *f"/D={again}".split(" "))
    expect_installed_files(ELSEWHERE)
    install(setup, *_into(ELSEWHERE))
    expect_installed(version, place=ELSEWHERE)
    uninstall(place=ELSEWHERE)
    expect(not ELSEWHERE.exists(), f"{ELSEWHERE} is still there")
    install(setup)  # where the user's own file lies in a folder of our name
    expect_installed_files(PROGRAM, note)
    uninstall()
    expect(list(PROGRAM.iterdir()) == [note], f"the uninstaller left or took {list(PROGRAM.iterdir())}")
    note.unlink()
    PROGRAM.rmdir()


def expect_installed_files(place: Path, *more: Path) -> None:
    """Only that the program's files are there, and `more`."""
    shipped = {*digests(windows_build.PROGRAM), Path(UNINSTALL.name)}
    wrong = shipped ^ ({*digests(place)} - {path.relative_to(place) for path in more})
    expect(not wrong, f"in {place} is missing or too much: {sorted(map(str, wrong))[:10]}")


def expect_others_left_alone(setup: Path) -> None:
    """A folder with files that are not ours is refused, whatever they are called; nothing is changed."""
    registry = registry_lines()
    folders = {
        "tools": ("_internal/foreign.txt", "uninstall.exe"),
        "道具 é": ("notes.txt",),
        "new": ("~new/foreign.txt",),
        "x/BitConverter": ("_internal/foreign.txt", "notes.txt"),
    }
    for name, there in folders.items():
        place = HOME / "foreign" / name
        for file in there:
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            (place / file).write_text("of another program", encoding="utf-8")
        before = digests(place)
        status = _setup_status(setup, *_into(place))
        expect(
            status == OCCUPIED, f"a folder with {there}: the installer ended with {status}, not {OCCUPIED}"
        )
        expect(digests(place) == before, f"a folder with {there}: now there are {digests(place)}")
    shutil.rmtree(HOME / "foreign")
    status = _setup_status(setup, *_into(DATA))
    expect(status == OCCUPIED, f"the folder of settings and chats: the installer ended with {status}")
    _expect_same_registry(registry, "a refused place")
    empty = HOME / "empty"
    empty.mkdir()
    install(setup, *_into(empty))
    expect_installed_files(empty)
    uninstall(place=empty)
    expect(not empty.exists(), f"{empty} is still there")


def expect_goes_on_after_power_cut(setup: Path) -> None:
    """A first installation that was cut off: the next one knows the folder as ours, and finishes."""
    place = HOME / "cut off"
    (place / "~new" / "_internal").mkdir(parents=True)
    (place / "~new" / "half.dll").write_bytes(b"half")
    set_value(r"HKCU\Software\BitConverter", PC.windows_path(place), "Unfinished")
    install(setup, *_into(place))
    expect_installed_files(place)
    uninstall(place=place)
    expect(not place.exists(), f"{place} is still there")


def expect_old_windows_refused(setup: Path) -> None:
    """Windows 10 before 1809. A real Windows cannot be made to be another."""
    if WINDOWS:
        return
    before = registry_lines()
    key, wines = r"HKLM\Software\Microsoft\Windows NT\CurrentVersion", r"HKCU\Software\Wine"
    remove_value(wines, "Version")  # else what the other key says is not looked at
    for name, value in (
        ("CurrentVersion", "10.0"),
        ("CurrentBuild", "17134"),
        ("CurrentBuildNumber", "17134"),
    ):
        set_value(key, value, name)
    PC.stop()
    said = PC.run(["cmd", "/c", "ver"]).stdout
    expect("10.0.17134" in said, f"wine was to be Windows 10 1803, and says {said}")
    status = _setup_status(setup)
    expect(status == TOO_OLD, f"on Windows 10 1803 the installer ended with {status}, not {TOO_OLD}")
    set_value(wines, "win10", "Version")
    PC.stop()
    expect(not PROGRAM.exists(), f"a Windows that is too old has {PROGRAM}")
    _expect_same_registry(before, "a Windows that is too old")


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
