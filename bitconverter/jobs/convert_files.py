"""What a converted model holds beside its weights: config, tokenizer, licence, manifest, model card."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from bitconverter import __version__
from bitconverter.format.atomic import write_bytes, write_json, write_text
from bitconverter.jobs.convert_settings import ConvertSettings
from bitconverter.jobs.convert_text import ConversionText
from bitconverter.jobs.model_card import matrices_of, model_card
from bitconverter.jobs.polish import WINDOWS, Polished
from bitconverter.model.plan import DENSE, TensorPlan
from bitconverter.model.source import Source

FORMAT_VERSION = 1


def write_side_files(folder: Path, source: Source, side_files: dict[str, bytes | Path], seed: int) -> None:
    """What the engine and a chat need beside the weight file: config, tokenizer, template; and the licence."""
    for name, content in side_files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        write_bytes(folder / name, content if isinstance(content, bytes) else content.read_bytes())
    write_json(folder / "config.json", with_quantization(source.config, seed))


def with_quantization(config: dict[str, Any], seed: int) -> dict[str, Any]:
    """A converted model's config.json, of its source's."""
    quantization = {
        "quant_method": "ternary_planes",
        "format_version": FORMAT_VERSION,
        "rotation": {"kind": "permute_sign_hadamard", "seed": seed},
    }
    return {**config, "quantization_config": quantization}


def write_documents(
    folder: Path,
    source: Source,
    side_files: dict[str, bytes | Path],
    plan: tuple[TensorPlan, ...],
    records: list[dict[str, Any]],
    parameters: dict[str, Any],
    report: dict[str, Any] | None,
) -> None:
    """The card and the manifest, when all else is there. Depends on nothing but the arguments' content; `report` is
    that of jobs/quality_report.py, if one was made."""
    totals = _totals(plan, records, folder / "model.safetensors")
    licence = source.licence()
    write_text(
        folder / "MODEL_CARD.md",
        model_card(source, licence, side_files, totals, parameters, matrices_of(plan, records), report),
    )
    manifest = {
        "format_version": FORMAT_VERSION,
        "tool": f"bitconverter {__version__}",
        "source": {
            "name": source.name,
            "kind": source.kind,
            "licence": licence,
            "bytes": source.total_bytes,
            "tensors": {record["name"]: record["source_sha256"] for record in records},
        },
        "parameters": parameters,
        "tensors": _stored(plan, records),
        "files": {name: _file(folder / name) for name in _others(folder)},
        "totals": totals,
    }
    if report is not None:
        manifest["report"] = report
    write_json(folder / "manifest.json", manifest)


def parameters_of(
    job: ConvertSettings, text: ConversionText, polished: Polished | None, steps: int
) -> dict[str, Any]:
    """What the manifest says of how it was made; `steps`: of the polish, if it was of use."""
    parameters = {**_chosen(job), "seed": job.seed, "method": job.method}
    if text.whole is not None:
        parameters["calibration"] = {
            "files": list(text.whole.sources), "windows": text.whole.ids.shape[0], "window": text.whole.ids.shape[1],
            "sha256": text.whole.sha256,
        }  # fmt: skip
        if text.conversations:
            parameters["calibration"]["own_chat"] = text.conversations
    if polished is not None:
        parameters["polish"] = {
            "steps": steps, "windows": WINDOWS,
            "kl_before": polished.kl_before, "kl_after": polished.kl_after,
        }  # fmt: skip
    return parameters


def _chosen(job: ConvertSettings) -> dict[str, Any]:
    """The wish for a size, as it was given."""
    if job.preset is not None:
        return {"preset": job.preset}
    if job.fit_bytes is not None:
        return {"fit": {"bytes": job.fit_bytes, "context": job.fit_context, "kv": job.fit_kv}}
    if job.size is not None:
        return {"size": job.size}
    if job.bits is None:
        return {"planes": job.planes}
    return {"bits": job.bits if math.isfinite(job.bits) else None}  # JSON has no infinity


def totals_of(folder: Path) -> dict[str, Any]:
    """The totals of a finished model, the bytes of its source as "source_bytes", and its "report" (or None)."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    more = {"source_bytes": manifest["source"]["bytes"], "report": manifest.get("report")}
    return {**manifest["totals"], **more}


def _totals(plan: tuple[TensorPlan, ...], records: list[dict[str, Any]], weights: Path) -> dict[str, Any]:
    linear = [(t, r) for t, r in zip(plan, records, strict=True) if t.linear]
    count = sum(math.prod(tensor.shape) for tensor, _ in linear)
    stored = sum(part["bytes"] for _, record in linear for part in record["parts"])
    error = math.fsum(record["squared_error"] for _, record in linear)
    weight = math.fsum(record["squared_weight"] for _, record in linear)
    return {
        "parameters": sum(math.prod(tensor.shape) for tensor in plan),
        "linear_weights": count,
        "bits_per_weight": 8 * stored / count,
        "relative_squared_error": error / weight if weight else 0.0,
        "file_bytes": weights.stat().st_size,
    }


def _stored(plan: tuple[TensorPlan, ...], records: list[dict[str, Any]]) -> dict[str, Any]:
    """Per stored tensor; a matrix's form and error stand with its codes."""
    out: dict[str, Any] = {}
    for tensor, record in zip(plan, records, strict=True):
        for part in record["parts"]:
            out[part["name"]] = {key: part[key] for key in ("dtype", "shape", "bytes", "sha256")}
        if tensor.form != DENSE:
            weight = record["squared_weight"]
            out[record["parts"][0]["name"]] |= {
                "form": tensor.form,
                "n_planes": tensor.n_planes,
                "relative_squared_error": record["squared_error"] / weight if weight else 0.0,
            }
            if "output_error" in record:
                out[record["parts"][0]["name"]] |= {
                    "relative_output_error": record["output_error"],
                    "relative_start_error": record["start_error"],
                }
    return out


def _others(folder: Path) -> list[str]:
    files = (entry.relative_to(folder).as_posix() for entry in folder.rglob("*") if entry.is_file())
    return sorted(name for name in files if name not in ("model.safetensors", "manifest.json"))


def _file(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
