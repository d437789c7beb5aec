"""The installer tried: under wine as a user with a difficult name, or on the Windows that this runs on.

Every expectation is asserted:

install silently -> self-test of the installed program -> its starts -> upgrade -> upgrades that fail -> upgrade and
removal while it runs -> remove -> nothing left that should not be, everything kept that should be. The wine prefix is
made anew each time; the repairs of installer/shims/ are in it, not in the installer (windows_build.check_program).
"""

import shutil
from pathlib import Path

import check_data
import check_program
import check_setup
import windows_build
import windows_python
from devenv import WINDOWS, SetupError, say
from windows_place import DATA, HOME, PC, PROGRAM, WINE, Steps, expect, files, registry_lines

NEXT_VERSION = "9.9.9"


def main() -> None:
    """All of it. The installer of windows_build must be there."""
    setup = windows_build.setup_file(windows_build.version())
    if not setup.exists():
        raise SetupError(f"{setup} is not there: run python installer/build.py windows first")
    say("trying the installer")
    steps = Steps()
    if not WINDOWS:
        WINE.stop()
        shutil.rmtree(WINE.folder, ignore_errors=True)
        WINE.create()
        windows_python.repair_wine(WINE)
    for place in (PROGRAM, DATA, check_data.SOURCE.parent):
        expect(
            not place.exists(), f"{place} is there already; this test needs a Windows without BitConverter"
        )
    shutil.rmtree(windows_build.BUILD / "broken", ignore_errors=True)
    upgrade = windows_build.BUILD / "upgrade.exe"
    windows_build.pack(NEXT_VERSION, upgrade, compress=False)
    steps.done("a new Windows, and a second installer of a later version")
    try:
        _tour(setup, upgrade, steps)
    finally:
        PC.stop()


def _tour(setup: Path, upgrade: Path, steps: Steps) -> None:
    before, registry, version = files(), registry_lines(), windows_build.version()
    check_setup.expect_setup_file(setup, version)
    check_setup.expect_setup_file(upgrade, NEXT_VERSION)
    check_setup.expect_nothing_after_a_failure(upgrade)
    check_setup.expect_goes_on_after_power_cut(upgrade)
    check_setup.expect_others_left_alone(upgrade)
    check_setup.expect_old_windows_refused(setup)
    steps.done("nothing is left by a failure; folders of others are refused with 7, an old Windows with 3")
    check_setup.install(setup)
    check_setup.expect_installed(version)
    check_setup.expect_shortcuts("Desktop", "Programs")
    steps.done("installed silently; version and icon of every program, both languages")
    parts = check_program.self_test(steps)
    made = check_data.make()
    steps.done("a model converted, a lesson prepared and a soul trained by the installed program")
    check_program.second_start(steps)
    check_data.keep_chat()
    check_program.no_connections(steps)
    _upgrade(upgrade, made, steps)
    check_setup.expect_whole_after_failures(upgrade)
    steps.done("upgrades that fail end with 6 and leave the old version whole, wherever they fail")
    check_program.start()
    check_setup.expect_refused_while_running(setup)
    check_program.kill()
    check_setup.install(setup)
    check_setup.expect_installed(version)
    steps.done("refused with 5 while the program runs, the old version left whole; done after it was closed")
    check_program.start_and_kill(steps, parts["file dialog"]["temp"])
    check_data.expect_kept(made)
    check_setup.remove()
    check_setup.expect_removed(before, registry, set(made))
    check_data.expect_kept(made)
    steps.done("removed; settings, chats, models and souls are still there, nothing else is")
    check_setup.expect_japanese(setup)
    check_setup.expect_owners_left_alone(setup)
    steps.done("in Japanese; file types of other programs left alone")
    check_setup.install(setup)
    check_setup.expect_moved(upgrade, NEXT_VERSION)
    check_setup.expect_removed(before, registry, set(made))
    check_data.expect_kept(made)
    steps.done("moved to another folder by an upgrade: nothing is left in the old one but the user's own")
    check_setup.install(setup, "/NODESKTOP")
    check_setup.expect_shortcuts("Programs")
    check_data.expect_soul_works()
    check_data.expect_kept(made)
    check_setup.remove("/REMOVEDATA")
    expect(not DATA.exists(), f"/REMOVEDATA left {DATA}")
    _expect_files_of_the_user(made)
    steps.done(
        "installed again without a shortcut, old soul and chats in use; removed with its data, not the models"
    )


def _upgrade(upgrade: Path, made: dict[Path, str], steps: Steps) -> None:
    stale = PROGRAM / "_internal" / "stale from before.dll"
    stale.write_bytes(b"old")
    check_setup.forget_shortcut()
    check_setup.install(upgrade)
    check_setup.expect_shortcuts("Programs")
    expect(not stale.exists(), "the upgrade left a file of the old version")
    check_setup.expect_installed(NEXT_VERSION)
    check_data.expect_kept(made)
    steps.done("upgraded; stale files are gone, the user's files are there, the shortcut is not put back")


def _expect_files_of_the_user(made: dict[Path, str]) -> None:
    gone = [str(path) for path in made if not path.is_file()]
    expect(not gone and HOME.is_dir(), f"/REMOVEDATA removed the user's own {gone}")
