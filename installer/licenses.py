"""The licences of everything the bundle holds, gathered into one folder that is shipped with it."""

import re
import shutil
from pathlib import Path

import lock
from devenv import ROOT, SetupError

TEXTS = ROOT / "installer" / "license_texts"
# Packages whose wheel has no licence file, or only that of the offer we do not use.
INSTEAD = {
    "tokenizers": ["Apache-2.0.txt"],
    "pyside6-essentials": ["Qt.txt", "LGPL-3.0.txt", "GPL-3.0.txt"],
    "shiboken6": ["Qt.txt", "LGPL-3.0.txt", "GPL-3.0.txt"],
}
_LICENCE = re.compile(r"licen[cs]e|copying|notice|authors", re.IGNORECASE)


def gather(site_packages: Path, python_license: Path, system: str, target: Path) -> None:
    """One folder per package of the lock, Python's own text, ours, and a list of all with versions.

    Raises SetupError for a package without any licence text: nothing may be shipped without.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    shutil.copy(ROOT / "LICENSE", target / "BitConverter.txt")
    shutil.copy(python_license, target / "Python.txt")
    _copy(dist_info(site_packages, "pyinstaller"), target / "pyinstaller")
    lines = [
        "What BitConverter ships, and under which licence. Each folder here holds the texts of one package.",
        "",
    ]
    for name, version in lock.installed(system).items():
        folder = target / name
        info = dist_info(site_packages, name)
        if name in INSTEAD:
            folder.mkdir()
            for text in INSTEAD[name]:
                shutil.copy(TEXTS / text, folder / text)
            lines.append(f"{name} {version}: {INSTEAD[name][0].removesuffix('.txt')}")
        elif _copy(info, folder):
            lines.append(f"{name} {version}: {_licence_name(info)}")
        else:
            raise SetupError(
                f"{name} {version} brings no licence file: add its text to installer/license_texts"
            )
    lines += [
        "",
        "Python: Python.txt. The starter in the exe files: pyinstaller (GPL with an exception for that use).",
    ]
    if system == "windows":
        shutil.copy(TEXTS / "Microsoft.txt", target / "Microsoft.txt")
        lines.append("Microsoft's C and C++ run-time libraries: Microsoft.txt.")
    (target / "README.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def dist_info(site_packages: Path, name: str) -> Path:
    """The folder of an installed package's metadata."""
    for folder in site_packages.glob("*.dist-info"):
        if lock.canonical(folder.name.split("-")[0]) == name:
            return folder
    raise SetupError(f"{name} is in the lock, but not installed in {site_packages}")


def _copy(info: Path, folder: Path) -> int:
    """Copy the licence files of a package; how many there were. Files of one name lie in different folders."""
    files = [
        path
        for path in sorted(info.rglob("*"))
        if path.is_file() and (_LICENCE.search(path.name) or "licenses" in path.parts)
    ]
    for path in files:
        out = folder / path.relative_to(info)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, out)
    return len(files)


def _licence_name(info: Path) -> str:
    text = (info / "METADATA").read_text(encoding="utf-8")
    for field in (r"License-Expression", r"Classifier: License :: OSI Approved ::", r"License"):
        found = re.search(rf"^{field}:? (.+)$", text, re.MULTILINE)
        if found:
            return found[1].strip()
    return "see its folder"
