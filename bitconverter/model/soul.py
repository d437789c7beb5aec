"""A soul put on an opened model and taken off again; the model's files are not touched."""

import re

from bitconverter.engine import MATRICES, Model, matrix_shapes
from bitconverter.format.errors import UserError
from bitconverter.format.soul_file import Adapters, Soul

_NAME = re.compile(r"model\.layers\.(\d{1,6})\.(?:self_attn|mlp)\.([a-z]+)_proj")


def put_on(model: Model, soul: Soul | Adapters) -> None:
    """Raises UserError("soul-broken") for a matrix that the model does not have; nothing is changed then."""
    shapes = matrix_shapes(model.info)
    places = {name: _place(model, name) for name in (*soul.gains, *soul.lora, *soul.delta)}
    for name, (_, matrix) in places.items():
        rows, cols = shapes[matrix]
        if name in soul.gains and soul.gains[name].shape != (rows,):
            raise _misfit(name)
        if name in soul.lora and (soul.lora[name][1].shape[0], soul.lora[name][0].shape[1]) != (rows, cols):
            raise _misfit(name)
        if name in soul.delta:
            planes, scales = soul.delta[name]
            if planes.shape[1:] != (-(-rows // 5), cols) or scales.shape != (rows,):
                raise _misfit(name)
    for name, gain in soul.gains.items():
        model.set_gain(*places[name], gain)
    for name, (a, b) in soul.lora.items():
        model.set_lora(*places[name], a, b.T)
    for name, (planes, scales) in soul.delta.items():
        model.set_delta(*places[name], planes, scales)


def take_off(model: Model, soul: Soul | Adapters) -> None:
    """What put_on() did; the model is as it was opened, bit for bit."""
    for name in soul.gains:
        model.set_gain(*_place(model, name), None)
    for name in soul.lora:
        model.set_lora(*_place(model, name), None, None)
    for name in soul.delta:
        model.set_delta(*_place(model, name), None)


def _place(model: Model, name: str) -> tuple[int, str]:
    match = _NAME.fullmatch(name)
    if match and match[2] in MATRICES and int(match[1]) < model.info.n_layers:
        return int(match[1]), match[2]
    raise _misfit(name)


def _misfit(name: str) -> UserError:
    return UserError(
        "soul-broken",
        f"The soul has something for {name}, which the model does not have in this form. "
        "Give the model that it was trained on.",
        path=name,
    )
