"""On what the steps of a training run: the processor, or the last layers that learn (or all) on a graphics card.

Codes of the Placed, beside those of jobs/placement.py that mean the same here: "delta-needs-cpu" (matrices that are
added are trained on the processor), "train-too-small" (not one layer fits), "train-some-layers". `layers` and
`all_layers` count layers that learn; `head`: the losses over the vocabulary are computed there too; `weight_bytes` is
all that they and the steps take on the card. The optimizer, and the model that answers questions meanwhile, are the
processor's, as is a head of a few labels or one that is not int8.
"""

import contextlib
from dataclasses import replace

from bitconverter.engine import EngineError, TowerParams
from bitconverter.jobs.device_word import Device, card_number
from bitconverter.jobs.placement import Placed, choose_card
from bitconverter.model.block_trainer import BlockTrainer
from bitconverter.store.ran_on import RanOn


def choose_training_device(
    trainer: BlockTrainer, asked: Device, tokens: int, replicas: int, back: bool
) -> Placed:
    """Put the layers that learn on a card as far as was asked for and fits; a batch has `tokens` at most, `replicas`
    times at once; `back`: gradients are wanted. Raises UserError as choose_card() does."""
    no = Placed(all_layers=len(trainer.trained))

    def put(device: int, no: Placed) -> Placed:
        most = -1 if asked.layers is None else asked.layers
        tower = trainer.put_on_card(TowerParams(device, most, tokens, replicas, back, asked.memory or 0))
        layers, code = len(tower.blocks), "train-some-layers"
        if layers == no.all_layers:
            code = "all-layers"
        elif layers == asked.layers:
            code = "asked-layers"
        return replace(
            no, layers=layers, head=tower.head is not None, weight_bytes=tower.bytes, needs=tower.all_bytes,
            room=tower.room_bytes, code=code,
        )  # fmt: skip

    obstacles = {"delta-needs-cpu": not trainer.on_cards}
    return choose_card(trainer.stack.engine, asked, no, obstacles, put, "train-too-small")


def lift_what_is_before(trainer: BlockTrainer, placed: Placed, asked: Device, tokens: int) -> None:
    """Put what fits of the layers before those that learn on the same card too, for as long as trainer.before is not
    None. Where nothing fits, or the card refuses them, the processor computes them: once, before the first step."""
    if not placed.on_device or trainer.trained.start == 0:
        return
    device = card_number(placed.where) or 0
    with contextlib.suppress(EngineError):
        trainer.put_before_on_card(TowerParams(device, -1, tokens, memory_limit=asked.memory or 0))


def ran_on(placed: Placed, trainer: BlockTrainer, made_before: bool) -> RanOn:
    """What decides about the last digits; `made_before`: what comes out of the layers before those that learn is there
    already."""
    before = len(trainer.before.blocks) if trainer.before else 0
    device = placed.device if placed.on_device else ""
    return RanOn(
        placed.where, device, placed.layers, placed.all_layers, placed.head, -1 if made_before else before
    )
