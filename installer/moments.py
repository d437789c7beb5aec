"""When a started program is killed: between the first instant and standing idle with a model open."""

from pathlib import Path, PurePath

import psutil

AT_ONCE, LOGGING, SHOWN, OPEN = "at once", "at its crash log", "with its window", "idle with a model open"
MOMENTS = (AT_ONCE, LOGGING, SHOWN, OPEN)
IDLE = 1.0  # seconds that a model has been open


def reached(moment: str, number: int, log: Path, model: Path) -> bool:
    """Whether the process `number` has come so far. `log` was not there before; `model` is what it is given to open."""
    if moment == AT_ONCE:
        return True
    if moment == LOGGING:
        return log.exists()
    if moment == SHOWN:  # it looks into its database of chats once its window is there
        return maps(number, "chats.sqlite3-shm")
    return maps(number, model.name, "model.safetensors")


def maps(number: int, *names: str) -> bool:
    """Whether that process has a file mapped whose path ends so; not if it is gone."""
    try:
        places = [PurePath(place.path).parts for place in psutil.Process(number).memory_maps()]
    except psutil.NoSuchProcess:
        return False
    return any(parts[-len(names) :] == names for parts in places)
