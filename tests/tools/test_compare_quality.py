"""What compare_quality.py prints is what evaluate measures, and llama.cpp's importances are means of squares."""

import argparse
import json
import shutil
from pathlib import Path

import compare_quality
import numpy as np
import peers
import pytest
from reference.converted import write_converted

from bitconverter.engine import Engine, check_config
from bitconverter.jobs.evaluate import EvaluateJob
from bitconverter.jobs.job import Cancel, Finished, run_job
from bitconverter.model.calibration_text import CalibrationText
from bitconverter.model.hf_source import HfSource

TEXT = "the quick brown fox jumps over the lazy dog and runs back home\n" * 20


def test_the_numbers_are_those_of_evaluate(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_converted(tiny_model, tmp_path / "small", n_planes=2, seed=3)
    text = tmp_path / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    monkeypatch.setattr(compare_quality, "WINDOW", 32)
    arguments = argparse.Namespace(threads=1, max_tokens=0)
    row = compare_quality.measure(tiny_model, {"small": tmp_path / "small"}, text, arguments)["small"]
    job = EvaluateJob(str(tmp_path / "small"), str(text), str(tiny_model), window=32, threads=1)
    last = run_job(job, lambda _: None, Cancel())
    assert isinstance(last, Finished), last
    assert row["tokens"] == last.result.tokens
    assert row["kl"] == pytest.approx(last.result.kl, rel=1e-9)
    assert row["perplexity"] == pytest.approx(last.result.perplexity, rel=1e-9)
    assert row["top1"] == last.result.top1


def test_the_table_weighs_texts_by_their_tokens() -> None:
    def cell(tokens: int, kl: float) -> dict[str, float]:
        return {"tokens": tokens, "kl": kl, "perplexity": 10.0, "top1": 0.5}

    table = {
        "source": "m", "machine": "here", "texts": {"a": {"tokens": 100}, "b": {"tokens": 300}},
        "rows": {
            "Q9": {"bits": 9.0, "kind": "ggml", "texts": {"a": cell(100, 0.5), "b": cell(300, 0.1)}},
            "half": {"bits": 1.0, "kind": "ours", "texts": {"a": cell(100, 0.5)}},
        },
    }  # fmt: skip
    text = compare_quality.markdown(table)
    assert "| 9.000 | Q9 | 0.2000 | 0.5000 | 0.1000 | 10.00 | 50.0% |" in text
    assert "half" not in text  # not measured on all texts


def test_importances_are_mean_squares_of_the_inputs(tiny_model: Path, tmp_path: Path) -> None:
    source = HfSource(shutil.copytree(tiny_model, tmp_path / "m"))
    config = json.dumps(source.config).encode()
    info = check_config(config)
    ids = np.arange(32, dtype=np.int32).reshape(2, 16)
    found = peers.importances(
        source, info, CalibrationText(ids, "", ()), config, Engine(threads=1)
    )  # fmt: skip
    embedded = peers.read(source, "model.embed_tokens.weight")[ids.reshape(-1)].astype(np.float64)
    normed = embedded / np.sqrt(
        np.square(embedded).mean(axis=1, keepdims=True) + source.config["rms_norm_eps"]
    )
    normed *= peers.read(source, "model.layers.0.input_layernorm.weight")
    expected = np.square(normed).mean(axis=0)
    np.testing.assert_allclose(found["model.layers.0.self_attn.q_proj.weight"], expected, rtol=1e-4)
    assert len(found) == 7 * info.n_layers
