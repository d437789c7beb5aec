"""python tools/dev.py VERB: everything a developer does, on Linux and Windows.

setup   virtual environment, packages, the engine (the other verbs do this themselves)
demo    convert a small real model and talk to it (in the window if there is a display)
test    the C tests, then pytest; further words go to pytest
lint    ruff, mypy, import rules, clang-format, a few rules of our own
build   the engine only
ctest   the C tests only; --sanitize builds them with ASan and UBSan
fuzz    feed mutated files to the model reader; --seconds N (60) of processor time
windows the engine for Windows: cross-compiled, its C tests under wine, the wheel
frozen  what users install, for both systems, made and tried (installer/build.py test; long)
bench   the kernels' benchmark, then the demo model's
clean   remove build outputs and caches (not .venv, not .demo)
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  before tomllib is missed
    sys.exit(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}")

import argparse
import math
import os
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import devenv
import lint
import windows_engine
from devenv import PYTHON, ROOT, SetupError, run, say

NATIVE = ROOT / "native"
TEST_BUILD = NATIVE / "build-test"
SANITIZE_BUILD = NATIVE / "build-sanitize"


def has_display() -> bool:
    """Is there a screen to open a window on?"""
    return not sys.platform.startswith("linux") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )


def demo(words: list[str]) -> None:
    display = has_display()
    devenv.setup(["run", "demo"], display=display)
    run([PYTHON, ROOT / "tools" / "demo.py", *([] if display else ["--terminal"]), *words])


def test(words: list[str]) -> None:
    devenv.setup(["run", "demo", "dev"])
    summary = ctest([])
    report = ROOT / "build" / "pytest.xml"
    report.parent.mkdir(exist_ok=True)
    report.unlink(missing_ok=True)
    say("pytest")
    if not words and not devenv.WINDOWS:
        words = ["-n", "auto", "--dist", "worksteal"]  # the whole suite, a test at a time on every core
    status = subprocess.call(
        [str(PYTHON), "-m", "pytest", f"--junitxml={report}", *words],
        cwd=ROOT,
        env={**devenv.environment(), "PYTHONWARNDEFAULTENCODING": "1"},  # pytest's workers too
    )
    print(summary)
    print(_pytest_summary(report), flush=True)
    if status:
        raise SetupError(f"pytest ended with status {status}")


def _pytest_summary(report: Path) -> str:
    if not report.exists():
        return "Python tests: no report was written"
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    total, failures, errors, skipped = (
        sum(int(suite.get(key, "0")) for suite in suites)
        for key in ("tests", "failures", "errors", "skipped")
    )
    failed = failures + errors
    return f"Python tests: {total - failed - skipped} passed, {failed} failed, {skipped} skipped"


def ctest(words: list[str]) -> str:
    """Build and run the C tests; the sentence that sums them up."""
    parser = argparse.ArgumentParser(prog="dev.py ctest")
    parser.add_argument("--sanitize", action="store_true")
    sanitize = parser.parse_args(words).sanitize
    folder = _configure_c_tests(sanitize)
    say(f"C tests{' with ASan and UBSan' if sanitize else ''}")
    report = folder / "ctest.xml"
    report.unlink(missing_ok=True)
    status = subprocess.call(
        [*_ctest_command(folder), "--output-junit", str(report)], cwd=ROOT, env=devenv.environment()
    )
    suite = ElementTree.parse(report).getroot()
    total, failed = int(suite.get("tests", "0")), int(suite.get("failures", "0"))
    summary = f"C tests: {total - failed} passed, {failed} failed"
    if status or failed or not total:
        raise SetupError(summary)
    return summary


def _ctest_command(folder: Path) -> list[str]:
    return [
        "ctest",
        "--test-dir",
        str(folder),
        "--output-on-failure",
        "--no-tests=error",
        "-C",
        "RelWithDebInfo",
        "--parallel",
        str(os.cpu_count() or 1),
    ]


def _configure_c_tests(sanitize: bool) -> Path:
    devenv.need_venv()
    devenv.need_compiler()
    devenv.need_test_compiler()
    folder = SANITIZE_BUILD if sanitize else TEST_BUILD
    options = ["-DBC_SANITIZE=address,undefined"] if sanitize else []
    kind = "RelWithDebInfo" if sanitize else "Release"
    say(f"building the C tests in {folder.relative_to(ROOT)}")
    _cmake(folder, ["-DBC_TESTS=ON", f"-DCMAKE_BUILD_TYPE={kind}", *options])
    return folder


def _cmake(folder: Path, options: list[str]) -> None:
    run(["cmake", "-S", NATIVE, "-B", folder, f"-DPython_EXECUTABLE={PYTHON}", *options], quiet=True)
    run(["cmake", "--build", folder, "--parallel", str(os.cpu_count() or 1)], quiet=True)


def fuzz(words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="dev.py fuzz")
    parser.add_argument("--seconds", type=int, default=60)
    seconds = parser.parse_args(words).seconds
    folder = _configure_c_tests(sanitize=True)
    cores = os.cpu_count() or 1
    say(f"fuzzing the model reader for {seconds} s of processor time, on {cores} cores")
    running = []
    for seed in range(1, cores + 1):
        place = folder / f"fuzz-{seed}"  # where a crash leaves its input
        place.mkdir(exist_ok=True)
        arguments = [folder / "fuzz_model", NATIVE / "tests" / "corpus", math.ceil(seconds / cores), seed]
        running.append((place, subprocess.Popen([*map(str, arguments)], cwd=place)))
    failed = [str(place) for place, process in running if process.wait()]
    if failed:
        raise SetupError(f"the model reader failed: see {', '.join(failed)}")


def windows(words: list[str]) -> None:
    print(windows_engine.main(), flush=True)


def frozen(words: list[str]) -> None:
    devenv.need_venv()
    devenv.need_packages(["run", "dev"])
    run([PYTHON, ROOT / "installer" / "build.py", "test", *words])


def bench(words: list[str]) -> None:
    devenv.setup(["run", "demo"])
    folder = _configure_c_tests(sanitize=False)
    run([folder / "checkasm", "--bench"])
    run([PYTHON, ROOT / "tools" / "demo.py", "--benchmark", *words])


def build(words: list[str]) -> None:
    devenv.need_venv()
    devenv.need_packages(["run"])
    devenv.need_compiler()
    devenv.need_launcher()
    devenv.build_engine()


def setup(words: list[str]) -> None:
    devenv.setup(["run", "demo", "dev"], display=has_display())
    say(f"ready: {devenv.BIN.relative_to(ROOT) / 'bitconverter'} --help")


def run_lint(words: list[str]) -> None:
    devenv.need_venv()
    devenv.need_packages(["run", "dev"])
    devenv.need_compiler()
    devenv.need_launcher()
    devenv.build_engine()  # mypy and the import rules see the package as it runs
    lint.main()


def clean(words: list[str]) -> None:
    folders = [*NATIVE.glob("build*/"), ROOT / "build", ROOT / "dist"]
    folders += [ROOT / f".{name}_cache" for name in ("pytest", "mypy", "ruff", "import_linter")]
    folders += [
        folder for top in ("bitconverter", "tests", "tools") for folder in (ROOT / top).rglob("__pycache__")
    ]
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    for pattern in ("*.so", "*.dll", "_abi.py"):
        for path in (ROOT / "bitconverter" / "engine").glob(pattern):
            path.unlink()


VERBS = {
    "setup": setup, "demo": demo, "test": test, "lint": run_lint, "build": build,
    "ctest": ctest, "fuzz": fuzz, "windows": windows, "frozen": frozen, "bench": bench, "clean": clean,
}  # fmt: skip


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] not in VERBS:
        print(__doc__)
        return 0 if sys.argv[1:] in (["--help"], ["-h"], ["help"]) else 2
    return devenv.run_verb("dev.py", lambda: VERBS[sys.argv[1]](sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(main())
