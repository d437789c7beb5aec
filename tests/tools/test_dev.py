"""The developer's tool: what it reads, and what its own checks catch."""

import subprocess
import sys
import tomllib
from pathlib import Path

import dev
import devenv
import lint
import pytest

ROOT = Path(__file__).parents[2]


def test_only_platform_may_know_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "src").mkdir()
    for name in ("platform.c", "other.c"):
        (tmp_path / "src" / name).write_text("int x;\n#ifdef _WIN32\n#endif\n", encoding="utf-8")
    monkeypatch.setattr(lint, "NATIVE", tmp_path)
    assert lint.windows_only_in_platform() == [
        "native/src/other.c:2: only src/platform.c may know Windows from POSIX"
    ]


def test_no_file_is_opened_by_a_narrow_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "src").mkdir()
    for name in ("platform.c", "other.c"):
        text = 'int is_open(void);\nFILE *f = fopen(path, "rb");\nHANDLE h = CreateFileA(path);\n'
        (tmp_path / "src" / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(lint, "NATIVE", tmp_path)
    found = [line.split(": ")[0] for line in lint.file_names_are_wide()]
    assert found == ["native/src/other.c:2", "native/src/other.c:3", "native/src/platform.c:3"]


@pytest.mark.parametrize("content", [b"int x;\r\n", b"\tint x;\n", b"int x;"])
def test_tabs_and_foreign_line_ends_are_found(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "native").mkdir()
    (tmp_path / "native" / "good.c").write_bytes(b"int x;\n")
    (tmp_path / "native" / "bad.c").write_bytes(content)
    monkeypatch.setattr(lint, "NATIVE", tmp_path / "native")
    monkeypatch.setattr(lint, "ROOT", tmp_path)
    assert [line.split(":")[0] for line in lint.text_files_are_plain()] == [str(Path("native/bad.c"))]


def test_the_sum_of_pytest_is_read_from_its_report(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite tests="10" failures="1" errors="2" skipped="3"/></testsuites>',
        encoding="utf-8",
    )
    assert dev._pytest_summary(report) == "Python tests: 4 passed, 3 failed, 3 skipped"
    assert "no report" in dev._pytest_summary(tmp_path / "none.xml")


def test_one_version_of_the_kernels_compiler_is_asked_for_everywhere() -> None:
    """NVRTC: where it is built in isolation, in a developer's environment, and in what a failed build advises."""
    file = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = [line for line in file["build-system"]["requires"] if "nvrtc" in line]
    assert asked == [line for line in file["project"]["optional-dependencies"]["dev"] if "nvrtc" in line]
    (version,) = {line.split(";")[0] for line in asked}
    assert f'PACKAGE = "{version}"\n' in (ROOT / "native/cuda/build_kernels.py").read_text(encoding="utf-8")


def test_a_package_that_cannot_be_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devenv.shutil, "which", lambda _name, **_: None)  # no apt-get here
    with pytest.raises(devenv.SetupError) as error:
        devenv.apt_install(["no-such-package-0"], "a test")
    assert "no-such-package-0" in str(error.value)


def test_a_command_that_fails_shows_its_output(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(devenv.SetupError, match="status 3"):
        devenv.run([sys.executable, "-c", "print('what went wrong'); raise SystemExit(3)"], quiet=True)
    assert "what went wrong" in capfd.readouterr().out


def test_every_verb_is_explained_and_an_unknown_one_ends_with_2() -> None:
    for verb in dev.VERBS:
        assert f"\n{verb} " in (dev.__doc__ or "")
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "dev.py"), "dance"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "setup" in done.stdout


def test_what_stops_a_verb_is_one_line_and_a_status(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> None:
        raise devenv.SetupError("no compiler")

    def broken_off() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["dev.py", "build"])
    assert [devenv.run_verb("dev.py", work) for work in (refused, broken_off, lambda: None)] == [1, 130, 0]
    assert capsys.readouterr().err == "\ndev.py build: no compiler\n"


def test_the_makefile_knows_only_verbs() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = text.split(".PHONY:")[1].split()
    assert set(targets) <= set(dev.VERBS)


def test_the_engine_is_built_beside_what_is_done_meanwhile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "native").mkdir()
    monkeypatch.setattr(devenv, "ROOT", tmp_path)
    monkeypatch.setattr(devenv, "PYTHON", Path(sys.executable))
    script = tmp_path / "native" / "build.py"
    waits = "import pathlib, time\nwhile not pathlib.Path('done').exists(): time.sleep(0.01)\n"
    script.write_text(waits, encoding="utf-8")
    with devenv.engine_being_built():
        (tmp_path / "done").touch()
    script.write_text(f"{waits}print('no compiler')\nraise SystemExit(4)\n", encoding="utf-8")
    with pytest.raises(devenv.SetupError, match="status 4"), devenv.engine_being_built():
        pass
    assert "no compiler" in capfd.readouterr().out
    with pytest.raises(ValueError, match="meanwhile"), devenv.engine_being_built():
        raise ValueError("meanwhile")
