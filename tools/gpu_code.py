"""What can be counted of the CUDA kernels without a graphics card: registers, stack, and the instructions of a loop.

Usage: python tools/gpu_code.py NVDISASM [--arch 90] [--kernel NAME ...] [--parts]

NVDISASM is NVIDIA's disassembler; the PyPI wheel of triton 3.1 has it as triton/backends/nvidia/bin/nvdisasm, beside
cuobjdump, which this needs too. Without --kernel: the kernels whose loop a warp's copies from memory set the pace of.
--parts: of a kernel of any kind how many instructions there are, passed over or not, from each place where threads wait
for each other, or for the kernel before, to the next.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "native" / "cuda"))
import build_kernels  # noqa: E402

COPY, WAIT = "LDGSTS", r"\bDEPBAR\.LE"
MEETING = {"ACQBULK": "the kernel before", "BAR": "a barrier", "EXIT": "the end"}


def run(*words: str | Path) -> str:
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True).stdout


def code_of(text: str, kernel: str) -> list[str]:
    """The lines of a kernel: instructions without their addresses, and labels."""
    found = re.search(rf"^\.text\.{kernel}:\n(.*?)(?=^\s*\.section|\Z)", text, re.MULTILINE | re.DOTALL)
    if not found:
        raise SystemExit(f"there is no kernel {kernel}")
    lines = (re.sub(r"/\*.*?\*/", "", line).strip() for line in found[1].splitlines())
    return [line for line in lines if line]


def name_of(line: str) -> str:
    return re.sub(r"^@\S+ ", "", line).split()[0].split(".")[0]


def first_at(lines: list[str], start: int, pattern: str) -> int:
    return next(i for i in range(start, len(lines)) if re.search(pattern, lines[i]))


def usual_turn(lines: list[str]) -> Counter[str]:
    """The instructions of one turn of the last loop that waits for copies, where the next copy is of the same run."""
    waits = [i for i, line in enumerate(lines) if re.search(WAIT, line)]
    if not waits:
        raise SystemExit("nothing waits for copies in this machine code: 8.0 and newer have them")
    wait = waits[-1]
    head = max(i for i in range(wait) if lines[i].startswith(".L_x"))
    end = first_at(lines, wait, r"BRA.*\(" + re.escape(lines[head].rstrip(":")) + r"\)")
    copied = max(i for i in range(wait, end) if COPY in lines[i])
    leave = first_at(lines, copied, r"^@.*BRA")
    target = re.search(r"\((\.L_x_\w+)\)", lines[leave])
    assert target is not None
    rest = lines.index(target[1] + ":")
    turn = [line for line in lines[head : leave + 1] + lines[rest : end + 1] if not line.startswith(".")]
    return Counter(name_of(line) for line in turn)


def parts(lines: list[str]) -> list[tuple[int, str]]:
    """How many instructions up to each place where threads meet, and what they wait for there."""
    found, count = [], 0
    for name in (name_of(line) for line in lines if not line.startswith(".")):
        count += 1
        if name in MEETING:
            found.append((count, MEETING[name]))
            count = 0
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("nvdisasm", type=Path)
    parser.add_argument("--arch", type=int, default=90)
    parser.add_argument("--kernel", nargs="+", default=["bc_one", "bc_few_8", "bc_few_32"])
    parser.add_argument("--parts", action="store_true")
    words = parser.parse_args()
    image, log = build_kernels.compile_image(words.arch, ptx=False)
    if log:
        print(log)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernels.cubin"
        file.write_bytes(image)
        usage = run(words.nvdisasm.with_name("cuobjdump"), "--dump-resource-usage", file)
        text = run(words.nvdisasm, "-c", file)
    for kernel in words.kernel:
        registers = re.search(rf"Function {kernel}:\n\s+REG:(\d+) STACK:(\d+)", usage)
        assert registers is not None
        head = f"{kernel}: {registers[1]} registers, {registers[2]} bytes of stack"
        code = code_of(text, kernel)
        if words.parts:
            print(f"{head}; instructions up to")
            print("   ", ", ".join(f"{what} {count}" for count, what in parts(code)))
            continue
        turn = usual_turn(code)
        print(f"{head}, {turn.total()} in a turn:")
        print("   ", ", ".join(f"{n} {name}" for name, n in turn.most_common()))


if __name__ == "__main__":
    main()
