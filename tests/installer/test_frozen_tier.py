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


def frozen(tree, path, **environment):
    return subprocess.run(
        [sys.executable, str(tree / "tools" / "dev.py"), "frozen"],
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=600,
    )


INSTALLERS = ("apt-get", "dpkg-query", "sudo")  # else it would be installed


def test_without_wine_it_fails_and_says_so(tree, tmp_path):
    wine = ("wine", "wine64", "wine-stable", "wine64-stable")
    done = frozen(tree, path_without(tmp_path / "bin", *wine, "npm", *INSTALLERS))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "wine, to run Windows programs: please install these packages" in done.stderr
    assert "wine64" in done.stderr and not (tree / "dist").exists()
    assert "NOT LOOKED AT: the GitHub workflow" in done.stdout


def test_without_the_windows_python_it_fails_and_says_so(tree, tmp_path):
    path = path_without(tmp_path / "bin", "npm", *INSTALLERS)
    if not shutil.which("wine", path=path):  # this machine has none: what is looked for then comes after it
        (tmp_path / "bin" / "wine").symlink_to("/bin/true")
    done = frozen(tree, path, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Without a Windows Python nothing can be frozen here" in done.stderr
    assert "dev.py frozen: " in done.stderr and not (tree / "dist").exists()


def test_faults_of_the_workflow_end_it(monkeypatch):
    monkeypatch.setattr(lint_workflow.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(lint_workflow, "lint", lambda files: False)
    with pytest.raises(devenv.SetupError, match="actionlint has found faults"):
        lint_workflow.in_the_frozen_tier()
