"""The calibrated conversion end to end on tiny models: better than the fast one, the same after every kind of stop."""

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOLDEN
from model_folders import edit_tensors, golden_copy, hashes, write_gguf

from bitconverter import engine
from bitconverter.format.errors import UserError
from bitconverter.format.safetensors_file import SafetensorsFile
from bitconverter.jobs import calibrate, calibration_state, polish, sensitivity
from bitconverter.jobs.convert import ConvertJob, ConvertResult
from bitconverter.jobs.job import Cancel, Event, Failed, Finished, Metric, Note, Progress, Stopped, run_job
from bitconverter.model import curvature
from bitconverter.model.open_source import open_source
from bitconverter.model.plan import PLANES, TensorPlan

FAMILIES = sorted(path.parent.name for path in GOLDEN.glob("*/logits.npy"))
FULL: dict[str, Any] = {"method": "full", "calibration_windows": 6, "polish": 0}
POLISHED: dict[str, Any] = {**FULL, "bits": 3.4, "polish": 5}


def convert(source: Path, out: Path, **more: Any) -> tuple[ConvertResult, list[Event]]:
    events: list[Event] = []
    job = ConvertJob(str(source), str(out), **{"threads": 1, **FULL, **more})
    last = run_job(job, events.append, Cancel())
    assert isinstance(last, Finished), last
    return last.result, events


def failure(source: Path, out: Path, **more: Any) -> UserError:
    last = run_job(ConvertJob(str(source), str(out), threads=1, **{**FULL, **more}), lambda _: None, Cancel())
    assert isinstance(last, Failed)
    assert isinstance(last.error, UserError), last.error
    return last.error


def weights_of(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def manifest(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "manifest.json").read_text(encoding="utf-8")))


def card(folder: Path) -> str:
    return (folder / "MODEL_CARD.md").read_text(encoding="utf-8")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return golden_copy("llama3.1", tmp_path / "モデル")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_calibrated_and_runs(family: str, tmp_path: Path) -> None:
    source = golden_copy(family, tmp_path / "source")
    convert(source, tmp_path / "out", planes=4)
    model = engine.Model(engine.Engine(threads=1), tmp_path / "out")
    tokens = np.load(source / "tokens.npy")
    logits = engine.Session(model, n_ctx=len(tokens), kv="f32").forward(tokens, all_positions=True)
    assert logits is not None
    golden = np.load(source / "logits.npy")
    assert np.corrcoef(logits.ravel(), golden.ravel())[0, 1] > 0.97


def test_diag_costs_less_than_fast_and_more_than_full_on_its_text(source: Path, tmp_path: Path) -> None:
    """Of every matrix the error weighted by its inputs' squares; `diag` says it of its own."""
    convert(source, tmp_path / "diag", planes=2, method="diag")
    errors = {}
    for method in ("full", "diag"):
        convert(source, tmp_path / method / "m", planes=2, method=method)
        entries = manifest(tmp_path / method / "m")["tensors"].values()
        errors[method] = sum(e.get("relative_output_error", 0.0) for e in entries)
    assert errors["full"] < errors["diag"]
    assert weights_of(tmp_path / "diag" / "m") == weights_of(tmp_path / "diag")


@pytest.mark.parametrize("planes", [1, 2, 3])
def test_the_calibrated_rounding_costs_less_on_its_text_than_its_start(
    planes: int, source: Path, tmp_path: Path
) -> None:
    _, events = convert(source, tmp_path / "full", planes=planes)
    errors = [event for event in events if isinstance(event, Metric)]
    kinds = Counter(event.name.partition(":")[0] for event in errors)
    assert kinds == {"matrix_error": 14, "output_error": 2} and all(0 < event.value < 1 for event in errors)
    stored = manifest(tmp_path / "full")["tensors"]
    named = {name: entry for name, entry in stored.items() if name.endswith(".planes")}
    matrices = list(named.values())
    assert len(matrices) == 14
    for name, entry in named.items():
        assert entry["n_planes"] == planes
        if "v_proj" in name or "gate_proj" in name:  # others make up for each other's errors, row by row
            assert entry["relative_output_error"] <= entry["relative_start_error"]
    assert sum(e["relative_output_error"] for e in matrices) < 0.9 * sum(
        e["relative_start_error"] for e in matrices
    )


def test_the_first_token_of_each_window_counts_more(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What H is summed from, beside the inputs that the engine gives for the same windows."""
    seen: list[np.ndarray] = []
    plain: list[np.ndarray] = []
    rotated = calibrate.rotated

    class Counted(curvature.Moments):
        def add(self, x: np.ndarray, pool: Executor) -> None:
            seen.append(x.copy())
            super().add(x, pool)

    def kept(*words: Any) -> np.ndarray:
        turned = rotated(*words)
        plain.append(turned.copy())
        return turned

    monkeypatch.setattr(calibrate, "Moments", Counted)
    monkeypatch.setattr(calibrate, "rotated", kept)
    convert(source, tmp_path / "out", planes=2)
    assert len(seen) == len(plain) == 2 * 4  # layers, inputs
    weights = np.ones((6, 128))
    weights[:, 0] = calibrate.FIRST_TOKEN
    for counted, inputs in zip(seen, plain, strict=True):
        np.testing.assert_allclose(counted, inputs * np.sqrt(weights).reshape(-1, 1), rtol=1e-6)


def test_the_blocks_of_h_are_told_how_many_tokens_there_will_be(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How wide they may be depends on it; too many told, and wide inputs are known too well."""
    told: Counter[str] = Counter()

    class Told(curvature.Moments):
        def __init__(self, cols: int, tokens: int) -> None:
            super().__init__(cols, tokens)
            self.told = tokens

        def curvature(self, check: Callable[[], None] = lambda: None) -> curvature.Curvature:
            assert self.tokens == self.told
            told["all"] += 1
            return super().curvature(check)

    monkeypatch.setattr(calibrate, "Moments", Told)
    monkeypatch.setattr(sensitivity, "Moments", Told)
    convert(source, tmp_path / "out", bits=3.4)
    layers = json.loads((source / "config.json").read_text(encoding="utf-8"))["num_hidden_layers"]
    assert told["all"] == 8 * layers  # four inputs of a layer, measured and rounded


def test_the_manifest_and_the_card_tell_the_method_and_the_text(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "out", bits=3.4)
    parameters = manifest(tmp_path / "out")["parameters"]
    assert (parameters["method"], parameters["bits"]) == ("full", 3.4)
    assert (parameters["calibration"]["windows"], parameters["calibration"]["window"]) == (6, 128)
    assert "prose.txt" in parameters["calibration"]["files"]
    assert len(parameters["calibration"]["sha256"]) == 64
    text = card(tmp_path / "out")
    assert "768 tokens of text" in text and "`prose.txt`" in text
    convert(source, tmp_path / "fast", method="fast")
    assert manifest(tmp_path / "fast")["parameters"] == {"planes": 3, "seed": 0, "method": "fast"}


@pytest.mark.parametrize("method", ["fast", "diag", "full"])
def test_a_budget_of_bits_is_kept(method: str, source: Path, tmp_path: Path) -> None:
    result, _ = convert(source, tmp_path / "out", bits=3.6, method=method)
    assert 3.0 < result.bits_per_weight <= 3.6
    planes = {
        e["n_planes"] for e in manifest(tmp_path / "out")["tensors"].values() if e.get("form") == "planes"
    }
    assert len(planes) > 1


def test_too_few_bits_are_refused_with_the_least(source: Path, tmp_path: Path) -> None:
    error = failure(source, tmp_path / "out", bits=1.0)
    assert error.code == "bits"
    assert error.fields["least"] > 1.6


@pytest.mark.parametrize(
    "more", [FULL, {**FULL, "method": "diag"}, POLISHED], ids=["full", "diag", "measured and polished"]
)
def test_the_result_does_not_depend_on_threads(more: dict[str, Any], source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "one", **{**more, "threads": 1})
    convert(source, tmp_path / "three", **{**more, "threads": 3})
    assert hashes(tmp_path / "one") == hashes(tmp_path / "three")


def test_another_seed_or_text_gives_another_model(source: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{k * k} apples and {k} pears. " for k in range(900)), encoding="utf-8")
    convert(source, tmp_path / "a")
    convert(source, tmp_path / "b", seed=1)
    convert(source, tmp_path / "c", calibration=(str(text),))
    assert len({weights_of(tmp_path / name) for name in "abc"}) == 3
    assert manifest(tmp_path / "c")["parameters"]["calibration"]["files"] == ["text.txt"]


def test_a_gguf_gives_the_same_weights_as_its_folder(source: Path, tmp_path: Path) -> None:
    write_gguf(source, tmp_path / "m.gguf")
    for name, content in (
        open_source(tmp_path / "m.gguf").side_files().items()
    ):  # so that both have one tokenizer
        assert isinstance(content, bytes)
        (source / name).write_bytes(content)
    text = tmp_path / "text.txt"
    text.write_text("The same bytes give the same tokens. " * 90, encoding="utf-8")
    convert(source, tmp_path / "a", calibration=(str(text),))
    convert(tmp_path / "m.gguf", tmp_path / "b", calibration=(str(text),))
    calibration = [manifest(tmp_path / name)["parameters"]["calibration"] for name in "ab"]
    assert calibration[0] == calibration[1]
    assert weights_of(tmp_path / "a") == weights_of(tmp_path / "b")


KILLER = """
import json, os, signal, sys
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.job import Cancel, run_job
source, out, last, more = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
count = 0
def guard(name):
    real = getattr(os, name)
    def wrapper(*args, **more):
        global count
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1
        return real(*args, **more)
    setattr(os, name, wrapper)
for name in ("fsync", "replace", "rename"):
    guard(name)
job = ConvertJob(source, out, threads=1, **more)
print(type(run_job(job, lambda e: None, Cancel())).__name__, count)
"""


def run_killer(source: Path, out: Path, last: int, more: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", KILLER, str(source), str(out), str(last), json.dumps(more)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.parametrize("more", [FULL, POLISHED], ids=["rounded", "measured and polished"])
def test_killed_at_any_moment_and_run_again_it_is_the_same_folder(
    more: dict[str, Any], source: Path, tmp_path: Path
) -> None:
    done = run_killer(source, tmp_path / "whole", -1, more)
    assert done.returncode == 0, done.stderr
    word, count = done.stdout.split()
    assert word == "Finished"
    expected = hashes(tmp_path / "whole")
    for moment in range(3, int(count) - 8, max(1, int(count) // 9)):
        out = tmp_path / f"killed {moment}"
        killed = run_killer(source, out, moment, more)
        assert killed.returncode == -signal.SIGKILL, (moment, killed)
        assert not out.exists()
        convert(source, out, **more)
        assert hashes(out) == expected, moment
        assert not Path(f"{out}.partial").exists()


def stop_at(source: Path, out: Path, share: float, **more: Any) -> None:
    cancel = Cancel()

    def emit(event: Event) -> None:
        if isinstance(event, Progress) and event.done > event.total * share:
            cancel.request()

    job = ConvertJob(str(source), str(out), threads=1, **{**FULL, **more})
    assert isinstance(run_job(job, emit, cancel), Stopped)
    assert not out.exists()


def layer_errors(events: list[Event]) -> list[tuple[int, float]]:
    """The errors of the layers, in the order in which they were told."""
    return [(e.step, e.value) for e in events if isinstance(e, Metric) and e.name == "output_error"]


@pytest.mark.parametrize("share", [0.6, 0.85])
def test_stopped_inside_a_layer_it_goes_on_to_the_same_folder(
    share: float, source: Path, tmp_path: Path
) -> None:
    _, whole = convert(source, tmp_path / "whole")
    out = tmp_path / "out"
    stop_at(source, out, share)
    _, events = convert(source, out)
    assert any(isinstance(event, Note) and event.code == "resumed" for event in events)
    assert hashes(out) == hashes(tmp_path / "whole")
    assert layer_errors(events) == layer_errors(whole)  # those of the first run too, and each once


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_stopped_while_measured_or_polished_it_goes_on_to_the_same_folder(
    share: float, source: Path, tmp_path: Path
) -> None:
    convert(source, tmp_path / "whole", **POLISHED)
    out = tmp_path / "out"
    stop_at(source, out, share, **POLISHED)
    convert(source, out, **POLISHED)
    assert hashes(out) == hashes(tmp_path / "whole")
    assert not Path(f"{out}.partial").exists()


def test_the_polish_brings_it_closer_and_says_so(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "rounded", bits=2.5)
    _, events = convert(source, tmp_path / "polished", bits=2.5, polish=24)
    note = next(event for event in events if isinstance(event, Note) and event.code == "polished")
    assert note.fields["kl_after"] < 0.95 * note.fields["kl_before"]
    told = manifest(tmp_path / "polished")["parameters"]["polish"]
    assert told["kl_after"] == note.fields["kl_after"] and told["steps"] == 24
    gain = f"from {note.fields['kl_before']:.4g} to {note.fields['kl_after']:.4g} nats"
    assert gain in card(tmp_path / "polished") and "24 steps" in card(tmp_path / "polished")
    assert "Norms and biases are unchanged" not in card(tmp_path / "polished")
    assert "Norms and biases are unchanged" in card(tmp_path / "rounded")
    before, after = (
        SafetensorsFile(tmp_path / name / "model.safetensors") for name in ("rounded", "polished")
    )
    assert set(before.tensors) - set(after.tensors) <= {n for n in before.tensors if n.startswith("__pad__")}
    for name in (n for n in before.tensors if n.endswith((".planes", ".int8"))):
        assert stored(before, name) == stored(after, name)  # the integers stay
    changed = [n for n in before.tensors if n.endswith(".scales") and stored(before, n) != stored(after, n)]
    assert len(changed) == 14


def stored(file: SafetensorsFile, name: str) -> bytes:
    entry = file.tensors[name]
    return file.path.read_bytes()[entry.offset : entry.offset + entry.bytes]


def test_a_budget_is_spent_where_the_model_needs_it(source: Path, tmp_path: Path) -> None:
    """One value matrix counts for nothing, because nothing reads it: it gets no more planes than it must."""

    def edit(tensors: dict[str, np.ndarray]) -> None:
        tensors["model.layers.1.self_attn.o_proj.weight"][:] = 0

    edit_tensors(source, edit)
    convert(source, tmp_path / "out", bits=3.4)
    matrices = manifest(tmp_path / "out")["tensors"]
    assert matrices["model.layers.1.self_attn.v_proj.planes"]["n_planes"] == 1
    assert matrices["model.layers.0.self_attn.v_proj.planes"]["n_planes"] > 1


@pytest.mark.parametrize("damage", ["missing", "short", "changed"])
def test_without_a_whole_state_the_layers_are_computed_again(
    damage: str, source: Path, tmp_path: Path
) -> None:
    convert(source, tmp_path / "whole")
    out = tmp_path / "out"
    stop_at(source, out, 0.8)
    state = Path(f"{out}.partial") / calibration_state.NAME
    data = bytearray(state.read_bytes())
    if damage == "missing":
        state.unlink()
    elif damage == "short":
        state.write_bytes(data[:-4])
    else:
        data[-100] ^= 1
        state.write_bytes(data)
    convert(source, out)
    assert hashes(out) == hashes(tmp_path / "whole")


def test_other_text_does_not_go_on_in_the_same_work_folder(source: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("One text. " * 200, encoding="utf-8")
    out = tmp_path / "out"
    cancel = Cancel()

    def emit(event: Event) -> None:
        if isinstance(event, Metric):
            cancel.request()

    job = ConvertJob(str(source), str(out), threads=1, calibration=(str(text),), **FULL)
    assert isinstance(run_job(job, emit, cancel), Stopped)
    text.write_text("Another text. " * 200, encoding="utf-8")
    assert failure(source, out, calibration=(str(text),)).code == "source-changed"
    assert failure(source, out).code == "work-folder-taken"


def test_a_row_of_zeros_and_dead_inputs_are_no_trouble(source: Path, tmp_path: Path) -> None:
    def edit(tensors: dict[str, np.ndarray]) -> None:
        tensors["model.layers.0.mlp.gate_proj.weight"][4] = 0  # its row, and one input of down, are zero
        tensors["model.layers.1.self_attn.v_proj.weight"][:] = 0  # nothing reaches o

    edit_tensors(source, edit)
    _, events = convert(source, tmp_path / "out")
    notes = {event.code for event in events if isinstance(event, Note)}
    assert "dead-inputs" in notes
    model = engine.Model(engine.Engine(threads=1), tmp_path / "out")
    logits = engine.Session(model, n_ctx=8).forward([1, 2, 3], all_positions=True)
    assert logits is not None and np.isfinite(logits).all()


def test_finite_weights_that_are_too_large_are_refused(source: Path, tmp_path: Path) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    edit_tensors(source, lambda tensors: tensors[name][3].__setitem__(slice(None), 3e38))
    assert failure(source, tmp_path / "out").code in ("weight-too-large", "calibration-overflow")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_not_a_number_names_its_tensor(value: float, source: Path, tmp_path: Path) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    edit_tensors(source, lambda tensors: tensors[name].reshape(-1).__setitem__(7, value))
    error = failure(source, tmp_path / "out")
    assert (error.code, error.fields["tensor"]) == ("weight-not-finite", name)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"method": "magic"}, "method"),
        ({"calibration_windows": 0}, "windows"),
        ({"polish": -1}, "polish"),
        ({"method": "fast", "calibration": ("text.txt",)}, "calibration-unused"),
        ({"method": "fast", "polish": 7}, "polish-unused"),
        ({"method": "diag", "polish": 7}, "polish-unused"),
        ({"calibration": ("/nowhere/text.txt",)}, "text-unreadable"),
    ],
)
def test_bad_parameters_are_refused_before_work_begins(
    more: dict[str, Any], code: str, source: Path, tmp_path: Path
) -> None:
    assert failure(source, tmp_path / "out", **more).code == code
    assert not (tmp_path / "out.partial").exists()


def test_a_calibration_text_shorter_than_a_window_is_refused(source: Path, tmp_path: Path) -> None:
    text = tmp_path / "short.txt"
    text.write_text("too short", encoding="utf-8")
    error = failure(source, tmp_path / "out", calibration=(str(text),))
    assert error.code == "calibration-short"
    assert error.fields["tokens"] == 9


@pytest.mark.parametrize("weights, steps", [(1.5e8, polish.STEPS), (1.8e9, polish.STEPS), (3.2e9, 0)])
def test_what_is_not_too_large_is_polished_if_nothing_else_is_said(weights: float, steps: int) -> None:
    plan = [TensorPlan("w", (1000, int(weights) // 1000), PLANES, 2)]
    assert polish.steps_for(plan, "full", None) == steps
    assert polish.steps_for(plan, "full", 7) == 7 and polish.steps_for(plan, "fast", None) == 0
