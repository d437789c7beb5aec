"""Open what the user names as a source: a folder of Hugging Face, or a GGUF file."""

from pathlib import Path

from bitconverter.format.errors import UserError
from bitconverter.model.hf_source import HfSource
from bitconverter.model.source import Source


def open_source(path: str | Path) -> Source:
    """A Hugging Face folder (or its config.json, or one of its .safetensors files) or a .gguf file.

    Raises UserError when there is nothing to look at; defects of what is there are in `.problems`.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(
            "source-missing", f"There is no {path}. Check the path of the source.", path=str(path)
        )
    if path.is_file() and path.suffix.lower() == ".gguf":
        from bitconverter.model.gguf_source import GgufSource  # the gguf library takes a while to load

        return GgufSource(path)
    if path.is_file():
        known = path.name in ("config.json", "model.safetensors.index.json") or path.suffix == ".safetensors"
        if not known:
            raise UserError(
                "source-kind",
                f"{path} is neither a model folder nor a .gguf file. "
                "Choose the folder that holds config.json and the .safetensors files.",
                path=str(path),
            )
        path = path.parent
    return HfSource(path)
