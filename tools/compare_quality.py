"""Our conversions against llama.cpp's types: KL, perplexity and top-1 on the same tokens, as JSON and Markdown.

    python tools/compare_quality.py SOURCE --text prose.txt docs.txt code.txt --out quality.json
        [--ggml PATH/libggml-base.so --types Q2_K IQ3_S Q4_K] [--model NAME=FOLDER ...]
        [--work FOLDER] [--calibration-windows W] [--max-tokens 0] [--threads 0]

Every --type: each matrix of SOURCE's decoder layers is quantized by llama.cpp's own code with an importance matrix
(mean squares of the inputs on our default calibration text), the input columns shuffled first, so that the groups
of a source that was rounded once already do not line up with the type's; rows that do not fill the type's blocks
are joined. The values that come back are written as a folder of f16 weights under --work, run by our engine with
activations in f32, as is SOURCE, the reference. All tensors else are SOURCE's own. A --model is a folder that
`bitconverter convert` wrote, run as it is (activations int8). Rows that are in --out already are kept, so a run can
be repeated with more types, models or texts.

libggml-base: `pip install llama-cpp-python` builds it (llama_cpp/lib in the installed package).

What is measured is what `bitconverter evaluate MODEL --text FILE --reference SOURCE` prints.
"""

import argparse
import hashlib
import json
import math
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import peers

from bitconverter.engine import Cancel, Engine, Model, ModelInfo, Session, check_config
from bitconverter.engine import logits_divergence as divergence
from bitconverter.engine import logits_score as score
from bitconverter.format.safetensors_file import TensorEntry, header_bytes
from bitconverter.jobs.benchmark import machine
from bitconverter.jobs.convert_layers import windows_used
from bitconverter.jobs.evaluate import encode_in_pieces
from bitconverter.jobs.job import Context
from bitconverter.model import names
from bitconverter.model.calibration_text import calibration_text
from bitconverter.model.hf_source import HfSource
from bitconverter.model.tokenizer import Tokenizer

TYPES = ("IQ1_M", "IQ2_XXS", "IQ2_S", "Q2_K", "IQ3_XXS", "IQ3_S", "Q3_K", "IQ4_XS", "Q4_K", "Q5_K", "Q6_K")
WINDOW = 512  # tokens; each starts with an empty context
SEED = 0


def write_peers(source: HfSource, info: ModelInfo, kinds: list[str], arguments: argparse.Namespace) -> None:
    """A folder of f16 weights per type under --work, unless it is there."""
    wanted = [kind for kind in kinds if not (arguments.work / kind).exists()]
    if not wanted:
        return
    ggml = peers.Ggml(arguments.ggml)
    config = json.dumps(source.config).encode()
    windows = windows_used(info, "full", arguments.calibration_windows)
    text = calibration_text(
        arguments.source, (), windows=windows, window=WINDOW, seed=SEED,
        vocab=info.vocab_size,
    )  # fmt: skip
    say(f"importances on {text.ids.size} tokens")
    found = peers.importances(source, info, text, config, Engine(threads=arguments.threads))
    for kind in wanted:
        start = time.monotonic()
        partial = arguments.work / f"{kind}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, content in source.side_files().items():
            if isinstance(content, Path) and "/" not in name:
                shutil.copyfile(content, partial / name)
        shutil.copyfile(source.path / "config.json", partial / "config.json")
        write_weights(partial / "model.safetensors", source, info, kind, ggml, found)
        partial.rename(arguments.work / kind)
        say(f"{kind}: {time.monotonic() - start:.0f} s")


def write_weights(
    path: Path, source: HfSource, info: ModelInfo, kind: str, ggml: peers.Ggml, importances: dict[str, Any]
) -> None:
    """All tensors of the model; the decoder layers' matrices as they come back from the type, in f16."""
    expected = names.expected_tensors(info)
    space = 8 + 8 * (1 + sum(len(name) + 128 for name in expected) // 8)
    entries, end = [], space
    for name, shape in expected.items():
        dtype = "F16" if name in importances else source.tensors[name].dtype
        size = (4 if dtype == "F32" else 2) * math.prod(shape)
        entries.append(TensorEntry(name, dtype, shape, end, size))
        end += size

    def values(name: str) -> np.ndarray:
        if name not in importances:
            return source.read_rows(name, 0, source.tensors[name].shape[0])
        w, weights = peers.read(source, name), importances[name]
        order = np.random.Generator(np.random.PCG64(SEED)).permutation(w.shape[1])
        back = np.empty_like(w)
        back[:, order] = ggml.round_trip(w[:, order], kind, weights[order])
        return back.astype(np.float16)

    with open(path, "wb") as file, ThreadPoolExecutor(2) as pool:
        file.write(header_bytes(entries, space, {"format": "pt"}))
        for array in pool.map(values, expected):
            file.write(np.ascontiguousarray(array).data)


class Measured:
    """Sums over the tokens of one text, for one model."""

    def __init__(self) -> None:
        self.tokens, self.agree, self.nll, self.kl = 0, 0, 0.0, 0.0

    def add(self, nll: np.ndarray, best: np.ndarray, reference_best: np.ndarray, kl: np.ndarray) -> None:
        self.tokens += len(nll)
        self.nll += float(nll.sum())
        self.agree += int((best == reference_best).sum())
        self.kl += float(kl.sum())

    def row(self) -> dict[str, float]:
        return {
            "tokens": self.tokens, "perplexity": math.exp(self.nll / self.tokens),
            "kl": self.kl / self.tokens, "top1": self.agree / self.tokens,
        }  # fmt: skip


def measure(
    source: Path, folders: dict[str, Path], text: Path, arguments: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Each model (and the reference itself, "") on one text: all in step, so that the reference runs once."""
    engine = Engine(threads=arguments.threads)
    sessions = {
        name: Session(Model(engine, folder), n_ctx=WINDOW) for name, folder in {"": source, **folders}.items()
    }
    tokenizer = Tokenizer(source)
    ctx = Context(lambda _event: None, Cancel())
    ids = encode_in_pieces(tokenizer, text.read_text(encoding="utf-8"), arguments.max_tokens, ctx)
    start = tokenizer.encode("", add_special_tokens=True)[:1]
    prefix = start if start == [tokenizer.bos_id] else []
    step = WINDOW - len(prefix)
    sums = {name: Measured() for name in sessions}
    began = time.monotonic()
    for first in range(0, len(ids), step):
        window = prefix + ids[first : first + step]
        if len(window) < 2:
            break
        targets = np.asarray(window[1:], np.int32)
        expected, best = np.empty(0, np.float32), np.empty(0, np.int32)
        for name, session in sessions.items():
            session.rewind(0)
            logits = session.forward(window[:-1], all_positions=True)
            assert logits is not None
            nll, mine = score(engine, logits, targets)
            if name == "":
                expected, best = logits, mine
            sums[name].add(nll, mine, best, divergence(engine, expected, logits))
        say(f"{text.name}: {first + len(window)} of {len(ids)} tokens, {time.monotonic() - began:.0f} s")
    return {name: total.row() for name, total in sums.items()}


def measured_bits(folder: Path) -> float:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return float(manifest["totals"]["bits_per_weight"])


def markdown(table: dict[str, Any]) -> str:
    """One line a model: bits, KL over all texts and on each, perplexity and top-1 over all."""
    texts = table["texts"]
    lines = [
        "| bits | | KL | " + " | ".join(f"KL {name}" for name in texts) + " | ppl | same top token |",
        "|" + "---|" * (5 + len(texts)),
    ]
    for name, row in sorted(table["rows"].items(), key=lambda item: (item[1]["bits"], item[0])):
        cells = row["texts"]
        if set(cells) != set(texts):
            continue
        tokens = sum(cell["tokens"] for cell in cells.values())

        def mean(key: str, cells: dict[str, Any] = cells, tokens: int = tokens) -> float:
            return sum(cell["tokens"] * cell[key] for cell in cells.values()) / tokens

        nll = sum(cell["tokens"] * math.log(cell["perplexity"]) for cell in cells.values()) / tokens
        each = " | ".join(f"{cells[text]['kl']:.4f}" for text in texts)
        lines.append(
            f"| {row['bits']:.3f} | {name} | {mean('kl'):.4f} | {each} | {math.exp(nll):.2f} | {mean('top1'):.1%} |"
        )
    counted = ", ".join(f"{name} {text['tokens']} tokens" for name, text in texts.items())
    return "\n".join([*lines, "", f"Texts: {counted}; windows of {WINDOW}. {table['machine']}"]) + "\n"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("--text", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file; FILE.md is written beside it")
    parser.add_argument("--ggml", type=Path)
    parser.add_argument("--types", nargs="*", default=(), choices=TYPES, help=f"of {' '.join(TYPES)}")
    parser.add_argument("--model", nargs="*", default=(), metavar="NAME=FOLDER")
    parser.add_argument("--work", type=Path, default=Path("peers"))
    parser.add_argument("--calibration-windows", type=int, help="default: as many as a conversion takes")
    parser.add_argument("--max-tokens", type=int, default=0, help="of each text")
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    source = HfSource(arguments.source)
    info = check_config(json.dumps(source.config).encode())
    table: dict[str, Any] = {"source": source.name, "machine": machine(), "texts": {}, "rows": {}}
    if arguments.out.exists():
        table = json.loads(arguments.out.read_text(encoding="utf-8"))
    if arguments.types:
        write_peers(source, info, arguments.types, arguments)
    folders = {kind: (arguments.work / kind, "ggml", peers.bits(kind)) for kind in arguments.types}
    for pair in arguments.model:
        name, _, folder = pair.partition("=")
        folders[name] = (Path(folder), "ours", measured_bits(Path(folder)))
    for text in arguments.text:
        sha = hashlib.sha256(text.read_bytes()).hexdigest()
        if table["texts"].get(text.stem, {"sha256": sha})["sha256"] != sha:
            raise SystemExit(f"{arguments.out} holds numbers of another {text.name}: give another --out")
        missing = {
            name: path
            for name, (path, _, _) in folders.items()
            if text.stem not in table["rows"].get(name, {"texts": {}})["texts"]
        }
        if not missing:
            continue
        for name, row in measure(arguments.source, missing, text, arguments).items():
            if name == "":
                table["texts"][text.stem] = {
                    "tokens": row["tokens"], "perplexity": row["perplexity"], "sha256": sha,
                }  # fmt: skip
                continue
            path, kind, bits = folders[name]
            about: dict[str, Any] = {"kind": kind, "bits": bits}
            if kind == "ours":
                about["file_bytes"] = (path / "model.safetensors").stat().st_size
            table["rows"].setdefault(name, {**about, "texts": {}})
            table["rows"][name]["texts"][text.stem] = row
        arguments.out.write_text(json.dumps(table, indent=1), encoding="utf-8")
        arguments.out.with_suffix(".md").write_text(markdown(table), encoding="utf-8")
    print(markdown(table), end="")


if __name__ == "__main__":
    main()
