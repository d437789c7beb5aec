"""TEST ONLY, never shipped: give wine's ucrtbase.dll the C99 complex accessors, which it has as stubs.

usage: patch_ucrt.py UCRTBASE.DLL FOLDER_WITH_PEFILE

The machine code is that of the two-line C functions for the Windows x64 convention: a float complex
comes in rcx, a double complex by a pointer in rcx; the result goes to xmm0.
"""

import sys
from pathlib import Path

CODE = {
    b"crealf": "660f6ec1c3",  # movd xmm0, ecx; ret
    b"cimagf": "48c1e920660f6ec1c3",  # shr rcx, 32; movd xmm0, ecx; ret
    b"creal": "f20f1001c3",  # movsd xmm0, [rcx]; ret
    b"cimag": "f20f104108c3",  # movsd xmm0, [rcx + 8]; ret
}
MARK = b"Wine builtin DLL"  # wine takes a DLL with this mark for its own and looks no further


def main(library: Path, pefile_folder: str) -> None:
    sys.path.insert(0, pefile_folder)
    import pefile

    data = bytearray(library.read_bytes())
    image = pefile.PE(data=bytes(data), fast_load=True)
    image.parse_data_directories([pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_EXPORT"]])
    missing = set(CODE)
    for symbol in image.DIRECTORY_ENTRY_EXPORT.symbols:
        if symbol.name in CODE:
            code = bytes.fromhex(CODE[symbol.name])
            offset = image.get_offset_from_rva(symbol.address)
            data[offset : offset + len(code)] = code
            missing.discard(symbol.name)
    if missing or data.count(MARK) != 1:
        sys.exit(f"{library} is not the file this was written for: {missing}, {data.count(MARK)} marks")
    at = data.index(MARK)
    data[at : at + len(MARK)] = bytes(len(MARK))
    library.unlink()  # the file may be a link into wine's own folder
    library.write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
