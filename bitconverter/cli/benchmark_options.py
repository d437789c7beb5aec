"""Which options of `benchmark` mean nothing beside the others: they are refused, never left out in silence."""

import argparse

from bitconverter.cli import texts


def is_whole(args: argparse.Namespace) -> bool:
    """Whether everything is measured, not only one run, or many texts at once, or a long text."""
    return args.full or args.llama_bench is not None or args.gguf is not None


def without_effect(args: argparse.Namespace) -> str | None:
    """The sentence about the first option that is given and would change nothing."""
    many, along = args.sessions is not None, args.text is not None
    parts = (many or along) and not is_whole(args)
    without = {
        "planes": args.synthetic is None,
        "layers": args.synthetic is None,
        "text": args.synthetic is not None,
        "max_tokens": not along,
        "prompt_tokens": parts,
        "new_tokens": parts and not many,
        "repeat": parts and not many,
    }
    return next(
        (
            texts.BENCHMARK_UNUSED[name]
            for name, unused in without.items()
            if unused and vars(args)[name] is not None
        ),
        None,
    )
