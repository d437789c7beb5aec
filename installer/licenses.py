"""The licences of everything the bundle holds, gathered into one folder that is shipped with it."""

import json
import re
import shutil
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Part:
    """Something that lies inside of a library we ship, where no package's own metadata tells of it."""

    name: str  # as its text writes it
    holder: str
    text: str  # of license_texts, or gathered from a package
    systems: tuple[str, ...] = ("windows", "linux")


PARTS = (
    *(Part(name, "lxml", "lxml/licenses/LICENSES.txt") for name in ("libxml2", "libxslt", "libexslt")),
    Part("libiconv", "lxml", "libiconv.txt"),
    Part("LESSER GENERAL PUBLIC LICENSE", "lxml (libiconv)", "LGPL-2.1.txt"),
    Part("zlib", "lxml, Qt, Python, the starter, the installer", "zlib.txt"),
    Part("LibYAML", "PyYAML", "libyaml.txt"),
    Part("mypyc", "charset-normalizer", "mypyc.txt"),
    Part("libffi", "Python, cffi", "Python-parts.txt"),
    *(
        Part(name, "Python", "Python-parts.txt")
        for name in (
            "OpenSSL",
            "SQLite",
            "bzip2",
            "liblzma",
            "expat",
            "libmpdec",
            "zlib",
            "Mersenne Twister",
            "dtoa",
        )
    ),
    *(Part(name, "numpy", "numpy/licenses/LICENSE.txt") for name in ("OpenBLAS", "LAPACK", "libgfortran")),
    *(Part(name, "tokenizers", "Rust.txt") for name in ("Oniguruma", "standard library")),
    *(
        Part(name, "Qt", "Qt-parts.txt")
        for name in (
            "freetype",
            "harfbuzz",
            "libpng",
            "pcre2",
            "double-conversion",
            "md4c",
            "Unicode",
        )
    ),
    Part("libgcc", "the engine", "libgcc.txt", ("windows",)),
    Part("mingw-w64", "the engine, the installer", "mingw-w64.txt", ("windows",)),
    Part("NSIS", "the installer", "NSIS.txt", ("windows",)),
    Part("lzma-cpl-exception", "the installer", "NSIS.txt", ("windows",)),
)
_LICENCE = re.compile(r"licen[cs]e|copying|notice|authors", re.IGNORECASE)


def gather(site_packages: Path, python_license: Path, system: str, target: Path) -> None:
    """One folder per package of the lock, Python's own text, ours, those of what lies inside, and a list of all.

    Raises SetupError for anything without its licence text: nothing may be shipped without.
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
    lines += _parts(system, target)
    _every_crate_is_named(site_packages)
    if system == "windows":
        shutil.copy(TEXTS / "Microsoft.txt", target / "Microsoft.txt")
        lines.append("Microsoft's C and C++ run-time libraries: Microsoft.txt.")
    (target / "README.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _parts(system: str, target: Path) -> list[str]:
    """Copy the texts of PARTS; a line for each. Raises SetupError where a text does not name its part."""
    lines = ["", "Inside of these libraries are others:", ""]
    for part in PARTS:
        if system not in part.systems:
            continue
        if (TEXTS / part.text).is_file():
            shutil.copy(TEXTS / part.text, target / part.text)
        text = target / part.text
        if not text.is_file() or part.name not in text.read_text(encoding="utf-8"):
            raise SetupError(f"{part.text} holds no licence of {part.name}, which is in {part.holder}")
        lines.append(f"{part.name}, in {part.holder}: {part.text}")
    return [*lines, ""]


def _every_crate_is_named(site_packages: Path) -> None:
    """What a wheel made of Rust says it holds (its sboms/*.cyclonedx.json) must be in Rust.txt, by its version."""
    named = set((TEXTS / "Rust.txt").read_text(encoding="utf-8").splitlines())
    for path in site_packages.glob("*.dist-info/sboms/*.cyclonedx.json"):
        for crate in json.loads(path.read_text(encoding="utf-8"))["components"]:
            line = f"{crate['name']} {crate['version']}: "
            if crate["purl"].startswith("pkg:cargo/") and not any(known.startswith(line) for known in named):
                raise SetupError(f"{path.name} holds {line[:-2]}: add its licence to license_texts/Rust.txt")


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
