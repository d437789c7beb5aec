"""Build the engine into the package: the shared library and its Python declarations.

Usage: python native/build.py [extra cmake options such as -DBC_SANITIZE=address]
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from cffi import FFI

NATIVE = Path(__file__).resolve().parent
PACKAGE = NATIVE.parent / "bitconverter" / "engine"
BUILD = NATIVE / "build"


def declare(header: Path, out: Path) -> None:
    """The header is the only description of the API: cffi reads what lies between its marks."""
    api = header.read_text(encoding="utf-8").split("/* cffi: begin */")[1].split("/* cffi: end */")[0]
    ffi = FFI()
    ffi.cdef(re.sub(r"\bBC_API\b", "", api))
    ffi.set_source("bitconverter.engine._abi", None)
    ffi.emit_python_code(str(out))


def compile_library(options: list[str]) -> None:
    """Configure and build with CMake, then copy the libraries beside the Python code."""
    configure = ["cmake", "-S", str(NATIVE), "-B", str(BUILD), "-DCMAKE_BUILD_TYPE=Release"]
    configure += [f"-DPython_EXECUTABLE={sys.executable}", *options]  # NVRTC is among its packages
    subprocess.run(configure, check=True)
    subprocess.run(["cmake", "--build", str(BUILD), "--config", "Release", "--parallel"], check=True)
    libraries = [*BUILD.glob("libbitconverter*.so"), *BUILD.rglob("*bitconverter*.dll")]
    for library in libraries:
        # Replaced by a rename: a running program keeps the library that it has mapped.
        new = PACKAGE / (library.name + ".new")
        shutil.copy2(library, new)
        new.replace(PACKAGE / library.name)
    for old in {*PACKAGE.glob("*.so"), *PACKAGE.glob("*.dll")}:
        if old.name not in [library.name for library in libraries]:  # made with other options
            old.unlink()


if __name__ == "__main__":
    compile_library(sys.argv[1:])
    declare(NATIVE / "include" / "bitconverter.h", PACKAGE / "_abi.py")
