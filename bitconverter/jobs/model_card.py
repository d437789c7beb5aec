"""MODEL_CARD.md: what a converted model is, for the person who finds the folder. The same source, the same card."""

from dataclasses import dataclass
from typing import Any

from bitconverter import __version__
from bitconverter.jobs.rounding_errors import error_of
from bitconverter.model.plan import DIRECT, TensorPlan
from bitconverter.model.source import Source


@dataclass(frozen=True)
class Matrix:
    """A converted matrix: `error` is relative, of its outputs on the calibration text if `calibrated`, else of its
    weights. `exact`: it was ternary already and is stored as it is."""

    name: str
    n_planes: int
    error: float
    calibrated: bool
    exact: bool


def model_card(
    source: Source,
    licence: str | None,
    side_files: dict[str, Any],
    totals: dict[str, Any],
    parameters: dict[str, Any],
    matrices: list[Matrix],
    report: dict[str, Any] | None,
) -> str:
    """Markdown with the licence of the source, how the files were made, what was measured, and what is not known."""
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

- {_linear_maps(matrices, parameters["seed"])}: {bits:.2f} bits per weight. {_calibration(parameters)}
- The embedding and, where it is separate, the output head are stored in 8 bits. {_norms(parameters)}
- The weight file has {totals["file_bytes"]:,} bytes; the source's weights have {source.total_bytes:,}.
- Tokenizer, chat template and generation settings are those of the source.

## What to expect

{_expectation(matrices, bits, totals["relative_squared_error"])} \
{_measured(report)}How much worse the answers get depends on the model: measure it with \
`bitconverter evaluate THIS_FOLDER --text FILE --reference SOURCE`. Whatever the original model gets wrong, \
is biased about, or must not be used for, holds for this copy too.

{_answers(report)}## Every matrix

Ternary digits (planes) and relative error in percent: {_error_kind(matrices)}.

{_matrices(matrices)}

`manifest.json` lists every tensor with its error, and the SHA-256 of what was read and written.
"""


def matrices_of(plan: tuple[TensorPlan, ...], records: list[dict[str, Any]]) -> list[Matrix]:
    """The linear matrices with their errors, from the conversion's journal."""
    found = []
    for tensor, record in zip(plan, records, strict=True):
        if tensor.linear:
            calibrated, exact = "output_error" in record, tensor.form == DIRECT
            found.append(Matrix(tensor.name, tensor.n_planes, error_of(record), calibrated, exact))
    return found


def _error_kind(matrices: list[Matrix]) -> str:
    if any(matrix.calibrated for matrix in matrices):
        return "of the outputs on the calibration text, squared"
    return "of the weights, squared"


def _matrices(matrices: list[Matrix]) -> str:
    """A line for each layer, a column for each kind of matrix."""
    layers: dict[str, dict[str, Matrix]] = {}
    for matrix in matrices:
        _, _, layer, _, kind, _ = matrix.name.split(".")
        layers.setdefault(layer, {})[kind.removesuffix("_proj")] = matrix
    kinds = list(next(iter(layers.values()))) if layers else []
    lines = ["| layer | " + " | ".join(kinds) + " |", "|" + "---|" * (1 + len(kinds))]
    for layer, row in layers.items():
        cells = (f"{row[kind].n_planes}: {100 * row[kind].error:.2f}" for kind in kinds)
        lines.append(f"| {layer} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _measured(report: dict[str, Any] | None) -> str:
    """The numbers of the quality report as a table; nothing if there is none."""
    if report is None:
        return ""
    if "skipped" in report:
        return f"The two models were not compared: {report['skipped']} "
    rows = {**report["texts"], "together": report["all"]}
    lines = [
        "Measured on text that comes with the program and was not calibrated on, in windows of "
        f"{report['window']} tokens:",
        "",
        "| text | tokens | perplexity of the source | of this copy | KL divergence | same most probable token |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        lines.append(
            f"| {name} | {row['tokens']} | {_short(row['source_perplexity'])} | {_short(row['perplexity'])} | "
            f"{_short(row['kl'])} | {_percent(row['top1'])} |"
        )
    return "\n".join(lines) + "\n\n"


def _answers(report: dict[str, Any] | None) -> str:
    """Six questions with the beginning of both answers; as code, because a model may write anything."""
    if report is None or "skipped" in report:
        return ""
    parts = [
        "## Six answers",
        "",
        "The beginning of the most probable answer of the source, then of this copy.",
        "",
    ]
    for answer in report["answers"]:
        parts += [f"**{answer['prompt']}**", "", _as_code(answer["source"]), ""]
        parts += ["This copy:", "", _as_code(answer["converted"]), ""]
    return "\n".join(parts) + "\n"


def _as_code(text: str) -> str:
    lines = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text).splitlines() or [
        "(nothing)"
    ]
    return "\n".join(f"    {line}" for line in lines)


def _short(value: float | None) -> str:
    return "beyond all numbers" if value is None else f"{value:.4g}"


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1%}"


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


def _linear_maps(matrices: list[Matrix], seed: int) -> str:
    """What became of the decoder layers' matrices, without the full stop."""
    rounded = [matrix for matrix in matrices if not matrix.exact]
    exact = len(matrices) - len(rounded)
    kept = "ternary in the source already (-a, 0 and a in every row) and stored exactly, in one digit, not rotated"
    if not rounded:
        return f"Every linear map of the decoder layers was {kept}"
    how = f"rotated (seed {seed}) and rounded, row by row, to whole numbers {_digits(rounded)} with one scale per row"
    if not exact:
        return f"Every linear map of the decoder layers was {how}"
    were = "was" if exact == 1 else "were"
    return f"Of the {len(matrices)} linear maps of the decoder layers {exact} {were} {kept}; every other one was {how}"


def _digits(rounded: list[Matrix]) -> str:
    counts = sorted({matrix.n_planes for matrix in rounded})
    if len(counts) > 1:
        return f"written in {counts[0]} to {counts[-1]} ternary digits, as many as each map needs,"
    planes = counts[0]
    values = (3**planes - 1) // 2
    return f"from -{values} to {values}, written in {planes} ternary digit{'s' if planes > 1 else ''}"


def _norms(parameters: dict[str, Any]) -> str:
    polish = parameters.get("polish")
    if polish is None:
        return "Norms and biases are unchanged."
    return (
        f"Norms and the scales of the rows were trained at the end, in {polish['steps']} steps, to predict what the "
        f"source predicts: on text held back from that the KL divergence fell from {_short(polish['kl_before'])} to "
        f"{_short(polish['kl_after'])} nats per token. Biases are unchanged."
    )


def _calibration(parameters: dict[str, Any]) -> str:
    text = parameters.get("calibration")
    if text is None:
        return "No calibration text was used."
    return (
        f"What an error costs was measured on {text['windows'] * text['window']:,} tokens of text "
        f"({', '.join(f'`{name}`' for name in text['files'])}){_own_chat(text)}."
    )


def _own_chat(text: dict[str, Any]) -> str:
    count = text.get("own_chat")
    return f", with {count} conversations that the source itself wrote" if count else ""


def _expectation(matrices: list[Matrix], bits: float, error: float) -> str:
    if all(matrix.exact for matrix in matrices):
        return (
            "The linear weights are those of the source. What differs is the embedding in 8 bits, and that the inputs "
            "of every linear map are rounded to 8 bits while it runs."
        )
    return (
        f"The rounding has a relative squared error of {error:.4f} over the linear weights. {_usable(bits)}"
    )


def _usable(bits: float) -> str:
    if bits < 2:
        return "One digit without training changes a model so much that its text is usually not usable."
    if bits < 4:
        return (
            "Two digits are a strong compression: expect visibly weaker answers, above all from small models."
        )
    return "At this size the answers are usually close to the original's."
