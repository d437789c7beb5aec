"""What is wrong with a source or a target is named before work starts, and nothing is left behind."""

import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import numpy as np
import pytest
from model_folders import (
    edit_config,
    edit_tensors,
    golden_copy,
    read_config,
    shard,
    tensors_of,
    write_bpe,
    write_gguf,
)
from safetensors.numpy import save_file

from bitconverter.format.errors import UserError
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.convert_work import size_on_disk
from bitconverter.jobs.job import Cancel, Context, Event, Failed, Finished, Progress, Stopped, run_job
from bitconverter.jobs.preflight import PreflightJob, PreflightReport, Work, check, wish_of, work_of
from bitconverter.model import preflight as model_preflight
from bitconverter.model.budget import Wish
from bitconverter.model.gguf_source import expand
from bitconverter.model.open_source import open_source


def report(source: Path, out: Path | None = None, planes: int = 2) -> PreflightReport:
    job = PreflightJob(str(source), None if out is None else str(out), planes)
    last = run_job(job, lambda _: None, Cancel())
    assert isinstance(last, Finished), last
    assert isinstance(last.result, PreflightReport)
    return last.result


def errors(found: PreflightReport) -> list[str]:
    assert found.ok == (not any(item.level == "error" for item in found.items))
    return [item.message for item in found.items if item.level == "error"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return golden_copy("llama2", tmp_path / "モデル 😀 src")


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def edited(change: Callable[[dict[str, np.ndarray]], Any]) -> Callable[[Path], Any]:
    return lambda folder: edit_tensors(folder, change)


def sharded(change: Callable[[Path, list[str]], Any]) -> Callable[[Path], Any]:
    return lambda folder: change(folder, shard(folder, 4))


def write(name: str, text: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_text(text, encoding="utf-8")


def duplicate(folder: Path, files: list[str]) -> None:
    (folder / "model.safetensors.index.json").unlink()
    save_file({"model.norm.weight": np.ones(32, np.float32)}, folder / files[0])


def only_bin(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"x")


BROKEN: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "a missing shard": (
        sharded(lambda f, s: (f / s[2]).unlink()), ["model-00003-of-00004.safetensors is missing"]),
    "two missing shards": (
        sharded(lambda f, s: [(f / s[0]).unlink(), (f / s[3]).unlink()]),
        ["model-00001-of-00004.safetensors is missing", "model-00004-of-00004.safetensors is missing"]),
    "a short shard": (
        sharded(lambda f, s: cut(f / s[1], (f / s[1]).stat().st_size - 1)),
        ["model-00002-of-00004.safetensors is incomplete"]),
    "a shard that is a web page": (
        sharded(lambda f, s: (f / s[1]).write_text("<!DOCTYPE html>" * 9)),
        ["model-00002-of-00004.safetensors cannot be used"]),
    "a shard that is a folder": (
        sharded(lambda f, s: [(f / s[1]).unlink(), (f / s[1]).mkdir()]), ["model-00002-of-00004.safetensors cannot"]),
    "an empty shard": (
        sharded(lambda f, s: cut(f / s[3], 0)), ["model-00004-of-00004.safetensors cannot be used"]),
    "a tensor twice": (sharded(duplicate), ["Tensor model.norm.weight is in more than one shard"]),
    "an index of other folders": (
        lambda f: [shard(f, 2), write("model.safetensors.index.json", '{"weight_map": {"a": "../x"}}')(f)],
        ["model.safetensors.index.json is broken"]),
    "an index with half a character": (
        lambda f: [shard(f, 2), write("model.safetensors.index.json", '{"weight_map": {"a": "\\ud800"}}')(f)],
        ["model.safetensors.index.json is broken"]),
    "a broken index": (
        lambda f: [shard(f, 2), write("model.safetensors.index.json", "{")(f)],
        ["model.safetensors.index.json is broken"]),
    "another format of weights": (only_bin, ["Found pytorch_model.bin, which is another format"]),
    "a missing tensor": (
        edited(lambda t: t.pop("model.layers.1.mlp.up_proj.weight")),
        ["Tensor model.layers.1.mlp.up_proj.weight is missing"]),
    "a wrong shape": (
        edited(lambda t: t.update({"model.norm.weight": np.ones(33, np.float32)})),
        ["Tensor model.norm.weight has the shape [33]; config.json asks for [32]"]),
    "an unknown tensor": (
        edited(lambda t: t.update({"model.layers.0.adapter.weight": np.ones((2, 2), np.float32)})),
        ["Tensor model.layers.0.adapter.weight has no place"]),
    "weights in f64": (
        edited(lambda t: t.update({"model.norm.weight": np.ones(32, np.float64)})),
        ["Tensor model.norm.weight is stored as F64"]),
    "integer weights": (
        edited(lambda t: t.update({"model.norm.weight": np.ones(32, np.int8)})),
        ["Tensor model.norm.weight is stored as I8"]),
    "another architecture": (
        lambda f: edit_config(f, model_type="gemma2", architectures=["Gemma2ForCausalLM"]), ["gemma2"]),
    "a classifier": (
        lambda f: edit_config(f, architectures=["LlamaForSequenceClassification"]),
        ["LlamaForSequenceClassification"]),
    "a number missing in config.json": (
        lambda f: edit_config(f, hidden_size=None), ["hidden_size"]),
    "a GPTQ model": (
        lambda f: edit_config(f, quantization_config={"quant_method": "gptq", "bits": 4}),
        ["already quantized (gptq)"]),
    "a converted model": (
        lambda f: edit_config(f, quantization_config={"quant_method": "ternary_planes"}), ["is converted already"]),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), ["tokenizer.json is missing"]),
    "a broken tokenizer": (write("tokenizer.json", '{"version": "1.0"}'), ["tokenizer.json cannot be used"]),
    "no config": (lambda f: (f / "config.json").unlink(), ["has no config.json"]),
    "a broken config": (write("config.json", "{,"), ["is not valid JSON"]),
    "a config that is a list": (write("config.json", "[]"), ["does not hold a JSON object"]),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_source_is_named_and_nothing_is_left(what: str, source: Path, tmp_path: Path) -> None:
    breaks, expected = BROKEN[what]
    breaks(source)
    found = errors(report(source, tmp_path / "out"))
    assert len(found) == len(expected), found
    for message, part in zip(found, expected, strict=True):
        assert part in message
    last = run_job(ConvertJob(str(source), str(tmp_path / "out")), lambda _: None, Cancel())
    assert isinstance(last, Failed) and isinstance(last.error, UserError)
    assert last.error.code == "preflight"
    assert str(last.error) == "\n".join(found)
    assert {path.name for path in tmp_path.iterdir()} == {source.name}


def test_a_good_source_is_told_in_numbers(source: Path, tmp_path: Path) -> None:
    found = report(source, tmp_path / "out", planes=3)
    assert errors(found) == []
    tensors = tensors_of(source)
    assert (found.name, found.kind, found.family) == (source.name, "safetensors", "llama")
    assert found.parameters == sum(values.size for values in tensors.values())
    assert found.source_bytes == sum(values.nbytes for values in tensors.values())
    assert found.free_bytes is not None and found.free_bytes > found.needed_bytes > found.out_bytes
    last = run_job(ConvertJob(str(source), str(tmp_path / "out"), planes=3), lambda _: None, Cancel())
    assert isinstance(last, Finished)
    written = sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    assert 0.9 * found.out_bytes < last.result.file_bytes <= found.out_bytes  # the same thing: the weights
    assert last.result.source_bytes == found.source_bytes and written <= found.needed_bytes
    assert last.result.bits_per_weight == pytest.approx(found.bits_per_weight)
    warnings = {item.code for item in found.items if item.level == "warning"}
    assert warnings == {"chat-template", "licence"}


@pytest.mark.parametrize(
    ("changes", "code", "fields"),
    [
        ({"model_type": "bert"}, "model-type", {"model_type": "bert"}),
        ({"architectures": ["LlamaModel"]}, "model-task", {"architecture": "LlamaModel"}),
        ({"num_experts": 8}, "architecture", None),
        ({"model_type": None}, "architecture", None),
        ({"model_type": ["bert"]}, "architecture", None),
        ({"architectures": [5]}, "architecture", None),
    ],
)
def test_why_a_model_is_not_run_has_a_code(
    changes: dict[str, Any], code: str, fields: dict[str, Any] | None, source: Path
) -> None:
    edit_config(source, **changes)
    (item,) = [item for item in report(source).items if item.level == "error"]
    assert item.code == code and item.message.endswith(".")
    assert item.fields == ({"why": item.message.rstrip(".")} if fields is None else fields)


def test_many_missing_tensors_are_counted_not_listed(source: Path) -> None:
    edit_tensors(source, lambda tensors: [tensors.pop(name) for name in list(tensors)[3:]])
    found = errors(report(source))
    assert len(found) == model_preflight.NAMED + 1
    assert "more tensors are missing" in found[-1]


def test_several_defects_are_told_at_once(source: Path, tmp_path: Path) -> None:
    files = shard(source, 3)
    (source / files[0]).unlink()
    (source / "tokenizer.json").unlink()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x", encoding="utf-8")
    found = errors(report(source, tmp_path / "out"))
    assert [part for part in (files[0], "tokenizer.json", "not empty") if any(part in text for text in found)] == [
        files[0], "tokenizer.json", "not empty",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (lambda s, _t: s, "is the source itself"),
        (lambda s, _t: s / "out", "lies inside the source"),
        (lambda s, _t: s / "deep" / "out", "lies inside the source"),
        (lambda s, _t: Path(s.anchor), "is the root of a drive"),
        (lambda _s, t: t / "file", "is a file"),
        (lambda _s, t: t / "file" / "out", "cannot be written"),
        (lambda _s, t: t / ("x" * 300) / "out", "cannot be written"),
        (lambda _s, t: t / "full", "exists and is not empty"),
    ],
)
def test_a_bad_target_is_named_and_left_alone(target: Any, why: str, source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine", encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    out = target(source, tmp_path)
    assert any(why in message for message in errors(report(source, out)))
    if out.parent != out:
        last = run_job(ConvertJob(str(source), str(out)), lambda _: None, Cancel())
        assert isinstance(last, Failed) and isinstance(last.error, UserError), last
    assert [path for path in sorted(tmp_path.rglob("*")) if path.name != "deep"] == before


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_link_to_nothing_or_to_itself_is_no_target_and_no_source(source: Path, tmp_path: Path) -> None:
    loop, nowhere = tmp_path / "loop", tmp_path / "nowhere"
    loop.symlink_to(loop)
    nowhere.symlink_to(tmp_path / "none")
    for link in (loop, nowhere):
        (message,) = errors(report(source, link))
        assert "is a link that leads nowhere" in message
        (message,) = errors(report(link, tmp_path / "out"))
        assert "There is no" in message
        last = run_job(ConvertJob(str(source), str(link / "out")), lambda _: None, Cancel())
        assert isinstance(last, Failed) and isinstance(last.error, UserError), last


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_link_to_a_folder_is_no_target_and_both_stay(source: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    link = tmp_path / "link"
    link.symlink_to("empty")
    (message,) = errors(report(source, link))
    assert f"is a link to {tmp_path / 'empty'}" in message
    last = run_job(ConvertJob(str(source), str(link), method="fast"), lambda _: None, Cancel())
    assert isinstance(last, Failed) and isinstance(last.error, UserError), last
    assert link.is_symlink() and not any(link.iterdir()) and not list(tmp_path.glob("*.partial"))


@pytest.mark.skipif(not os.path.ismount("/proc"), reason="where Linux mounts things")
def test_where_a_drive_is_mounted_is_no_target(source: Path) -> None:
    (message,) = errors(report(source, Path("/proc")))
    assert "/proc is the root of a drive" in message


def test_the_current_folder_is_no_target_even_if_it_is_empty(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    for out in (".", ""):
        last = run_job(ConvertJob(str(source), out, method="fast"), lambda _: None, Cancel())
        assert isinstance(last, Failed) and f"{here} is the folder that this command was started in" in str(
            last.error
        )
    assert not any(here.iterdir())


def test_too_little_space_is_said_with_both_numbers(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage._replace(free=1000))
    found = report(source, tmp_path / "out")
    (item,) = [item for item in found.items if item.level == "error"]
    assert item.code == "disk"
    assert item.fields == {"free": 1000, "needed": found.needed_bytes}


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second drive of which the name is known")
def test_where_space_is_missing_drives_that_have_it_are_named(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    room = {"/dev/shm": 8_000_000_000, "/": 1000}

    def drive(mountpoint: str, opts: str = "rw", fstype: str = "ext4") -> SimpleNamespace:
        return SimpleNamespace(mountpoint=mountpoint, opts=opts, fstype=fstype)

    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=room.get(str(path), 1000)))
    for drives, named in (
        ([drive("/"), drive("/dev/shm")], "/dev/shm (8.00 GB)"),
        ([drive("/"), drive("/dev/shm", "ro,nosuid")], None),
        ([drive("/dev/shm", fstype=""), drive("/no such place")], None),
    ):
        monkeypatch.setattr("psutil.disk_partitions", lambda drives=drives: drives)
        (item,) = [item for item in report(source, tmp_path / "out").items if item.level == "error"]
        assert item.fields.get("others") == named
        assert named is None or item.message.endswith(f"There is room on {named}.")


@pytest.mark.parametrize("planes", [0, 5, -1])
def test_a_number_of_planes_out_of_range_is_refused(planes: int, source: Path, tmp_path: Path) -> None:
    last = run_job(ConvertJob(str(source), str(tmp_path / "out"), planes), lambda _: None, Cancel())
    assert isinstance(last, Failed)
    assert "must be 1, 2, 3 or 4" in str(last.error)
    assert not (tmp_path / "out.partial").exists()


def test_a_source_that_is_not_there_is_one_item(tmp_path: Path) -> None:
    found = report(tmp_path / "無い", tmp_path / "out")
    assert [item.code for item in found.items] == ["source-missing"]
    assert not found.ok


def test_a_gguf_tokenizer_that_cannot_be_rebuilt_matters_only_where_text_is_needed(
    source: Path, tmp_path: Path
) -> None:
    path = tmp_path / "m.gguf"
    write_gguf(source, path, metadata=lambda writer: write_bpe(writer, pre="of next year"))
    assert any("of next year" in message for message in errors(report(path)))
    job = ConvertJob(str(path), str(tmp_path / "out"), need_tokenizer=False, method="fast")
    last = run_job(job, lambda _: None, Cancel())
    assert isinstance(last, Finished), last


def test_a_gguf_file_is_checked_too(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    write_gguf(source, path)
    found = report(path, tmp_path / "out")
    assert errors(found) == []
    assert (found.kind, found.family, found.name) == ("gguf", "llama", "m")
    cut(path, path.stat().st_size - 1)
    assert [message for message in errors(report(path)) if "m.gguf is incomplete" in message]


@pytest.mark.parametrize(("kind", "each"), [("F16", 2), ("Q8_0", 4)])
def test_what_the_report_unpacks_of_a_gguf_is_part_of_the_disk(
    kind: str, each: int, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The told bytes are those that the unpacked folder has."""
    path, temporary = tmp_path / "m.gguf", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    quantized = gguf.GGMLQuantizationType[kind]
    write_gguf(
        source,
        path,
        lambda name: quantized if name.endswith("q_proj.weight") else gguf.GGMLQuantizationType.F32,
    )

    def asked(report: bool) -> PreflightReport:
        return check(
            str(path), str(tmp_path / "out"), Wish(), Work(report=report), need_tokenizer=False
        ).report

    expand(path, tmp_path / "unpacked", Context(lambda _: None, Cancel()))
    taken = (tmp_path / "unpacked" / "model.safetensors").stat().st_size
    more = asked(True).needed_bytes - asked(False).needed_bytes
    assert 0 < more <= taken < more + 64 * 1024
    weights = sum(math.prod(t.shape) for t in open_source(str(path)).tensors.values() if "q_proj." in t.name)
    assert more >= each * weights
    usage = shutil.disk_usage(tmp_path)
    free = asked(True).needed_bytes - 1
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage._replace(free=free))
    found = asked(True)
    (warning,) = [item for item in found.items if item.code == "unpacking"]
    assert found.ok and warning.level == "warning" and str(temporary) in warning.message
    assert found.needed_bytes == asked(False).needed_bytes and asked(False).items[-1].code != "unpacking"


def test_preflight_reads_headers_only(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty shards, and no row of any of them is read."""
    from bitconverter.format.safetensors_file import SafetensorsFile

    files = shard(source, 20)
    assert len(files) == 20

    def refuse(*_: Any) -> None:
        raise AssertionError("a tensor was read")

    monkeypatch.setattr(SafetensorsFile, "read_rows", refuse)
    assert errors(report(source)) == []


@pytest.mark.parametrize("added", [{f"x{k}": 200 + k for k in range(9)}, {"one with a gap before it": 60000}])
def test_a_tokenizer_with_ids_that_the_model_has_no_rows_for_is_refused_as_a_chat_would(
    added: dict[str, int], source: Path
) -> None:
    data = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    data["model"]["vocab"].update(added)
    (source / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    (message,) = errors(report(source))
    assert message.startswith(f"The tokenizer has {1 + max(added.values())} tokens, the model only ")
    without_text = PreflightJob(str(source), None, need_tokenizer=False).run(
        Context(lambda _: None, Cancel())
    )
    assert [i.level for i in without_text.items if i.code.startswith("tokenizer")] == ["warning"]


def test_an_index_beside_one_weight_file_is_a_warning(source: Path, tmp_path: Path) -> None:
    whole = (source / "model.safetensors").read_bytes()
    shard(source, 2)
    (source / "model.safetensors").write_bytes(whole)
    found = report(source, tmp_path / "out")
    assert errors(found) == []
    (item,) = [item for item in found.items if item.code == "index-ignored"]
    assert item.level == "warning" and "model.safetensors.index.json" in item.message


@pytest.mark.parametrize(
    ("file", "content", "level"),
    [
        ("tokenizer_config.json", "{", "error"),
        ("tokenizer_config.json", "[]", "error"),
        ("special_tokens_map.json", "{,", "error"),
        ("generation_config.json", "[1,2", "error"),
        ("chat_template.json", "{", "warning"),
        ("chat_template.jinja", "{% if", "warning"),
    ],
)
def test_a_damaged_file_for_chats_is_named_once(file: str, content: str, level: str, source: Path) -> None:
    write(file, content)(source)
    found = [item for item in report(source).items if file in item.message and item.level != "ok"]
    assert [item.level for item in found] == [level], found
    assert "file" in found[0].fields or "reason" in found[0].fields


def test_a_file_that_goes_along_and_cannot_be_read_is_named_before_the_work(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "LICENSE").write_text("mine", encoding="utf-8")
    open_file = Path.open

    def refuse(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path.name == "LICENSE":
            raise PermissionError(13, "Permission denied")
        return open_file(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    assert errors(report(source)) == [f"{source / 'LICENSE'} cannot be read: Permission denied."]


def test_a_template_in_another_file_that_does_not_parse_is_a_warning_with_the_reason(source: Path) -> None:
    write("tokenizer_config.json", json.dumps({"chat_template": "{% for %}"}))(source)
    (item,) = [item for item in report(source).items if item.code.startswith("chat-template")]
    assert item.level == "warning" and "does not work" in item.message
    assert "can still be" in item.message


def test_without_a_need_for_text_damaged_tokenizer_files_are_warnings(source: Path) -> None:
    write("tokenizer_config.json", "{")(source)
    job = PreflightJob(str(source), need_tokenizer=False)
    last = run_job(job, lambda _: None, Cancel())
    assert isinstance(last, Finished) and last.result.ok


def test_a_gguf_template_that_does_not_parse_is_a_warning(source: Path, tmp_path: Path) -> None:
    def metadata(writer: Any) -> None:
        write_bpe(writer)
        writer.add_chat_template("{% if")

    write_gguf(source, tmp_path / "m.gguf", metadata=metadata)
    (item,) = [item for item in report(tmp_path / "m.gguf").items if item.code.startswith("chat-template")]
    assert item.level == "warning" and "does not work" in item.message


def test_a_bad_source_and_a_bad_target_are_told_together(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    found = report(tmp_path / "nothing", tmp_path / "file")
    assert [item.code for item in found.items] == ["source-missing", "output-exists"]
    last = run_job(
        ConvertJob(str(tmp_path / "nothing"), str(tmp_path / "file" / "x")), lambda _: None, Cancel()
    )
    assert isinstance(last, Failed)
    assert "There is no" in str(last.error) or "cannot be written" in str(last.error)


def test_a_quantized_source_is_told_which_models_convert(source: Path) -> None:
    edit_config(source, quantization_config={"quant_method": "awq"})
    (message,) = errors(report(source))
    assert all(name in message for name in ("awq", "Llama", "Mistral", "Qwen2", "Qwen3", "SmolLM2"))


WRONG: list[Any] = [None, 5, -1, 2.5, True, "x", "", [], [1], ["x", 5], {}, {"x": 5}, 10**30, [[]], "\ud800"]
KEYS = [
    "architectures", "model_type", "hidden_size", "num_hidden_layers", "rope_scaling", "rope_parameters",
    "quantization_config", "quantization", "layer_types", "eos_token_id", "vocab_size", "hidden_act",
    "tie_word_embeddings", "sliding_window", "torch_dtype", "rms_norm_eps", "head_dim", "未知",
]  # fmt: skip


WRITTEN = {"architectures", "model_type", "torch_dtype", "未知"}  # a conversion passes these on


@pytest.mark.parametrize("key", KEYS)
def test_a_config_value_of_any_type_is_converted_or_refused_in_words(
    key: str, source: Path, tmp_path: Path
) -> None:
    original = read_config(source)
    for value in WRONG:
        (source / "config.json").write_text(json.dumps({**original, key: value}), encoding="utf-8")
        found = report(source, tmp_path / "out")
        if found.ok and key not in WRITTEN:
            continue
        last = run_job(ConvertJob(str(source), str(tmp_path / "out"), threads=1), lambda _: None, Cancel())
        if found.ok:
            assert isinstance(last, Finished), (value, last)
            shutil.rmtree(tmp_path / "out")
        else:
            assert isinstance(last, Failed) and isinstance(last.error, UserError), (value, last)
            assert last.error.code == "preflight"


@pytest.mark.parametrize(
    "file", ["tokenizer_config.json", "generation_config.json", "special_tokens_map.json"]
)
@pytest.mark.parametrize(
    "key", ["chat_template", "eos_token", "eos_token_id", "tokenizer_class", "added_tokens_decoder"]
)
def test_a_tokenizer_value_of_any_type_gives_a_report(key: str, file: str, source: Path) -> None:
    for value in [*WRONG, [{"name": [], "template": "x"}], [{"name": "default", "template": 5}]]:
        (source / file).write_text(json.dumps({key: value}), encoding="utf-8")
        assert report(source).items


def test_the_room_that_a_method_needs_on_the_way_is_counted(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hidden states of the calibration text twice; until all is rounded what was measured before, the inputs of
    two layers and the head and as many gradients; then, in a polish, the rounded weights."""

    def needed(**more: Any) -> int:
        last = run_job(PreflightJob(str(source), str(tmp_path / "out"), **more), lambda _: None, Cancel())
        assert isinstance(last, Finished)
        return int(last.result.needed_bytes)

    out_bytes = report(source, tmp_path / "out", planes=3).out_bytes
    fast = needed(method="fast")
    states = 2 * 4 * 512 * 64 * 32
    assert out_bytes < fast < 1.1 * (out_bytes + 1024**2)
    assert needed(method="diag") == pytest.approx(fast + 1.05 * states, rel=1e-3)
    measured = 2 * 4 * 512 * 16 * 32 * 3
    full = pytest.approx(fast + 1.05 * (states + measured), rel=1e-3)
    assert needed(method="full", polish=0) == full and needed(method="full") == full
    few = needed(method="full", calibration_windows=1, polish=0)
    assert few == pytest.approx(fast + 1.05 * (states / 64 + measured / 16), rel=1e-3)
    assert needed(method="full", calibration_windows=32, polish=0) < needed(method="full", polish=0)
    monkeypatch.setattr("bitconverter.jobs.measured.states_gone", lambda _work: True)  # all is rounded
    after = needed(method="full", calibration_windows=1)
    assert after == pytest.approx(fast + 1.05 * (states / 64 + out_bytes), rel=1e-3)
    assert needed(method="full", calibration_windows=1, polish=0) < after


@pytest.mark.parametrize(("item", "polish"), [("layer 0", 0), ("layer 1", 0), ("layer 1", 3), ("polish", 3)])
def test_what_an_unfinished_conversion_holds_need_not_be_free_again(
    item: str, polish: int, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk with exactly the room that was asked for at the beginning."""
    job = ConvertJob(
        str(source), str(tmp_path / "out"), planes=2, method="full", polish=polish, calibration_windows=8,
        threads=1,
    )  # fmt: skip
    disk = check(job.source, job.out, wish_of(job), work_of(job)).report.needed_bytes
    cancel = Cancel()

    def emit(event: Event) -> None:
        if isinstance(event, Progress) and event.item.startswith(item):
            cancel.request()

    last = run_job(job, emit, cancel)
    assert isinstance(last, Stopped)
    used = size_on_disk(job.work_dir)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage._replace(free=disk - used))
    items = check(job.source, job.out, wish_of(job), work_of(job)).report.items
    assert used > 100_000 and next(item for item in items if item.code == "disk").level == "ok"
