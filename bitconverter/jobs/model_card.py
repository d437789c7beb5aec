"""MODEL_CARD.md: what a converted model is, for the person who finds the folder. The same source, the same card."""

from typing import Any

from bitconverter import __version__
from bitconverter.model.source import Source


def model_card(
    source: Source,
    licence: str | None,
    side_files: dict[str, Any],
    totals: dict[str, Any],
    parameters: dict[str, Any],
) -> str:
    """Markdown with the licence of the source, how the files were made, and what is not known."""
    bits = totals["bits_per_weight"]
    kind = "a GGUF file" if source.kind == "gguf" else "a folder of safetensors files"
    origin = _origin(source.config)
    return f"""# {source.name}, in ternary planes

This is a compressed copy of the language model **{source.name}** ({origin}, \
{totals["parameters"] / 1e6:,.1f} million parameters), made with BitConverter {__version__} from {kind}. \
It runs in BitConverter; other programs do not read its weights.

## Licence

{_licence(licence, side_files)}

## How it was made

- Every linear map of the decoder layers was rotated (seed {parameters["seed"]}) and rounded, row by row, to whole \
numbers {_digits(parameters)} with one scale per row: {bits:.2f} bits per weight. {_calibration(parameters)}
- The embedding and, where it is separate, the output head are stored in 8 bits. Norms and biases are unchanged.
- The weight file has {totals["file_bytes"]:,} bytes; the source's weights have {source.total_bytes:,}.
- Tokenizer, chat template and generation settings are those of the source.

## What to expect

The rounding has a relative squared error of {totals["relative_squared_error"]:.4f} over the linear weights. \
{_expectation(bits)} How much worse the answers get depends on the model: measure it with \
`bitconverter evaluate THIS_FOLDER --text FILE --reference SOURCE`. Whatever the original model gets wrong, \
is biased about, or must not be used for, holds for this copy too.

`manifest.json` lists every tensor with its error, and the SHA-256 of what was read and written.
"""


def _origin(config: dict[str, Any]) -> str:
    architectures = config.get("architectures")
    names = (
        [name for name in architectures if isinstance(name, str)] if isinstance(architectures, list) else []
    )
    return ", ".join(names) or str(config.get("model_type"))


def _licence(licence: str | None, side_files: dict[str, Any]) -> str:
    carried = [name for name in sorted(side_files) if _is_legal(name)]
    files = (
        f" Carried along from the source: {', '.join(f'`{name}`' for name in carried)}." if carried else ""
    )
    if licence is None:
        return (
            "The source did not say under which licence it is. Find out before you use or pass on this copy: "
            f"the licence of the original model applies to it.{files}"
        )
    return f"The source states: **{licence}**. It applies to this copy too.{files}"


def _is_legal(name: str) -> bool:
    return name.lower().startswith(
        ("licen", "copying", "notice", "use_policy", "acceptable_use", "copyright")
    ) or (name == "SOURCE_README.md")


def _digits(parameters: dict[str, Any]) -> str:
    planes = 4 if parameters.get("preset") == "best" else parameters.get("planes")
    if planes is None:
        return "written in one to four ternary digits, as many as each map needs,"
    values = (3**planes - 1) // 2
    return f"from -{values} to {values}, written in {planes} ternary digit{'s' if planes > 1 else ''}"


def _calibration(parameters: dict[str, Any]) -> str:
    text = parameters.get("calibration")
    if text is None:
        return "No calibration text was used."
    return (
        f"What an error costs was measured on {text['windows'] * text['window']:,} tokens of text "
        f"({', '.join(f'`{name}`' for name in text['files'])})."
    )


def _expectation(bits: float) -> str:
    if bits < 2:
        return "One digit without training changes a model so much that its text is usually not usable."
    if bits < 4:
        return (
            "Two digits are a strong compression: expect visibly weaker answers, above all from small models."
        )
    return "At this size the answers are usually close to the original's."
