"""EvaluateJob against sums written out in numpy."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from model_folders import edit_tensors
from reference.converted import write_converted
from reference.model import ReferenceModel
from running import error_of, finish

from bitconverter.jobs import evaluate
from bitconverter.jobs.evaluate import EvaluateJob
from bitconverter.jobs.job import Cancel, Context, Event, Metric, Progress, Stopped, run_job

TEXT = "the quick brown fox jumps over the lazy dog and runs back home"
WINDOW = 24


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "テキスト text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session")
def tiny_converted(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted") / "tiny-2"
    write_converted(tiny_model, folder, n_planes=2, seed=3)
    return folder


def ids_of(folder: Path) -> list[int]:
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode(TEXT).ids


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def expected_perplexity(folder: Path, windows: list[list[int]]) -> tuple[float, int]:
    """From the numpy model: exp of the mean of -log p over all predicted tokens."""
    model = ReferenceModel(folder)
    nll: list[float] = []
    for window in windows:
        log_p = log_softmax(np.asarray(model.forward(window)))
        nll += [-log_p[i, window[i + 1]] for i in range(len(window) - 1)]
    return math.exp(sum(nll) / len(nll)), len(nll)


def test_perplexity_is_that_of_the_numpy_model_with_a_partial_last_window(
    tiny_model: Path, text: str
) -> None:
    ids = ids_of(tiny_model)
    assert len(ids) % WINDOW > 1
    perplexity, tokens = expected_perplexity(
        tiny_model, [ids[k : k + WINDOW] for k in range(0, len(ids), WINDOW)]
    )
    result = finish(EvaluateJob(str(tiny_model), text, window=WINDOW, kv="f32"))
    assert result.tokens == tokens
    assert result.perplexity == pytest.approx(perplexity, rel=1e-3)
    assert result.kl is result.top1 is result.reference_perplexity is None


def test_divergence_and_agreement_are_means_over_the_same_tokens(
    tiny_model: Path, tiny_converted: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = finish(
        EvaluateJob(str(tiny_converted), text, str(tiny_model), window=WINDOW, threads=1, kv="f32")
    )
    ids = ids_of(tiny_model)
    kl, same = [], []
    from bitconverter.engine import Engine, Model, Session

    engine = Engine(threads=1)
    for start in range(0, len(ids), WINDOW):
        window = ids[start : start + WINDOW]
        p, q = (
            log_softmax(
                Session(Model(engine, f), n_ctx=WINDOW, kv="f32").forward(window[:-1], all_positions=True)
            )
            for f in (tiny_model, tiny_converted)
        )
        kl += list((np.exp(p) * (p - q)).sum(axis=1))
        same += list(p.argmax(axis=1) == q.argmax(axis=1))
    assert result.kl == pytest.approx(np.mean(kl), rel=1e-6)
    assert result.top1 == pytest.approx(np.mean(same))
    assert result.kl > 0.001
    # how much is computed at a time changes nothing
    monkeypatch.setattr(evaluate, "chunk_tokens", lambda _vocab: 5)
    again = finish(
        EvaluateJob(str(tiny_converted), text, str(tiny_model), window=WINDOW, threads=2, kv="f32")
    )
    assert again.perplexity == pytest.approx(result.perplexity, rel=1e-12)
    assert again.kl == pytest.approx(result.kl, rel=1e-5)


def test_a_model_is_equal_to_itself(tiny_model: Path, text: str) -> None:
    result = finish(EvaluateJob(str(tiny_model), text, str(tiny_model)))
    assert result.kl == 0.0
    assert result.top1 == 1.0
    assert result.reference_perplexity == result.perplexity


def test_a_bos_that_the_tokenizer_adds_starts_every_window(
    tiny_model: Path, tmp_path: Path, text: str
) -> None:
    folder = tmp_path / "with-bos"
    shutil.copytree(tiny_model, folder)
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    bos = tokenizer.id_to_token(7)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, 7)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": bos}), encoding="utf-8")
    ids = ids_of(tiny_model)
    windows = [[7, *ids[k : k + WINDOW - 1]] for k in range(0, len(ids), WINDOW - 1)]
    perplexity, tokens = expected_perplexity(tiny_model, windows)
    result = finish(EvaluateJob(str(folder), text, window=WINDOW, kv="f32"))
    assert (result.tokens, tokens) == (len(ids), len(ids))
    assert result.perplexity == pytest.approx(perplexity, rel=1e-3)


def test_max_tokens_uses_the_start_of_the_text(tiny_model: Path, text: str) -> None:
    assert finish(EvaluateJob(str(tiny_model), text, max_tokens=10)).tokens == 9


def test_progress_ends_at_the_total_and_every_window_reports(tiny_model: Path, text: str) -> None:
    events: list[Event] = []
    result = finish(EvaluateJob(str(tiny_model), text, window=WINDOW), events)
    progress = [event for event in events if isinstance(event, Progress)]
    assert (progress[-1].done, progress[-1].total) == (result.tokens, result.tokens)
    metrics = [event for event in events if isinstance(event, Metric)]
    assert len(metrics) == -(-len(ids_of(tiny_model)) // WINDOW)
    assert metrics[-1].value == result.perplexity


def test_a_cancelled_evaluation_is_stopped(tiny_model: Path, text: str) -> None:
    cancel = Cancel()

    def cancel_at_progress(event: Event) -> None:
        if isinstance(event, Progress):
            cancel.request()

    assert run_job(EvaluateJob(str(tiny_model), text, window=8), cancel_at_progress, cancel) == Stopped()


@pytest.mark.parametrize("content", [b"", b"a", "これ".encode("cp932")])
def test_texts_that_cannot_be_used_are_named(tiny_model: Path, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    error = error_of(EvaluateJob(str(tiny_model), str(path)))
    assert error.code == ("text-short" if len(content) < 2 else "text-encoding")
    assert "bad.txt" in str(error)


def test_a_missing_text_or_model_is_named(tiny_model: Path, text: str, tmp_path: Path) -> None:
    assert error_of(EvaluateJob(str(tiny_model), str(tmp_path / "none.txt"))).code == "text-unreadable"
    assert error_of(EvaluateJob(str(tmp_path / "none"), text)).code == "model-missing"
    assert error_of(EvaluateJob(text, text)).code == "model-kind"


def test_a_reference_with_another_vocabulary_is_refused(tiny_model: Path, tmp_path: Path, text: str) -> None:
    other = tmp_path / "other"
    shutil.copytree(Path(__file__).parents[1] / "golden" / "qwen2", other)
    shutil.copy(tiny_model / "tokenizer.json", other)
    sizes = [
        json.loads((f / "config.json").read_text(encoding="utf-8"))["vocab_size"] for f in (tiny_model, other)
    ]
    assert sizes[0] != sizes[1]
    error = error_of(EvaluateJob(str(tiny_model), text, str(other)))
    assert error.code == "reference-vocabulary"
    assert error.fields == {"model": sizes[0], "reference": sizes[1]}


def test_a_reference_with_another_tokenizer_is_refused(tiny_model: Path, tmp_path: Path, text: str) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    content: dict[str, Any] = json.loads((other / "tokenizer.json").read_text(encoding="utf-8"))
    vocab = content["model"]["vocab"]
    vocab["q"], vocab["z"] = vocab["z"], vocab["q"]
    (other / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    error = error_of(EvaluateJob(str(tiny_model), text, str(other)))
    assert error.code == "reference-tokenizer"
    assert error.fields["place"] == TEXT.index("q")


def test_a_text_encoded_in_pieces_gives_the_tokens_of_the_whole(
    smollm2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "PIECE", 300)
    lines = [
        "The quick brown fox\n",
        "  indented = 1\n\n\n",
        "日本語の文。\n",
        "don't 1234\r\n",
        "\ttab <|im_end|>\n",
        "x\n",
    ]
    text = "".join(lines[(i * i + i // 3) % len(lines)] * (1 + i % 3) for i in range(300))
    tokenizer = evaluate.Tokenizer(smollm2)
    whole = tokenizer.encode(text, add_special_tokens=False)
    ctx = Context(lambda _: None, Cancel())
    assert evaluate.encode_in_pieces(tokenizer, text, 0, ctx) == whole
    assert evaluate.encode_in_pieces(tokenizer, text, 777, ctx) == whole[:777]


def test_cancelling_is_answered_while_a_long_text_is_encoded(
    smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "long.txt"
    path.write_text("The quick brown fox jumps over the lazy dog\n" * 20_000, encoding="utf-8")
    cancel, lengths = Cancel(), []
    encode = evaluate.Tokenizer.encode

    def watched(self: Any, text: str, **options: Any) -> list[int]:
        cancel.request()
        lengths.append(len(text))
        return encode(self, text, **options)

    monkeypatch.setattr(evaluate.Tokenizer, "encode", watched)
    assert isinstance(run_job(EvaluateJob(str(smollm2), str(path)), lambda _: None, cancel), Stopped)
    assert max(lengths) < 40_000


def test_cancelling_is_answered_between_two_comparisons(
    tiny_model: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel, rows = Cancel(), []
    score = evaluate.logits_score

    def watched(engine: Any, logits: np.ndarray, targets: np.ndarray) -> Any:
        cancel.request()
        rows.append(len(logits))
        return score(engine, logits, targets)

    monkeypatch.setattr(evaluate, "SCORED", 149 * 4)
    monkeypatch.setattr(evaluate, "logits_score", watched)
    assert isinstance(run_job(EvaluateJob(str(tiny_model), text), lambda _: None, cancel), Stopped)
    assert rows == [4]


def test_a_model_that_gives_no_numbers_is_like_none_not_even_itself(
    tiny_model: Path, tmp_path: Path, text: str
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    edit_tensors(broken, lambda tensors: tensors["model.norm.weight"].fill(3e38))
    for model, reference in ((broken, broken), (broken, tiny_model), (tiny_model, broken)):
        result = finish(EvaluateJob(str(model), text, str(reference), threads=1))
        assert result.kl is not None and not result.kl < math.inf
        assert result.top1 == 0
