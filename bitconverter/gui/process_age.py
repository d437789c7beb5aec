"""How long this process has been there, counted from when the system made it."""

import os
import sys
import time


def process_age() -> float:
    """Seconds. psutil's create_time() will not do on Linux: it is built on a boot time in whole seconds, and up to one
    second off."""
    if not sys.platform.startswith("linux"):
        import psutil

        return time.time() - float(psutil.Process().create_time())
    with open("/proc/self/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()  # the name before may hold spaces
    ticks = int(fields[19])  # since the boot, field 22 of proc(5)
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
