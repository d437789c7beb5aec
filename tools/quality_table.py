"""The tables of quality: what compare_quality.py measured, each size beside the smallest llama.cpp type that takes
no fewer bits (or the largest there is).

    python tools/quality_table.py docs/quality.json             docs/QUALITY.md's
    python tools/quality_table.py docs/quality.json --short     README's
"""

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

POLISHED = " polished"
APART = ("diag", "fast", "full")  # two planes everywhere, by each method: told in the text


def mean(row: dict[str, Any], key: str) -> float:
    cells = row["texts"].values()
    return float(sum(cell["tokens"] * cell[key] for cell in cells) / sum(cell["tokens"] for cell in cells))


def perplexity(row: dict[str, Any]) -> float:
    cells = row["texts"].values()
    tokens = sum(cell["tokens"] for cell in cells)
    return math.exp(sum(cell["tokens"] * math.log(cell["perplexity"]) for cell in cells) / tokens)


def kl_cells(row: dict[str, Any] | None, texts: list[str]) -> str:
    if row is None:
        return " | "
    return f"{digits(mean(row, 'kl'))} | " + " / ".join(digits(row["texts"][text]["kl"]) for text in texts)


def digits(value: float) -> str:
    """Three that count, four places at most."""
    return f"{value:.{max(0, min(4, 2 - math.floor(math.log10(value))))}f}"


def beside(table: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None, str]]:
    """Each size of ours from small to large: without polish, with it where that was measured, and llama.cpp's type."""
    rows = table["rows"]
    types = sorted((row["bits"], name) for name, row in rows.items() if row["kind"] == "ggml")
    ours = {name: row for name, row in rows.items() if row["kind"] == "ours"}
    plain = {name: row for name, row in ours.items() if POLISHED not in name and not name.endswith(APART)}
    for name, row in sorted(plain.items(), key=lambda item: item[1]["bits"]):
        _, kind = next((pair for pair in types if pair[0] >= row["bits"] - 0.01), types[-1])
        yield row, ours.get(name + POLISHED), kind


def markdown(table: dict[str, Any]) -> str:
    texts, rows = list(table["texts"]), table["rows"]
    named = " / ".join(texts)
    lines = [
        f"| bits per weight | file MB | KL | {named} | with polish | {named} | perplexity | same top token "
        f"| llama.cpp type, bits | its KL | {named} |",
        "|" + "---|" * 11,
    ]
    for row, best, kind in beside(table):
        shown = best or row
        lines.append(
            f"| {row['bits']:.2f} | {shown['file_bytes'] / 1e6:.1f} | {kl_cells(row, texts)} "
            f"| {kl_cells(best, texts)} | {perplexity(shown):.2f} | {mean(shown, 'top1'):.1%} "
            f"| {kind}, {rows[kind]['bits']:.2f} | {kl_cells(rows[kind], texts)} |"
        )
    return "\n".join(lines)


def short(table: dict[str, Any]) -> str:
    """The same without each text's own numbers."""
    rows = table["rows"]
    lines = [
        "| bits per weight | file MB | KL | with polish | same top token | llama.cpp type, bits | its KL |",
        "|" + "---|" * 7,
    ]
    for row, best, kind in beside(table):
        shown = best or row
        polished = digits(mean(best, "kl")) if best else ""
        lines.append(
            f"| {row['bits']:.2f} | {shown['file_bytes'] / 1e6:.1f} | {digits(mean(row, 'kl'))} | {polished} "
            f"| {mean(shown, 'top1'):.1%} | {kind}, {rows[kind]['bits']:.2f} | {digits(mean(rows[kind], 'kl'))} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path)
    parser.add_argument("--short", action="store_true")
    args = parser.parse_args()
    print((short if args.short else markdown)(json.loads(args.table.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
