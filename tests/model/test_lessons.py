"""Text and examples as windows: what is learned, and which rows are refused."""

import dataclasses
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from tokenizers import processors

from bitconverter.engine import Cancel
from bitconverter.format.errors import UserError
from bitconverter.format.pack_file import read_pack, write_pack
from bitconverter.format.row_problem import Mending
from bitconverter.model.lesson_encoder import LessonEncoder
from bitconverter.model.lesson_pack import PackBuilder
from bitconverter.model.lesson_shapes import shape_of
from bitconverter.model.lessons import Lessons, label_tokens, read_lessons
from bitconverter.model.tokenizer import Tokenizer


@pytest.fixture
def tokenizer(tiny_model: Path) -> Tokenizer:
    return Tokenizer(tiny_model)


def read(path: Path, text: str, tokenizer: Tokenizer, window: int = 16) -> Lessons:
    path.write_text(text, encoding="utf-8")
    return read_lessons(str(path), tokenizer, window, Cancel())


def test_plain_text_is_cut_into_windows(tokenizer: Tokenizer, tmp_path: Path) -> None:
    text = "the quick brown fox jumps over the lazy dog"
    ids = tokenizer.encode(text, add_special_tokens=False)
    lessons = read(tmp_path / "a.txt", text, tokenizer, 8)
    assert lessons.tokens.shape == lessons.targets.shape == ((len(ids) - 1) // 8, 8)
    assert lessons.tokens.reshape(-1).tolist() == ids[: lessons.tokens.size]
    assert lessons.targets.reshape(-1).tolist() == ids[1 : lessons.tokens.size + 1]


def test_only_the_answer_is_learned(tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = [{"prompt": "two plus two is", "answer": " four"}, {"prompt": "a", "answer": "b", "more": 1}]
    text = "\n\n".join(json.dumps(row) for row in rows) + "\n"
    lessons = read(tmp_path / "a.JSONL", text, tokenizer, 40)
    end = [min(tokenizer.eos_ids)] if tokenizer.eos_ids else []
    for row, tokens, targets in zip(rows, lessons.tokens, lessons.targets, strict=True):
        prompt = tokenizer.encode(str(row["prompt"]), add_special_tokens=False)
        answer = tokenizer.encode(str(row["answer"]), add_special_tokens=False) + end
        ids = prompt + answer
        assert tokens[: len(ids) - 1].tolist() == ids[:-1]
        assert targets[targets >= 0].tolist() == answer
        assert (targets[: len(prompt) - 1] == -1).all() and (targets[len(ids) - 1 :] == -1).all()
    assert lessons.tokens.shape[1] % 16 == 0 and lessons.tokens.shape[1] <= 48


def test_labels_alone_are_learned(tokenizer: Tokenizer, tmp_path: Path) -> None:
    labels = label_tokens(tokenizer, ("y", "n"))
    path = tmp_path / "a.jsonl"
    rows = [{"prompt": "two?", "answer": "y"}, {"prompt": "three?", "answer": "n"}]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    lessons = read_lessons(str(path), tokenizer, 16, Cancel(), labels)
    for row, targets in zip(rows, lessons.targets, strict=True):
        assert np.flatnonzero(targets >= 0).tolist() == [len(row["prompt"]) - 1]
        assert targets.max() == labels[row["answer"]]
    path.write_text('{"prompt": "a", "answer": "maybe"}', encoding="utf-8")
    with pytest.raises(UserError, match="'maybe' is not one of the labels"):
        read_lessons(str(path), tokenizer, 16, Cancel(), labels)
    for bad in (("yes", "n"), ("y", "y"), ("", "n")):
        with pytest.raises(UserError, match="one token of its own") as raised:
            label_tokens(tokenizer, bad)
        assert raised.value.code == "lesson-label"
    text = tmp_path / "a.txt"
    text.write_text("a long text", encoding="utf-8")
    with pytest.raises(UserError, match=r"must be a \.jsonl"):
        read_lessons(str(text), tokenizer, 2, Cancel(), labels)


@pytest.mark.parametrize(
    "line, reason",
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"prompt": "a"}', "it has no answer"),
        ('{"prompt": 1, "answer": "b"}', "its prompt is the number 1, not a text"),
        ('{"prompt": "", "answer": "b"}', "gives no token"),
        ('{"prompt": "a", "answer": ""}', "gives no token"),
        (json.dumps({"prompt": "a" * 30, "answer": "b"}), "a window holds 17"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_bad_row_is_named(tokenizer: Tokenizer, tmp_path: Path, line: str, reason: str) -> None:
    good = '{"prompt": "a", "answer": "b"}\n'
    with pytest.raises(UserError, match=reason) as raised:
        read(tmp_path / "a.jsonl", good + "\n" + line + "\n" + good, tokenizer)
    assert raised.value.code == "lesson-row"
    assert raised.value.fields["line"] == 3


def test_too_little_is_said(tokenizer: Tokenizer, tmp_path: Path) -> None:
    for name, text in (
        ("a.txt", "a b c"),
        ("a.jsonl", '{"prompt": "a", "answer": "b"}'),
    ):
        with pytest.raises(UserError, match="at least 2") as raised:
            read(tmp_path / name, text, tokenizer)
        assert raised.value.code == ("lesson-short" if name == "a.txt" else "lesson-few-examples")
        assert ("smaller window" in str(raised.value)) == (name == "a.txt")


def test_the_split_depends_on_the_seed_alone() -> None:
    tokens = np.arange(40, dtype=np.int32).reshape(20, 2)
    learn, check = Lessons(tokens, tokens).split(0.1, 5)
    again, _ = Lessons(tokens, tokens).split(0.1, 5)
    other, _ = Lessons(tokens, tokens).split(0.1, 6)
    assert len(check.tokens) == 2 and len(learn.tokens) == 18
    assert sorted(np.concatenate([learn.tokens, check.tokens])[:, 0].tolist()) == tokens[:, 0].tolist()
    np.testing.assert_array_equal(learn.tokens, again.tokens)
    assert not np.array_equal(learn.tokens, other.tokens)
    learn, check = Lessons(tokens[:2], tokens[:2]).split(0.1, 5)
    assert len(learn.tokens) == len(check.tokens) == 1


def packed(
    folder: Path, tokenizer: Tokenizer, rows: list[dict[str, str]], window: int = 32, **changes: object
) -> str:
    encoder = LessonEncoder(tokenizer, None, window)
    builder = PackBuilder(window, bool(changes.pop("together", False)))
    for number, row in enumerate(rows, 1):
        builder.add(encoder.encode(shape_of(row, Mending(False))), 0, number)
    pack = builder.pack(["rows.jsonl"], "a", tokenizer.sha256, 0.1, 0, {})
    write_pack(folder / "a.u32", dataclasses.replace(pack, **changes))
    return str(folder / "a.u32")


ROWS = [{"prompt": f"{k}?", "answer": "y" if k % 2 else "n"} for k in range(20)]


def test_a_pack_is_a_lesson_with_its_own_split(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = packed(tmp_path, tokenizer, ROWS)
    lessons = read_lessons(path, tokenizer, 32, Cancel())
    assert lessons.held is not None and lessons.held.sum() == 2
    learn, check = lessons.split(0.5, 7)  # the pack's own share and seed count
    assert (len(learn.tokens), len(check.tokens)) == (18, 2)
    for tokens, targets in zip(lessons.tokens, lessons.targets, strict=True):
        (place,) = np.flatnonzero(targets >= 0)[:1]
        assert tokenizer.decode(tokens[: place + 1].tolist()).endswith("?")


def test_a_pack_with_labels(tokenizer: Tokenizer, tmp_path: Path) -> None:
    labels = label_tokens(tokenizer, ("y", "n"))
    lessons = read_lessons(packed(tmp_path, tokenizer, ROWS), tokenizer, 32, Cancel(), labels)
    assert ((lessons.targets >= 0).sum(axis=1) == 1).all()
    assert set(lessons.targets[lessons.targets >= 0].tolist()) == set(labels.values())
    bad = packed(tmp_path, tokenizer, [*ROWS, {"prompt": "a?", "answer": "maybe"}])
    with pytest.raises(UserError, match=r"rows\.jsonl, line 21 .*'maybe'"):
        read_lessons(bad, tokenizer, 32, Cancel(), labels)
    for rows, together in (([*ROWS, {"text": "a text"}], False), (ROWS, True)):
        with pytest.raises(UserError) as raised:
            path = packed(tmp_path, tokenizer, rows, together=together)
            read_lessons(path, tokenizer, 32, Cancel(), labels)
        assert raised.value.code == "lesson-label"


def test_a_pack_that_does_not_fit_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    long = [*ROWS, {"prompt": "a" * 30, "answer": "y"}]
    with pytest.raises(UserError, match="--window 31") as raised:
        read_lessons(packed(tmp_path, tokenizer, long), tokenizer, 16, Cancel())
    assert raised.value.code == "pack-window"
    with pytest.raises(UserError) as raised:
        path = packed(tmp_path, tokenizer, ROWS, tokenizer_sha256="cd" * 32)
        read_lessons(path, tokenizer, 32, Cancel())
    assert raised.value.code == "pack-tokenizer"
    with pytest.raises(UserError) as raised:
        read_lessons(str(tmp_path / "none.u32"), tokenizer, 32, Cancel())
    assert raised.value.code == "text-unreadable"
    with pytest.raises(UserError) as raised:
        read_lessons(packed(tmp_path, tokenizer, ROWS[:1]), tokenizer, 32, Cancel())
    assert raised.value.code == "lesson-few-examples"


def test_of_an_answer_that_is_no_label_prepare_is_no_help(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "a", "answer": " b"}\n', encoding="utf-8")
    with pytest.raises(UserError, match="is not one of the labels") as raised:
        read_lessons(str(tmp_path / "a.jsonl"), tokenizer, 32, Cancel(), {"b": 1, "c": 2})
    assert raised.value.code == "lesson-row" and "prepare" not in str(raised.value)
    assert "answer with one of the labels" in str(raised.value)


UNPREPARED = [
    ("messages.jsonl", '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}',
     "it holds conversations, as OpenAI writes them"),
    ("chats.jsonl", '{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}',
     "it holds conversations, as ShareGPT writes them"),
    ("alpaca.jsonl", '{"instruction": "q", "input": "", "output": "a"}', "Alpaca's rows"),
    ("pairs.jsonl", '{"question": "q", "answer": "a"}', "questions and answers under other names"),
    ("texts.jsonl", '{"text": "a long text"}', "texts"),
    ("rows.json", '[{"prompt": "q", "answer": "a"}]', "it is JSON, and not a row a line"),
    ("table.csv", "prompt,answer\nq,a\n", "it is a table"),
    ("table.TSV", "prompt\tanswer\nq\ta\n", "it is a table"),
    ("paper.pdf", "%PDF-1.7", "it is a PDF document"),
    ("report.docx", "PK", "it is a Word document"),
]  # fmt: skip


@pytest.mark.parametrize("name, text, kind", UNPREPARED)
def test_material_that_is_not_prepared_is_named_with_the_command(
    tokenizer: Tokenizer, tmp_path: Path, name: str, text: str, kind: str
) -> None:
    path = tmp_path / "my files" / name
    path.parent.mkdir()
    with pytest.raises(UserError, match=kind) as raised:
        read(path, text, tokenizer)
    assert raised.value.code == "lesson-unprepared"
    command = f"bitconverter prepare '{tokenizer.folder}' '{path}' '{path.with_suffix('.u32')}'"
    assert raised.value.fields["command"].replace('"', "'").replace("'", "") == command.replace("'", "")
    assert raised.value.fields["command"] in str(raised.value)
    assert shlex.split(raised.value.fields["command"])[3] == str(path)


def test_a_folder_is_named_with_the_command_too(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    with pytest.raises(UserError, match="it is a folder") as raised:
        read_lessons(str(tmp_path / "notes"), tokenizer, 16, Cancel(), {"y": 1, "n": 2})
    assert raised.value.code == "lesson-unprepared"
    assert raised.value.fields["command"].endswith("notes.u32 --plain")  # what labels need


def test_raw_token_ids_and_files_that_are_not_there(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "raw.u32").write_bytes(np.arange(20, dtype="<u4").tobytes())
    with pytest.raises(UserError, match="token ids of another program") as raised:
        read_lessons(str(tmp_path / "raw.u32"), tokenizer, 16, Cancel())
    assert raised.value.code == "lesson-unprepared"
    assert raised.value.fields["command"].endswith("raw-prepared.u32")
    for name in ("none.csv", "none.txt", "none.u32"):
        with pytest.raises(UserError) as raised:
            read_lessons(str(tmp_path / name), tokenizer, 16, Cancel())
        assert raised.value.code == "text-unreadable"


def test_a_bad_row_is_told_with_what_goes_on_without_it(tokenizer: Tokenizer, tmp_path: Path) -> None:
    text = '{"prompt": "a", "answer": "b"}\n{"prompt": "a", "answer": 7}\n'
    with pytest.raises(UserError, match="bitconverter prepare") as raised:
        read(tmp_path / "a.jsonl", text, tokenizer)
    assert raised.value.code == "lesson-row" and raised.value.fields["line"] == 2


JAPANESE = "港はゆっくりと目を覚ました。まずカモメが、それから綱が。\r\n二行目です。\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp932", "euc_jp"])
def test_every_encoding_that_prepare_reads_is_read(
    tokenizer: Tokenizer, tmp_path: Path, encoding: str
) -> None:
    (tmp_path / "a.txt").write_bytes(JAPANESE.encode(encoding))
    lessons = read_lessons(str(tmp_path / "a.txt"), tokenizer, 8, Cancel())
    expected = read(tmp_path / "b.txt", JAPANESE.replace("\r\n", "\n"), tokenizer, 8)
    np.testing.assert_array_equal(lessons.tokens, expected.tokens)
    row = json.dumps({"prompt": "お茶は?", "answer": "あります。"}, ensure_ascii=False)
    (tmp_path / "a.jsonl").write_bytes(f"{row}\r\n{row}\r\n".encode(encoding))
    rows = read_lessons(str(tmp_path / "a.jsonl"), tokenizer, 99, Cancel())
    expected = read(tmp_path / "b.jsonl", f"{row}\n{row}\n", tokenizer, 99)
    np.testing.assert_array_equal(rows.tokens, expected.tokens)


def test_a_line_separator_inside_of_an_answer_is_a_letter(tokenizer: Tokenizer, tmp_path: Path) -> None:
    row = '{"prompt": "a", "answer": "b\u2028c\x85d"}\n'
    assert len(read(tmp_path / "a.jsonl", row * 3, tokenizer).tokens) == 3


def test_damaged_letters_and_what_is_no_text_are_named(tokenizer: Tokenizer, tmp_path: Path) -> None:
    for name in ("a.txt", "a.jsonl"):
        row = b'{"prompt": "a", "answer": "' + "これは日本語です".encode() + b'"}\n'
        (tmp_path / name).write_bytes(row + row[:30] + row[31:] + row)
        with pytest.raises(UserError, match="line 2") as raised:
            read_lessons(str(tmp_path / name), tokenizer, 99, Cancel())
        assert raised.value.code == "lesson-damaged" and raised.value.fields["line"] == 2
    (tmp_path / "b.txt").write_bytes(bytes(range(256)) * 20)
    with pytest.raises(UserError) as raised:
        read_lessons(str(tmp_path / "b.txt"), tokenizer, 8, Cancel())
    assert raised.value.code == "lesson-binary"
    for name in ("c.txt", "c.jsonl"):
        for data in (b"", b" \r\n\n", b"\xef\xbb\xbf"):
            (tmp_path / name).write_bytes(data)
            with pytest.raises(UserError, match="is empty") as raised:
                read_lessons(str(tmp_path / name), tokenizer, 8, Cancel())
            assert raised.value.code == "lesson-empty"
    (tmp_path / "c.txt").write_bytes(b"tea and rain\n" * 9 + b"rain\0and tea\n" + b"tea and rain\n" * 90)
    with pytest.raises(UserError, match="line 10 holds a zero byte") as raised:
        read_lessons(str(tmp_path / "c.txt"), tokenizer, 8, Cancel())
    assert raised.value.code == "lesson-zero"


def test_an_example_may_fill_its_window_and_have_one_token_behind_it(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    end = bool(tokenizer.eos_ids)  # behind the answer
    full = json.dumps({"prompt": "a" * (16 - end), "answer": "b"}) + "\n"
    lessons = read(tmp_path / "a.jsonl", full * 2, tokenizer)
    assert lessons.tokens.shape == (2, 16) and (lessons.targets[:, -1] >= 0).all()
    with pytest.raises(UserError, match=r"18 tokens.* a window holds 17"):
        read(tmp_path / "a.jsonl", full + full.replace("aa", "aaa", 1), tokenizer)


@pytest.mark.parametrize("share", [0.9, 1.0])
def test_a_split_leaves_one_to_learn_from(share: float) -> None:
    tokens = np.arange(4, dtype=np.int32).reshape(2, 2)
    learn, check = Lessons(tokens, tokens).split(share, 0)
    assert len(learn.tokens) == len(check.tokens) == 1


def test_what_begins_every_text_begins_the_examples_and_no_plain_text(
    tiny_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "with a beginning"
    shutil.copytree(tiny_model, folder)
    raw = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    bos = raw.token_to_id("z")  # the model has no row for one more
    raw.post_processor = processors.TemplateProcessing(single=["z", "$A"], special_tokens=[("z", bos)])
    raw.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"bos_token": "z"}', encoding="utf-8")
    tokenizer = Tokenizer(folder)
    assert tokenizer.bos_id == bos
    lessons = read(tmp_path / "a.jsonl", '{"prompt": "ab", "answer": "c"}\n' * 2, tokenizer)
    start = [bos, *tokenizer.encode("ab", add_special_tokens=False)]
    assert lessons.tokens[0, :3].tolist() == start
    assert np.flatnonzero(lessons.targets[0] >= 0)[0] == len(start) - 1
    plain = read(tmp_path / "a.txt", "a b c d e f g h i", tokenizer, 4)
    assert bos not in plain.tokens


def test_a_pack_with_a_token_that_the_model_does_not_have_is_refused(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    path = packed(tmp_path, tokenizer, ROWS)
    tokens = read_pack(Path(path)).tokens.copy()
    tokens[5] = tokenizer.vocab_size
    path = packed(tmp_path, tokenizer, ROWS, tokens=tokens)
    with pytest.raises(UserError, match=r"a\.u32.*holds the token") as raised:
        read_lessons(path, tokenizer, 32, Cancel())
    assert raised.value.code == "pack-broken"
    read_lessons(path, tokenizer, 32, Cancel(), vocab=tokenizer.vocab_size + 1)
