"""Size against KL as a picture: what compare_quality.py measured, drawn with matplotlib (the extra "plot").

    python tools/plot_quality.py quality.json [--out docs/images/quality.svg]

One point a model: bits per linear weight (of the file's bytes, scales included) against the KL divergence to the
source, averaged over the tokens of all texts. The same JSON gives the same file.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot
from matplotlib.axes import Axes

STYLE = {  # kind of row: label, colour, marker, line
    "ours": ("BitConverter", "#0b6e4f", "o", "-"),
    "ggml": ("llama.cpp types, importance matrix", "#8a5a00", "s", "--"),
}


def points(table: dict[str, Any], kind: str) -> list[tuple[float, float, str]]:
    """(bits, KL, name) of every row that was measured on all texts, by bits."""
    found = []
    for name, row in table["rows"].items():
        cells = list(row["texts"].values())
        if row["kind"] == kind and set(row["texts"]) == set(table["texts"]):
            tokens = sum(cell["tokens"] for cell in cells)
            found.append((row["bits"], sum(cell["tokens"] * cell["kl"] for cell in cells) / tokens, name))
    return sorted(found)


def front(rows: list[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """The rows that no smaller one beats: these are joined by the line."""
    best: list[tuple[float, float, str]] = []
    for row in rows:
        if not best or row[1] < best[-1][1]:
            best.append(row)
    return best


def draw(table: dict[str, Any], axes: Axes) -> None:
    for kind, (label, colour, marker, line) in STYLE.items():
        rows = points(table, kind)
        if not rows:
            continue
        bits, kl, _ = zip(*front(rows), strict=True)
        axes.plot(bits, kl, line, color=colour, linewidth=1.2)
        bits, kl, names = zip(*rows, strict=True)
        axes.plot(bits, kl, marker, color=colour, label=label, markersize=5)
        best = {name for _, _, name in front(rows)}
        for x, y, name in zip(bits, kl, names, strict=True):
            right = kind == "ggml" or name not in best
            up = (5 if kind == "ggml" else (3 if "fast" in name else -6)) if right else -11
            axes.annotate(
                name, (x, y), (5 if right else -5, up), textcoords="offset points", fontsize=7,
                ha="left" if right else "right", color=colour,
            )  # fmt: skip
    axes.set_yscale("log")
    axes.set_xlabel("bits per linear weight")
    axes.set_ylabel("KL divergence to the source, nats per token")
    counted = ", ".join(f"{name} {text['tokens']:,}" for name, text in table["texts"].items())
    axes.set_title(f"{table['source']}: size against quality\ntokens: {counted}", fontsize=9)
    axes.grid(True, which="both", linewidth=0.3)
    axes.legend(fontsize=8)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images/quality.svg"))
    arguments = parser.parse_args()
    table = json.loads(arguments.table.read_text(encoding="utf-8"))
    matplotlib.rcParams["svg.hashsalt"] = "quality"
    figure, axes = pyplot.subplots(figsize=(7.2, 4.6))
    draw(table, axes)
    figure.tight_layout()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.out, metadata={"Date": None})


if __name__ == "__main__":
    main()
