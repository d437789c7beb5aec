"""Small Windows programs for tests, made byte by byte: what they need and what they offer, and nothing that runs."""

import struct

AT = 0x1000  # where the one section lies in memory
HEADERS = 0x200


def make_program(imports=(), exports=(), code=b"\x90"):
    """The bytes of a 64-bit DLL that needs the DLLs `imports` and has the names `exports`."""
    body = bytearray(code.ljust(16, b"\0"))

    def put(data):
        place = AT + len(body)
        body.extend(data + bytes(-len(data) % 8))
        return place

    names = [put(name.encode() + b"\0") for name in imports]
    import_table = put(b"".join(struct.pack("<5I", 0, 0, 0, name, 0) for name in names) + bytes(20))
    offered = [put(name.encode() + b"\0") for name in exports]
    pointers = put(b"".join(struct.pack("<I", place) for place in offered))
    export_table = put(struct.pack("<10I", 0, 0, 0, 0, 1, 0, len(exports), 0, pointers, 0))
    directories = struct.pack("<II", export_table, 40) if exports else bytes(8)
    directories += struct.pack("<II", import_table, 20) if imports else bytes(8)
    directories += bytes(8 * 14)
    optional = struct.pack("<H106xI", 0x20B, 16) + directories
    coff = struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, len(optional), 0x2022)
    section = struct.pack("<8s4I16x", b".text", len(body), AT, len(body), HEADERS)
    start = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    return (start + b"PE\0\0" + coff + optional + section).ljust(HEADERS, b"\0") + bytes(body)
