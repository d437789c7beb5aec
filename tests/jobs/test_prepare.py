"""PrepareJob: every row is used or named with its reason, and what is written is what was shown."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from model_folders import write_byte_tokenizer
from running import error_of, finish

from bitconverter.format.errors import UserError
from bitconverter.format.pack_file import EXAMPLE, TEXT, read_pack
from bitconverter.jobs import prepare
from bitconverter.jobs.job import Cancel, Event, Failed, Note, Progress, Stopped, run_job
from bitconverter.jobs.prepare import PrepareJob
from bitconverter.model.tokenizer import Tokenizer

TEMPLATE = (
    "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
)
GOOD = {"prompt": "two?", "answer": "2."}


@pytest.fixture(scope="module")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer that has an end token, and a chat template."""
    folder = tmp_path_factory.mktemp("prepare") / "モデル"
    folder.mkdir()
    shutil.copyfile(tiny_model / "config.json", folder / "config.json")
    write_byte_tokenizer(folder)
    table = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    table.add_special_tokens(["</s>"])
    table.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return folder


def lines(*rows: Any) -> str:
    return "".join(
        (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows
    )


def job_for(
    model: Path, tmp_path: Path, content: str, name: str = "教材.jsonl", **changes: Any
) -> PrepareJob:
    (tmp_path / name).write_text(content, encoding="utf-8")
    settings = {"out": str(tmp_path / "結果.u32"), "window": 64} | changes
    return PrepareJob(str(model), (str(tmp_path / name),), **settings)


def say(role: str, text: Any = "x") -> dict[str, Any]:
    return {"role": role, "content": text}


# file name, its second row, the field and the code that must be named
MALFORMED: list[tuple[str, Any, str, str]] = [
    ("a.jsonl", "{", "", "not-json"),
    ("a.jsonl", '{"prompt": "a", "answer": "b"', "", "not-json"),
    ("a.jsonl", '{"prompt": "a" "answer": "b"}', "", "not-json"),
    ("a.jsonl", "{'prompt': 'a', 'answer': 'b'}", "", "python-dict"),
    ("a.jsonl", '{"prompt": "a", "answer": "b"},', "", "trailing-comma"),
    ("a.jsonl", "[" * 50_000, "", "not-json"),
    ("a.jsonl", "[1, 2]", "", "not-object"),
    ("a.jsonl", '"text"', "", "not-object"),
    ("a.jsonl", "null", "", "not-object"),
    ("a.jsonl", {"foo": "a"}, "", "unknown-fields"),
    ("a.jsonl", {"prompt": "a"}, "answer", "field-missing"),
    ("a.jsonl", {"output": "a"}, "instruction", "field-missing"),
    ("a.jsonl", {"prompt": "a", "answer": ""}, "answer", "field-empty"),
    ("a.jsonl", {"prompt": "  ", "answer": "b"}, "prompt", "field-empty"),
    ("a.jsonl", {"prompt": "a", "answer": 4}, "answer", "field-number"),
    ("a.jsonl", {"prompt": {"a": 1}, "answer": "b"}, "prompt", "field-kind"),
    ("a.jsonl", {"text": ["a"]}, "text", "field-kind"),
    ("a.jsonl", {"messages": [say("user")]}, "messages", "no-answer"),
    ("a.jsonl", {"messages": "hello"}, "messages", "not-turns"),
    ("a.jsonl", {"messages": [say("assistant"), say("user"), say("assistant")]}, "messages[0].content",
     "begins-with-answer"),
    ("a.jsonl", {"messages": [say("user"), say("assistant"), say("user")]}, "messages[2].content",
     "ends-with-question"),
    ("a.jsonl", {"messages": [say("owner"), say("assistant")]}, "messages[0].role", "role-unknown"),
    ("a.jsonl", {"messages": [say("user"), say("tool")]}, "messages[1]", "role-tool"),
    ("a.jsonl", {"conversations": ["hello"]}, "conversations[0]", "field-kind"),
    ("a.jsonl", {"conversations": [{"from": "human"}]}, "conversations[0].value", "field-missing"),
    ("a.jsonl", '{"prompt": "a", "answer": "\\ud800"}', "answer", "half-character"),
    ("a.jsonl", {"prompt": "a", "answer": "b</s>"}, "answer", "special-token"),
    ("a.jsonl", {"prompt": "a" * 99, "answer": "b"}, "", "too-long"),
    ("a.jsonl", GOOD, "", "same-as"),
    ("a.csv", "only one cell", "", "csv-columns"),
    ("a.csv", "a,b,c", "", "csv-columns"),
    ("a.csv", '"a"b,c', "", "csv-broken"),
    ("a.csv", ",b", "prompt", "field-empty"),
    ("a.tsv", "a\tb\tc", "", "csv-columns"),
]  # fmt: skip


@pytest.mark.parametrize("name, bad, field, code", MALFORMED)
def test_a_malformed_row_is_named_and_the_others_are_used(
    model: Path, tmp_path: Path, name: str, bad: Any, field: str, code: str
) -> None:
    if name.endswith(".jsonl"):
        content, line = lines(GOOD, bad, {"prompt": "b", "answer": "c"}), 2
    else:
        comma = "," if name.endswith(".csv") else "\t"
        content, line = f"prompt{comma}answer\ntwo?{comma}2.\n{bad}\nb{comma}c\n", 3
    events: list[Event] = []
    result = finish(job_for(model, tmp_path, content, name), events)
    assert (result.rows, result.used, result.rejected) == (3, 2, 1)
    (problem,) = result.problems
    assert (problem.file, problem.line, problem.field, problem.code) == (name, line, field, code)
    assert problem.reason and problem.fix
    (saved,) = Path(result.rejects).read_text(encoding="utf-8").splitlines()
    record = json.loads(saved)
    assert (record["file"], record["line"], record["code"]) == (name, line, code)
    assert record["reason"] == problem.reason
    if isinstance(bad, str):
        assert record["row"] == bad
    (note,) = [event for event in events if isinstance(event, Note) and event.code == "row-rejected"]
    assert (note.fields["line"], note.fields["code"]) == (line, code)
    assert len(read_pack(Path(result.out))) == 2


def test_rows_of_a_list_in_one_line_are_told_apart(model: Path, tmp_path: Path) -> None:
    rows = [GOOD, {"prompt": "a", "answer": ""}, GOOD, {"prompt": "b", "answer": "c"}]
    events: list[Event] = []
    result = finish(job_for(model, tmp_path, json.dumps(rows), "a.json", preview=2), events)
    assert (result.used, result.rejected) == (2, 2)
    assert [(p.line, p.place, p.code) for p in result.problems] == [
        (1, 2, "field-empty"), (1, 3, "same-as-in-list"),
    ]  # fmt: skip
    assert "row 1 of a.json" in result.problems[1].reason
    assert [(shown.line, shown.place) for shown in result.previews] == [(1, 1), (1, 4)]
    saved = Path(result.rejects).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["place"] for line in saved] == [2, 3]
    notes = [event for event in events if isinstance(event, Note) and event.code == "row-rejected"]
    assert [note.fields["where"] for note in notes] == ["a.json, row 2 (line 1)", "a.json, row 3 (line 1)"]
    with_lines = finish(job_for(model, tmp_path, lines(GOOD, rows[1]), out=""))
    assert [(p.line, p.place) for p in with_lines.problems] == [(2, 0)]


def test_there_are_thirty_malformed_rows() -> None:
    assert len(MALFORMED) >= 30


@pytest.mark.parametrize("code", ["python-dict", "trailing-comma", "field-number", "begins-with-answer",
                                  "ends-with-question", "half-character"])  # fmt: skip
def test_what_can_be_mended_is_used_when_asked(model: Path, tmp_path: Path, code: str) -> None:
    bad = next(row for _, row, _, found in MALFORMED if found == code)
    first = finish(job_for(model, tmp_path, lines(GOOD, bad), out=""))
    assert (first.used, first.rejected, first.mendable) == (1, 1, 1)
    result = finish(job_for(model, tmp_path, lines(GOOD, bad), mend=True))
    assert (result.rows, result.used, result.mended, result.rejected) == (2, 2, 1, 0)
    assert result.rejects == "" and not list(tmp_path.glob("*rejected*"))


def test_the_pack_holds_the_rows_as_the_preview_shows_them(model: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"{k}?", "answer": f"{k * k}."} for k in range(12)]
    job = job_for(model, tmp_path, lines(*rows), preview=3)
    result = finish(job)
    pack, tokenizer = read_pack(Path(result.out)), Tokenizer(model)
    assert pack.files == ("教材.jsonl",) and pack.tokenizer_sha256 == tokenizer.sha256
    assert pack.places.tolist() == [[0, line] for line in range(1, 13)]
    assert result.held == pack.held.sum() == 1 and (pack.kinds == EXAMPLE).all()
    assert result.learned == pack.mask.sum() and result.tokens == len(pack.tokens)
    assert [shown.line for shown in result.previews] == [1, 2, 3]
    for number, shown in enumerate(result.previews):
        assert shown.pieces == ((f"u:{number}?</s>a:", False), (f"{number * number}.</s>", True))
        tokens, mask = pack.entry(number)
        learned = tokenizer.decode(tokens[mask == 1].tolist(), skip_special_tokens=False)
        assert learned == shown.pieces[1][0]
    looked = finish(dataclasses.replace(job, out="", preview=1))
    assert (looked.out, looked.rejects, len(looked.previews)) == ("", "", 1)
    assert looked.tokens == result.tokens


def test_the_same_files_and_seed_give_the_same_bytes(model: Path, tmp_path: Path) -> None:
    rows = lines(*({"prompt": f"{k}?", "answer": "x"} for k in range(30)))
    contents = []
    for seed, name in ((0, "a"), (0, "a"), (1, "a")):
        out = tmp_path / f"{len(contents)}" / f"{name}.u32"
        out.parent.mkdir()
        finish(job_for(model, tmp_path, rows, out=str(out), seed=seed))
        contents.append(out.read_bytes())
    assert contents[0] == contents[1] != contents[2]


def test_answers_of_single_tokens_are_labels(model: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"{k}?", "answer": "y" if k % 2 else "n"} for k in range(6)]
    assert set(finish(job_for(model, tmp_path, lines(*rows), out="")).labels) == {"y", "n"}
    for more in ({"prompt": "a?", "answer": "maybe"}, {"text": "a"}):
        assert finish(job_for(model, tmp_path, lines(*rows, more), out="")).labels == ()
    assert finish(job_for(model, tmp_path, lines(*rows[:1]), out="")).labels == ()


def test_plain_leaves_the_template_out(model: Path, tmp_path: Path) -> None:
    result = finish(job_for(model, tmp_path, lines(GOOD), style="plain", preview=1, out=""))
    assert not result.templated
    assert result.previews[0].pieces == (("two?", False), ("2.</s>", True))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp932", "euc_jp"])
def test_every_encoding_gives_the_same_tokens(model: Path, tmp_path: Path, encoding: str) -> None:
    table = "質問,回答\n日本の首都は?,東京です。\n空の色は?,あおいろです。\n"
    (tmp_path / "a.csv").write_bytes(table.encode(encoding))
    result = finish(PrepareJob(str(model), (str(tmp_path / "a.csv"),), preview=2))
    assert (result.rows, result.rejected) == (2, 0)
    assert result.previews[0].pieces[1] == ("東京です。</s>", True)
    assert result.files[0].encoding.replace("_", "") in encoding.replace("-", "").replace("_", "") + "sig"


def test_a_line_with_damaged_letters_is_named(model: Path, tmp_path: Path) -> None:
    good = [lines({"prompt": f"質問{k}", "answer": "回答です。"}).encode() for k in range(4)]
    (tmp_path / "a.jsonl").write_bytes(good[0] + good[1][:15] + b"\xff" + good[1][15:] + good[2] + good[3])
    result = finish(PrepareJob(str(model), (str(tmp_path / "a.jsonl"),), window=200))
    assert [(p.line, p.code) for p in result.problems] == [(2, "damaged-letters")]
    assert (result.rows, result.used) == (4, 3)


def test_folders_several_files_and_texts(model: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    (notes / "deep").mkdir(parents=True)
    (notes / "b.MD").write_text("# b\n", encoding="utf-8")
    (notes / "a.txt").write_text("a" * 500, encoding="utf-8")
    (notes / "deep" / "c.json").write_text(json.dumps([GOOD, {"text": "c"}]), encoding="utf-8")
    (notes / "picture.png").write_bytes(b"x")
    (notes / ".hidden.txt").write_text("no", encoding="utf-8")
    (notes / "old.rejected.jsonl").write_text("no", encoding="utf-8")
    (tmp_path / "x.tsv").write_text("prompt\tanswer\nq\ta\n", encoding="utf-8")
    events: list[Event] = []
    out = tmp_path / "o.u32"
    named = (str(tmp_path / "x.tsv"), str(notes), str(notes / "a.txt"))  # named twice, read once
    result = finish(PrepareJob(str(model), named, str(out), window=64), events)
    assert [(f.name, f.rows) for f in result.files] == [
        ("x.tsv", 1),
        ("a.txt", 1),
        ("b.MD", 1),
        ("deep/c.json", 2),
    ]
    assert (result.texts, result.examples) == (3, 2)
    (left_out,) = [e for e in events if isinstance(e, Note) and e.code == "files-left-out"]
    assert left_out.fields["count"] == 3
    progress = [event for event in events if isinstance(event, Progress)]
    assert progress[-1].done == progress[-1].total and "deep/c.json" in [p.item for p in progress]
    kinds = read_pack(out).kinds.tolist()
    assert kinds.count(EXAMPLE) == 2 and kinds.count(TEXT) == len(kinds) - 2 > 3


def test_raw_token_ids_are_imported_with_their_mask(model: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer(model)
    end = tokenizer.end_id or 0
    ids = [5, 6, 7, end, 8, 9, end, 10, 11]
    path = tmp_path / "raw.u32"
    path.write_bytes(np.array(ids, "<u4").tobytes())
    out = tmp_path / "a.u32"
    finish(PrepareJob(str(model), (str(path),), str(out), window=16))
    pack = read_pack(out)
    assert pack.kinds.tolist() == [TEXT] * 3 and pack.tokens.tolist() == ids
    path.with_suffix(".mask").write_bytes(bytes([0, 0, 1, 1, 0, 0, 0, 1, 1]))
    masked = tmp_path / "b.u32"
    result = finish(PrepareJob(str(model), (str(path),), str(masked), window=16))
    pack = read_pack(masked)
    assert pack.kinds.tolist() == [EXAMPLE] * 2 and pack.mask.tolist() == [0, 0, 1, 1, 0, 1]
    assert [(p.line, p.code) for p in result.problems] == [(2, "nothing-learned")]
    path.write_bytes(np.array([10**6], "<u4").tobytes())
    path.with_suffix(".mask").unlink()
    assert error_of(PrepareJob(str(model), (str(path),))).code == "raw-tokenizer"
    assert error_of(PrepareJob(str(model), (str(out),))).code == "lesson-pack"


def test_what_is_of_no_use_is_set_apart_where_that_is_wanted(model: Path, tmp_path: Path) -> None:
    good = job_for(model, tmp_path, lines(GOOD))
    named = {
        name: tmp_path / name for name in ("x.exe", "binary.txt", "bad.u32", "none.txt", "empty", "cut.pdf")
    }
    named["x.exe"].write_bytes(b"MZ")
    named["cut.pdf"].write_bytes(b"%PDF-1.7")
    named["binary.txt"].write_bytes(bytes(range(256)) * 20)
    named["bad.u32"].write_bytes(np.array([10**6], "<u4").tobytes())
    named["empty"].mkdir()
    bad = tuple(map(str, named.values()))
    result = finish(dataclasses.replace(good, inputs=(*bad, *good.inputs), apart=True))
    assert result.used == 1 and {each.path for each in result.apart} == set(bad)
    codes = {Path(each.path).name: each.error.code for each in result.apart}
    assert codes == {
        "x.exe": "lesson-kind", "binary.txt": "lesson-binary", "bad.u32": "raw-tokenizer",
        "none.txt": "lesson-file-missing", "empty": "lesson-folder-empty", "cut.pdf": "document-broken",
    }  # fmt: skip
    assert read_pack(Path(good.out)).kinds.tolist() == [EXAMPLE]
    assert error_of(dataclasses.replace(good, out="", inputs=bad, apart=True)).code == "lesson-kind"
    assert error_of(dataclasses.replace(good, out="", inputs=(*good.inputs, *bad))).code == "lesson-kind"


def test_what_cannot_begin_is_said(model: Path, tmp_path: Path) -> None:
    job = job_for(model, tmp_path, lines(GOOD))
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.bin").write_bytes(b"x")
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "there.u32").write_bytes(b"")
    for changes, code in (
        ({"window": 1}, "prepare-setting"),
        ({"share": 0.95}, "prepare-setting"),
        ({"seed": -1}, "prepare-setting"),
        ({"style": "x"}, "prepare-setting"),
        ({"out": "a.txt"}, "prepare-setting"),
        ({"out": str(tmp_path / "there.u32")}, "output-exists"),
        ({"inputs": (str(tmp_path / "none.txt"),)}, "lesson-file-missing"),
        ({"inputs": (str(tmp_path / "a.bin"),)}, "lesson-kind"),
        ({"inputs": (str(tmp_path / "binary.txt"),)}, "lesson-binary"),
        ({"inputs": (str(tmp_path / "empty"),)}, "lesson-folder-empty"),
        ({"model": str(tmp_path / "empty")}, "no-tokenizer"),
    ):
        assert error_of(dataclasses.replace(job, **changes)).code == code
    nothing = error_of(job_for(model, tmp_path, "{\n"))
    assert nothing.code == "prepare-nothing" and "line 1" in str(nothing)
    assert error_of(job_for(model, tmp_path, "[]", "a.json")).code == "prepare-empty"
    assert not list(tmp_path.glob("結果*.u32"))
    looked = finish(job_for(model, tmp_path, "{\n", out=""))
    assert (looked.rows, looked.used, looked.tokens) == (1, 0, 0)


def test_a_model_without_a_template(tiny_model: Path, tmp_path: Path) -> None:
    result = finish(job_for(tiny_model, tmp_path, lines(GOOD), out=""))
    assert not result.templated and result.used == 1
    assert error_of(job_for(tiny_model, tmp_path, lines(GOOD), style="chat")).code == "no-chat-template"


def test_cancelled_it_leaves_nothing(model: Path, tmp_path: Path) -> None:
    job = job_for(model, tmp_path, lines(*({"prompt": f"{k}", "answer": "a"} for k in range(200))))
    cancel = Cancel()

    def emit(event: Event) -> None:
        if isinstance(event, Progress):
            cancel.request()

    assert isinstance(run_job(job, emit, cancel), Stopped)
    assert [path.name for path in tmp_path.iterdir()] == ["教材.jsonl"]


def test_a_file_of_a_folder_that_is_no_text_costs_itself_alone(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "in" / "b.json").write_bytes(b"PK\x03\x04" + bytes(100))
    (tmp_path / "in" / "c.jsonl").write_text(lines(GOOD), encoding="utf-8")
    (tmp_path / "in" / "d.txt").write_text("gone before it is read", encoding="utf-8")
    found = prepare.find_inputs

    def lose_one(named: Any, *more: Any) -> Any:
        result = found(named)
        (tmp_path / "in" / "d.txt").unlink(missing_ok=True)
        return result

    monkeypatch.setattr(prepare, "find_inputs", lose_one)
    result = finish(PrepareJob(str(model), (str(tmp_path / "in"),), str(tmp_path / "o.u32"), window=64))
    assert (result.rows, result.used, result.rejected) == (4, 1, 3)
    assert [(p.file, p.line, p.code) for p in result.problems] == [
        ("a.txt", 1, "no-text"), ("b.json", 1, "packed-file"), ("d.txt", 1, "file-gone"),
    ]  # fmt: skip
    assert [(f.name, f.used, f.rejected) for f in result.files][2] == ("c.jsonl", 1, 0)


def test_a_packed_file_is_named_as_that(model: Path, tmp_path: Path) -> None:
    for begin, kind in (
        (b"PK\x03\x04", "ZIP"),
        (b"\x1f\x8b", "gzip"),
        (b"%PDF-1.7", "PDF"),
        (b"PAR1", "Parquet"),
    ):
        (tmp_path / "a.json").write_bytes(begin + bytes(100))
        error = error_of(PrepareJob(str(model), (str(tmp_path / "a.json"),)))
        assert error.code == "lesson-packed" and error.fields["kind"] == kind and kind in str(error)


def test_zero_bytes_cost_their_rows_alone(model: Path, tmp_path: Path) -> None:
    good = lines(*({"prompt": f"{k}?", "answer": "x"} for k in range(5)))
    (tmp_path / "a.jsonl").write_bytes(
        good.encode() + b'{"prompt": "a", "answer": "b\0c"}\n' + lines(GOOD).encode()
    )
    result = finish(PrepareJob(str(model), (str(tmp_path / "a.jsonl"),), window=64))
    assert [(p.line, p.code) for p in result.problems] == [(6, "zero-byte")] and result.used == 6
    written = finish(job_for(model, tmp_path, lines(GOOD, '{"prompt": "a", "answer": "b\\u0000c"}'), out=""))
    assert [(p.line, p.field, p.code, p.mends) for p in written.problems] == [
        (2, "answer", "zero-letter", True)
    ]
    mended = finish(
        job_for(model, tmp_path, lines('{"prompt": "a", "answer": "b\\u0000c"}'), mend=True, preview=1)
    )
    assert mended.previews[0].pieces[1] == ("bc</s>", True)
    for place in (b"\0\n", b"\n\0"):  # also one beside a line end
        (tmp_path / "a.jsonl").write_bytes(good.encode().replace(b"\n", place, 1))
        result = finish(PrepareJob(str(model), (str(tmp_path / "a.jsonl"),), window=64))
        assert [p.code for p in result.problems] == ["zero-byte"] and result.used == 4
    # text in UTF-16 without a mark has such bytes too, and is no text of single bytes
    (tmp_path / "b.csv").write_bytes("prompt,answer\r\nhello,you there friend\r\n".encode("utf-16-le") * 3)
    assert (
        finish(PrepareJob(str(model), (str(tmp_path / "b.csv"),), window=64)).files[0].encoding == "utf_16_le"
    )


def test_no_window_is_longer_than_the_model_reads(model: Path, tmp_path: Path) -> None:
    most = json.loads((model / "config.json").read_text(encoding="utf-8"))["max_position_embeddings"]
    rows = lines(GOOD, {"prompt": "a" * 100, "answer": "b"}, {"prompt": "a" * most, "answer": "b"})
    small = finish(job_for(model, tmp_path, rows, out=""))
    assert [(p.line, p.code) for p in small.problems] == [(2, "too-long"), (3, "too-long-for-model")]
    assert f"--window {small.problems[0].fields['needed']}" in small.problems[0].fix
    assert "--window" not in small.problems[1].fix and str(most) in small.problems[1].reason
    large = finish(job_for(model, tmp_path, rows, window=1 << 20))
    assert [(p.line, p.code) for p in large.problems] == [(3, "too-long-for-model")]
    assert read_pack(Path(large.out)).window == most


def test_the_rejected_rows_of_before_do_not_stay(model: Path, tmp_path: Path) -> None:
    first = finish(job_for(model, tmp_path, lines(GOOD, "{")))
    assert Path(first.rejects).is_file()
    Path(first.out).unlink()
    finish(job_for(model, tmp_path, lines(GOOD)))
    assert not Path(first.rejects).exists()


@pytest.mark.parametrize("bad", ["", "{"])
def test_an_input_is_not_replaced_by_the_rejected_rows(model: Path, tmp_path: Path, bad: str) -> None:
    content = lines(GOOD, *([bad] if bad else []))
    job = job_for(model, tmp_path, content, "fix.rejected.jsonl", out=str(tmp_path / "fix.u32"))
    error = error_of(job)
    assert error.code == "rejects-in-way" and "fix.rejected.jsonl" in str(error)
    assert (tmp_path / "fix.rejected.jsonl").read_text(encoding="utf-8") == content
    assert not Path(job.out).exists()
    assert finish(dataclasses.replace(job, out=str(tmp_path / "other.u32"))).used == 1
    assert (tmp_path / "fix.rejected.jsonl").read_text(encoding="utf-8") == content


def test_rejected_rows_as_an_input_are_not_replaced_either(model: Path, tmp_path: Path) -> None:
    first = finish(job_for(model, tmp_path, lines(GOOD, "{")))
    Path(first.out).unlink()
    kept = Path(first.rejects).read_bytes()
    assert error_of(PrepareJob(str(model), (first.rejects,), first.out)).code == "rejects-in-way"
    assert Path(first.rejects).read_bytes() == kept


def test_no_file_of_somebody_else_makes_room_for_the_rejected_rows(model: Path, tmp_path: Path) -> None:
    job = job_for(model, tmp_path, lines(GOOD, "{"))
    beside = Path(finish(job).rejects)
    own = beside.read_bytes()
    for content in (b"", b"mine\n", own + b"mine\n", own + b'{"prompt": "a", "answer": "b"}\n', own[:-1]):
        Path(job.out).unlink(missing_ok=True)
        beside.write_bytes(content)
        for text in (lines(GOOD), lines(GOOD, "{")):
            assert error_of(job_for(model, tmp_path, text)).code == "rejects-in-way"
            assert beside.read_bytes() == content and not Path(job.out).exists()


def test_a_file_that_comes_while_rows_are_read_stays(model: Path, tmp_path: Path) -> None:
    job = job_for(model, tmp_path, lines(GOOD))
    beside = Path(job.out).with_suffix(".rejected.jsonl")

    def emit(event: Event) -> None:
        beside.write_bytes(b"mine")

    last = run_job(job, emit, Cancel())
    assert isinstance(last, Failed) and isinstance(last.error, UserError)
    assert last.error.code == "rejects-in-way" and beside.read_bytes() == b"mine"


def test_where_no_row_can_be_used_the_rejected_ones_are_saved(model: Path, tmp_path: Path) -> None:
    job = job_for(model, tmp_path, lines("{", {"foo": "a"}))
    error = error_of(job)
    saved = Path(error.fields["rejects"]).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["code"] for line in saved] == ["not-json", "unknown-fields"]
    assert error.fields["rejects"] in str(error) and not Path(job.out).exists()
    again = finish(job_for(model, tmp_path, lines(GOOD)))  # corrected, under the same name
    assert again.used == 1 and not Path(error.fields["rejects"]).exists()


def test_a_place_that_cannot_be_written_is_named(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Event] = []
    last = run_job(
        job_for(model, tmp_path, lines(GOOD), out=str(tmp_path / "none" / "a.u32")), events.append, Cancel()
    )
    assert isinstance(last, Failed) and isinstance(last.error, UserError)
    assert last.error.code == "folder-unwritable" and str(tmp_path / "none") in str(last.error)
    assert not [event for event in events if isinstance(event, Note)]  # said before anything is read

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(prepare, "write_pack", refuse)
    assert error_of(job_for(model, tmp_path, lines(GOOD))).code == "folder-unwritable"

    def fill(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prepare, "write_pack", fill)
    error = error_of(job_for(model, tmp_path, lines(GOOD)))
    assert error.code == "prepare-full" and str(tmp_path) in str(error) and "Make room" in str(error)


def test_a_pack_that_comes_while_rows_are_read_stays(model: Path, tmp_path: Path) -> None:
    """Of another preparation with the same name, say."""
    job = job_for(model, tmp_path, lines(GOOD))
    last = run_job(job, lambda _: Path(job.out).write_bytes(b"mine"), Cancel())
    assert isinstance(last, Failed) and isinstance(last.error, UserError)
    assert last.error.code == "output-exists" and Path(job.out).read_bytes() == b"mine"
    assert not [path for path in tmp_path.iterdir() if path.name.endswith("-tmp")]


def test_where_nothing_can_be_learned_what_would_help_is_said(model: Path, tmp_path: Path) -> None:
    error = error_of(job_for(model, tmp_path, "こんにちは,やあ\nさようなら,またね\n", "a.csv"))
    assert error.code == "prepare-nothing" and "in its first line" in str(error)


def test_only_the_first_rejected_rows_are_listed_and_all_are_saved(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "MOST_LISTED", 5)
    result = finish(job_for(model, tmp_path, lines(GOOD, *["{"] * 20)))
    assert (result.rejected, len(result.problems)) == (20, 5)
    assert len(Path(result.rejects).read_text(encoding="utf-8").splitlines()) == 20


def test_rows_are_told_twice_in_files_of_one_name_too(model: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.jsonl").write_text(
            lines(GOOD, {"prompt": folder, "answer": "c"}), encoding="utf-8"
        )
    inputs = (str(tmp_path / "a" / "x.jsonl"), str(tmp_path / "b" / "x.jsonl"))
    result = finish(PrepareJob(str(model), inputs, str(tmp_path / "o.u32"), window=64))
    assert (result.used, result.rejected) == (3, 1)
