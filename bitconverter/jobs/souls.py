"""Reading a soul for the model that it belongs to."""

import shlex
from pathlib import Path

from bitconverter.format.errors import UserError
from bitconverter.format.soul_file import ASIDE, Soul, read_soul, weights_hash
from bitconverter.jobs.job import Context


def opened_soul(path: Path, even_aside: bool = False) -> Soul:
    """`even_aside`: also one that was set aside, under the name that it has since. Raises UserError: "soul-folder",
    "soul-missing", "soul-aside", "soul-is-aside", "soul-broken", "soul-newer"."""
    if path.is_dir():
        raise UserError(
            "soul-folder",
            f"{path} is a folder, and a soul is a file: the NAME.soul that `train` wrote.",
            path=str(path),
        )
    if not path.is_file():
        aside = Path(f"{path}{ASIDE}")
        if aside.is_file():
            raise UserError(
                "soul-aside",
                f"There is no {path}: its training has set it aside as {aside.name}, because the model forgets too "
                f"much with it. To use it all the same, keep it: bitconverter adopt {shlex.quote(str(path))}",
                path=str(path), aside=str(aside),
            )  # fmt: skip
        raise UserError("soul-missing", f"There is no {path}. Check the path of the soul.", path=str(path))
    if path.suffix.lower() == ASIDE and not even_aside:
        kept = path.with_suffix("")
        raise UserError(
            "soul-is-aside",
            f"{path} was set aside by its training, because the model forgets too much with it, and is not used under "
            f"this name. To use it all the same, keep it: bitconverter adopt {shlex.quote(str(kept))}",
            path=str(path), kept=str(kept),
        )  # fmt: skip
    return read_soul(path)


def soul_for(path: Path, model: Path, ctx: Context, even_aside: bool = False) -> Soul:
    """Raises UserError: "soul-base" (it was trained on another model than the folder `model`), those of opened_soul();
    Cancelled."""
    soul = opened_soul(path, even_aside)
    if weights_hash(model.glob("*.safetensors"), ctx.cancel.check) != soul.base_sha256:
        raise UserError(
            "soul-base",
            f"{path.name} was trained on another model ({soul.base_name or 'without a name'}) than {model}. "
            "Give the converted model that it was trained on.",
            soul=path.name, base=soul.base_name, model=str(model),
        )  # fmt: skip
    return soul
