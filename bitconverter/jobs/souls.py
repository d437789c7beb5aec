"""Reading a soul for the model that it belongs to."""

import shlex
from pathlib import Path

from bitconverter.format.errors import UserError
from bitconverter.format.soul_file import ASIDE, Soul, read_soul, weights_hash
from bitconverter.jobs.job import Context


def opened_soul(path: Path) -> Soul:
    """Raises UserError: "soul-missing", "soul-aside", "soul-broken"."""
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
    return read_soul(path)


def soul_for(path: Path, model: Path, ctx: Context) -> Soul:
    """Raises UserError: "soul-missing", "soul-aside", "soul-broken", "soul-base" (it was trained on another model than
    the folder `model`); Cancelled."""
    soul = opened_soul(path)
    if weights_hash(model.glob("*.safetensors"), ctx.cancel.check) != soul.base_sha256:
        raise UserError(
            "soul-base",
            f"{path.name} was trained on another model ({soul.base_name or 'without a name'}) than {model}. "
            "Give the converted model that it was trained on.",
            soul=path.name, base=soul.base_name, model=str(model),
        )  # fmt: skip
    return soul
