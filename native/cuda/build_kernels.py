"""Compile the CUDA kernels and write them as a C file (the form of images.h); CMake runs this.

Usage: python build_kernels.py check                    is NVRTC there? prints its version
       python build_kernels.py build IMAGES_C CACHE     compiles what the folder CACHE does not have yet

NVRTC, NVIDIA's compiler as a library, comes from PyPI and is loaded where pip put it: no CUDA toolkit,
no graphics card and no driver is needed.
"""

import ctypes
import hashlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

KERNELS = Path(__file__).resolve().parent / "kernels"
PACKAGE = "nvidia-cuda-nvrtc-cu12==12.9.86"
VERSION = (12, 9)  # 13 no longer compiles for compute capability 6.1
# Machine code of the cards there are; PTX is what any newer card's driver compiles for itself.
MACHINE_CODE = (61, 75, 80, 86, 89, 90, 120)
PTX = (61, 80)
OPTIONS = ("--fmad=false", "-std=c++17")


class BuildError(Exception):
    """The kernels cannot be compiled; the message says why."""


def library_files() -> list[Path]:
    """NVRTC's libraries in the order in which they have to be loaded."""
    try:
        spec = importlib.util.find_spec("nvidia.cuda_nvrtc")
    except ModuleNotFoundError:
        spec = None
    for folder in spec.submodule_search_locations or [] if spec else []:
        for builtins, compiler in (
            ("lib/libnvrtc-builtins.so.12.9", "lib/libnvrtc.so.12"),
            ("bin/nvrtc-builtins64_129.dll", "bin/nvrtc64_120_0.dll"),
        ):
            files = [Path(folder) / builtins, Path(folder) / compiler]
            if all(file.is_file() for file in files):
                return files
    raise BuildError(
        f"NVRTC 12.9, which compiles the CUDA kernels, is not installed for {sys.executable}.\n"
        f'  Install it:  "{sys.executable}" -m pip install {PACKAGE}\n'
        "  or build without support for graphics cards:  -DBC_CUDA=OFF"
    )


class Nvrtc:
    """The functions of nvrtc.h that are needed, a failure raised as BuildError."""

    def __init__(self) -> None:
        # The compiler looks for its builtins by name only: it finds the library that is loaded already.
        for file in library_files():
            self.library = ctypes.CDLL(str(file), mode=ctypes.RTLD_GLOBAL)
        self.library.nvrtcGetErrorString.restype = ctypes.c_char_p

    def call(self, name: str, *words: object) -> None:
        status = getattr(self.library, name)(*words)
        if status:
            raise BuildError(f"{name}: {self.library.nvrtcGetErrorString(status).decode()}")

    def version(self) -> tuple[int, int]:
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        return major.value, minor.value

    def text(self, what: str, program: ctypes.c_void_p) -> bytes:
        """The program's log, PTX or machine code, as the library counts it: text with its last 0."""
        size = ctypes.c_size_t()
        self.call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self.call(f"nvrtcGet{what}", program, buffer)
        return buffer.raw

    def compile(self, source: Path, options: list[str], result: str) -> tuple[bytes, str]:
        """The result (PTX or CUBIN), and what the compiler said although it succeeded."""
        program = ctypes.c_void_p()
        name = source.name.encode()
        self.call("nvrtcCreateProgram", ctypes.byref(program), source.read_bytes(), name, 0, None, None)
        words = (ctypes.c_char_p * len(options))(*[os.fsencode(option) for option in options])
        status = self.library.nvrtcCompileProgram(program, len(options), words)
        log = self.text("ProgramLog", program).rstrip(b"\0").decode("utf-8", "replace")
        log = re.sub(r"^nvrtc: warning: Architectures prior to .* are deprecated.*\n?", "", log).strip()
        if status:
            reason = self.library.nvrtcGetErrorString(status).decode()
            raise BuildError(f"{source.name} with {' '.join(options)}: {reason}\n{log}")
        return self.text(result, program), log


def kernel_sources() -> list[Path]:
    return sorted(path for path in KERNELS.iterdir() if path.suffix in (".cu", ".cuh", ".h"))


def compile_image(arch: int, ptx: bool) -> tuple[bytes, str]:
    """One image, in a process of its own: NVRTC compiles one program at a time per process."""
    nvrtc = Nvrtc()
    options = [f"--gpu-architecture={'compute' if ptx else 'sm'}_{arch}", *OPTIONS, f"-I{KERNELS}"]
    return nvrtc.compile(KERNELS / "kernels.cu", options, "PTX" if ptx else "CUBIN")


def need_same_names(ptx: bytes) -> None:
    """list.h, by which the C code asks for kernels, names every kernel."""
    text = (KERNELS / "list.h").read_text(encoding="utf-8")
    listed = set(re.findall(r"^BC_KERNEL_NAME\((\w+)", text, re.MULTILINE))
    compiled = {name.decode() for name in re.findall(rb"\.entry (\w+)\(", ptx)}
    for names, where in ((compiled - listed, "list.h"), (listed - compiled, "kernels.cu")):
        if names:
            raise BuildError(f"{where} lacks {', '.join(sorted(names))}")


def images(cache: Path) -> Iterator[tuple[int, bool, bytes]]:
    """Every image; those of unchanged sources come from the cache."""
    contents = hashlib.sha256(Path(__file__).read_bytes())
    for path in kernel_sources():
        contents.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    wanted = [(arch, False) for arch in MACHINE_CODE] + [(arch, True) for arch in PTX]
    files = {
        key: cache / f"{contents.hexdigest()[:32]}.{'ptx' if key[1] else 'cubin'}.{key[0]}" for key in wanted
    }
    missing = [key for key in wanted if not files[key].is_file()]
    if missing:
        compile_images(missing, cache, files)
    for key in wanted:
        yield (*key, files[key].read_bytes())
    for old in set(cache.iterdir()) - set(files.values()):
        if re.fullmatch(r"[0-9a-f]{32}\..*", old.name):
            old.unlink(missing_ok=True)


def compile_images(missing: list[tuple[int, bool]], cache: Path, files: dict[tuple[int, bool], Path]) -> None:
    found = Nvrtc().version()
    if found != VERSION:
        raise BuildError(f"this is NVRTC {found[0]}.{found[1]}; {PACKAGE} is needed")
    cache.mkdir(parents=True, exist_ok=True)
    said = set()
    with ProcessPoolExecutor(min(os.cpu_count() or 1, len(missing))) as pool:
        jobs = [pool.submit(compile_image, *key) for key in missing]
        for key, job in zip(missing, jobs, strict=True):
            data, log = job.result()
            if log and log not in said:
                said.add(log)
                print(f"NVRTC, {key[0]}: {log}", file=sys.stderr)
            write_whole(files[key], data)


def write_whole(path: Path, data: bytes) -> None:
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    new.write_bytes(data)
    new.replace(path)


ESCAPES = [f"\\{byte:03o}" for byte in range(256)]
for _byte in range(32, 127):
    if chr(_byte) not in '"\\?':  # ??= is another sign to a C compiler
        ESCAPES[_byte] = chr(_byte)


def c_source(made: list[tuple[int, bool, bytes]]) -> str:
    """String literals: of the forms that C has for bytes the one that compiles fastest."""
    parts = ['/* Made by build_kernels.py. */\n#include "images.h"\n']
    table = []
    for arch, ptx, data in made:
        name = f"{'ptx' if ptx else 'machine'}_{arch}"
        # the literal's own last 0 makes the array a byte longer than what counts
        parts.append(f"_Alignas(64) static const char {name}[{len(data) + 1}] =\n")
        for start in range(0, len(data), 1024):
            text = "".join([ESCAPES[byte] for byte in data[start : start + 1024]])
            parts.append(f'"{text}"\n')
        parts.append(";\n")
        table.append(f"    {{ {arch}, {int(ptx)}, (const uint8_t *){name}, {len(data)} }},\n")
    parts += ["const bc_cuda_image bc_cuda_images[] = {\n", *table, "};\n"]
    parts.append(f"const int bc_cuda_image_count = {len(made)};\n")
    return "".join(parts)


def build(out: Path, cache: Path) -> None:
    made = list(images(cache))
    need_same_names(made[-1][2])
    write_whole(out, c_source(made).encode("ascii"))
    sizes = ", ".join(f"{'PTX ' if ptx else ''}{arch}: {len(data) // 1024} KiB" for arch, ptx, data in made)
    print(f"CUDA kernels: {sizes}")


def main(words: list[str]) -> int:
    try:
        if words == ["check"]:
            print("NVRTC {}.{}".format(*Nvrtc().version()))
        elif words[:1] == ["build"] and len(words) == 3:
            build(Path(words[1]), Path(words[2]))
        else:
            print(__doc__)
            return 2
    except (BuildError, OSError) as error:
        print(f"build_kernels.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
