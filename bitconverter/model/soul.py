"""A soul put on an opened model and taken off again; the model's files are not touched."""

import re

from bitconverter.engine import MATRICES, Model
from bitconverter.format.errors import UserError
from bitconverter.format.soul_file import Soul

_NAME = re.compile(r"model\.layers\.(\d{1,6})\.(?:self_attn|mlp)\.([a-z]+)_proj")


def put_on(model: Model, soul: Soul) -> None:
    """Raises UserError("soul-broken") for a matrix that the model does not have; nothing is changed then."""
    places = {name: _place(model, name, len(gain)) for name, gain in soul.gains.items()}
    for name, (layer, matrix) in places.items():
        model.set_gain(layer, matrix, soul.gains[name])


def take_off(model: Model, soul: Soul) -> None:
    """What put_on() did; the model is as it was opened, bit for bit."""
    for name, gain in soul.gains.items():
        model.set_gain(*_place(model, name, len(gain)), None)


def _place(model: Model, name: str, rows: int) -> tuple[int, str]:
    match = _NAME.fullmatch(name)
    if match and match[2] in MATRICES and int(match[1]) < model.info.n_layers:
        layer, matrix = int(match[1]), match[2]
        if model.rows(matrix) == rows:
            return layer, matrix
    raise UserError(
        "soul-broken", f"The soul has gains for {name}, which the model does not have.", path=name
    )
