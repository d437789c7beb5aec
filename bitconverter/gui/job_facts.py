"""What a finished job leaves to be told later: where its result lies, and the numbers that it ended with."""

from typing import Any

from bitconverter.gui.messages import format_size, tr

SIZES = ("source_bytes", "file_bytes")
WHOLE = ("steps", "best_step", "verified", "checks", "problems")


def facts(kind: str, result: Any) -> tuple[str, dict[str, float]]:
    """Of the result of a job of that kind: the file or folder that it made ("": none), and its numbers by name."""
    if kind == "convert":
        measured = (result.report or {}).get("all") or {}
        found = {name: measured.get(name) for name in ("source_perplexity", "perplexity", "kl")}
        sizes = {name: getattr(result, name) for name in SIZES}
        return result.out, _numbers(**sizes, bits=result.bits_per_weight, **found)
    if kind == "train":
        names = ("before", "after", "steps", "best_step")
        return result.out, _numbers(**{name: getattr(result, name) for name in names})
    if kind == "verify":
        return "", _numbers(verified=result.verified)
    if kind == "selftest":
        problems = sum(bool(check.problem) for check in result.checks)
        return "", _numbers(checks=len(result.checks), problems=problems)
    return "", {}


def _numbers(**values: Any) -> dict[str, float]:
    return {name: value for name, value in values.items() if type(value) in (int, float)}


def fact_text(name: str, value: float) -> str:
    """A number as it is shown."""
    if name in SIZES:
        return format_size(round(value))
    if name in WHOLE:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def short_text(numbers: dict[str, float]) -> str:
    """The one or two numbers that say most, for a line of a list; "" if there are none."""
    parts = []
    if "file_bytes" in numbers and "bits" in numbers:
        parts = [format_size(round(numbers["file_bytes"])), tr("short-bits", bits=f"{numbers['bits']:.2f}")]
    elif "before" in numbers and "after" in numbers:
        parts = [tr("short-loss", before=f"{numbers['before']:.3f}", after=f"{numbers['after']:.3f}")]
    elif "verified" in numbers:
        parts = [tr("short-verified", count=round(numbers["verified"]))]
    elif "checks" in numbers:
        parts = [
            tr("short-checks", count=round(numbers["checks"]), problems=round(numbers.get("problems", 0)))
        ]
    return "  ·  ".join(parts)
