"""Write a converted folder (docs/FORMAT.md) with numpy only: plain rounding, enough to test readers with."""

import json
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from reference.model import Array, Rotation, read_tensors

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def pack_planes(q: Array, n_planes: int) -> Array:
    """Integers [rows, cols], |q| <= (3^N - 1) / 2 -> u8 [N, ceil(rows/5), cols]."""
    rows, cols = q.shape
    groups = -(-rows // 5)
    offset = np.full((groups * 5, cols), (3**n_planes - 1) // 2, np.int32)  # digit 1 everywhere: zero
    offset[:rows] += q.astype(np.int32)
    planes = np.empty((n_planes, groups, cols), np.uint8)
    for plane in reversed(range(n_planes)):
        digits = (offset % 3).reshape(groups, 5, cols)
        offset //= 3
        value = np.einsum("gic,i->gc", digits, [81, 27, 9, 3, 1])
        planes[plane] = (256 * value + 242) // 243
    return planes


def round_rows(w: Array, largest: int) -> tuple[Array, Array]:
    """w ~ scales[:, None] * q with |q| <= largest; scales are f16 values."""
    scales = (np.abs(w).max(axis=1) / largest).astype(np.float16)
    scales = np.where(scales > 0, scales, np.float16(1))
    q = np.clip(np.rint(w / scales.astype(np.float32)[:, None]), -largest, largest)
    return q.astype(np.int32), scales


def write_safetensors(path: Path, tensors: dict[str, Array]) -> None:
    """Every tensor starts at a multiple of 64 bytes; gaps are tensors named __pad__.K."""
    kinds = {np.dtype("f4"): "F32", np.dtype("f2"): "F16", np.dtype("u1"): "U8", np.dtype("i1"): "I8"}
    header: dict[str, Any] = {}
    parts: list[bytes] = []
    offset = 0
    for name, tensor in tensors.items():
        data = np.ascontiguousarray(tensor).tobytes()
        header[name] = {
            "dtype": kinds[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(data)],
        }
        parts.append(data)
        offset += len(data)
        if gap := -offset % 64:
            header[f"__pad__.{len(parts)}"] = {
                "dtype": "U8",
                "shape": [gap],
                "data_offsets": [offset, offset + gap],
            }
            parts.append(bytes(gap))
            offset += gap
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(parts))


def write_converted(
    source: Path, out: Path, n_planes: int | Mapping[str, int], seed: int, direct: Collection[str] = ()
) -> None:
    """Layer matrices as planes (so many for all, or by the last part of their names; those in `direct` not rotated),
    embedding and head as int8, the rest f32 as it is."""
    out.mkdir(parents=True)
    for extra in source.iterdir():
        if "safetensors" not in extra.name and extra.name != "config.json":
            shutil.copy(extra, out)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = {
        "quant_method": "ternary_planes",
        "format_version": 1,
        "rotation": {"kind": "permute_sign_hadamard", "seed": seed},
    }
    (out / "config.json").write_text(json.dumps(config), encoding="utf-8")
    stored: dict[str, Array] = {}
    for name, tensor in read_tensors(source).items():
        prefix = name.removesuffix(".weight")
        last = prefix.rsplit(".", 1)[-1]
        if tensor.ndim != 2:
            stored[name] = tensor
            continue
        rotated = tensor if last in direct else Rotation(seed, tensor.shape[1]).apply(tensor)
        if last in LINEAR:
            planes = n_planes if isinstance(n_planes, int) else n_planes[last]
            q, stored[prefix + ".scales"] = round_rows(rotated, (3**planes - 1) // 2)
            stored[prefix + (".direct_planes" if last in direct else ".planes")] = pack_planes(q, planes)
        else:
            q, stored[prefix + ".scales"] = round_rows(rotated, 127)
            stored[prefix + ".int8"] = q.astype(np.int8)
    write_safetensors(out / "model.safetensors", stored)
