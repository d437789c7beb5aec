"""Where there is room on the disks of this PC."""

import contextlib
import os
import shutil
from pathlib import Path

import psutil

from bitconverter.format.size_text import at_most


def real_path(path: Path) -> Path:
    """Links followed; unlike Path.resolve this takes links that lead to themselves."""
    return Path(os.path.realpath(path))


def nearest_folder(path: Path) -> Path:
    """The first one above `path` that is there. Raises OSError."""
    place = real_path(path).parent
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise NotADirectoryError(20, f"{place} is not a folder")
    return place


def size_on_disk(folder: Path) -> int:
    """Bytes of all files below a folder, which come and go meanwhile."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(place, name)).st_size
    return total


def roomier_drives(place: Path, needed: int) -> str:
    """The other drives with so many bytes free, the roomiest first, as words; "" where there is none."""
    found: dict[int, tuple[int, str]] = {place.stat().st_dev: (0, "")}
    for drive in psutil.disk_partitions():
        if "ro" in drive.opts.split(",") or not drive.fstype:  # not to be written, or no disc in it
            continue
        with contextlib.suppress(OSError):
            device = os.stat(drive.mountpoint).st_dev
            found.setdefault(device, (shutil.disk_usage(drive.mountpoint).free, drive.mountpoint))
    rooms = sorted((room for room in found.values() if room[0] >= needed), reverse=True)
    return ", ".join(f"{mount} ({at_most(free)})" for free, mount in rooms[:3])
