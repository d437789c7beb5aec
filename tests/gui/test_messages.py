"""Both languages say everything; codes of the jobs become sentences."""

import ast
import re
import shutil
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication

import bitconverter.gui
from bitconverter.format.row_problem import REASONS, WHYS, RowProblem
from bitconverter.gui import messages
from bitconverter.gui.messages import check_text, error_text, note_text, time_left, tr
from bitconverter.gui.notice import Notice
from bitconverter.gui.texts import MESSAGES
from bitconverter.gui.texts.errors import CHECKS_JA, ERRORS_JA, IMPORT_WHYS_JA
from bitconverter.gui.texts.reasons import REASONS_JA, SYSTEM_JA
from bitconverter.gui.texts.rows import KINDS_JA, ROWS_JA, WHYS_JA
from bitconverter.gui.texts.text import join
from bitconverter.jobs.chat import LoadChatJob
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.errors import UserError
from bitconverter.jobs.job import Cancel, Failed, Note, run_job
from bitconverter.jobs.placement import ERRORS as PLACEMENT_ERRORS
from bitconverter.jobs.preflight import CheckItem
from bitconverter.store import chat_import
from bitconverter.store.job_store import JOBS
from bitconverter.store.run_store import RUNS
from bitconverter.store.schema import CHATS

GUI = Path(bitconverter.gui.__file__).parent
SOURCES = [path for path in GUI.rglob("*.py") if path.parent.name != "texts"]


@pytest.fixture(autouse=True)
def _back_to_english():
    messages.set_language("en")
    yield
    messages.set_language("en")


def _fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", sorted(MESSAGES))
def test_both_languages_have_the_message_with_the_same_fields(key):
    forms = MESSAGES[key]
    assert all(form.strip() for form in forms)
    assert len({frozenset(_fields(form)) for form in forms}) == 1
    assert len(forms) == 2 or "count" in _fields(forms[0])


def test_the_count_chooses_the_plural(monkeypatch):
    monkeypatch.setitem(MESSAGES, "files", ("{count} file", "{count} files", "{count} 個のファイル"))
    assert [tr("files", count=n) for n in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    messages.set_language("ja")
    assert tr("files", count=1) == "1 個のファイル"


def test_a_key_belongs_to_one_file():
    with pytest.raises(ValueError, match="twice-said"):
        join({"twice-said": ("a", "b")}, {"twice-said": ("c", "d")})


def test_every_key_in_the_code_exists_and_every_message_is_used():
    text = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    used = set(re.findall(r'\btr\(\s*f?"([^"]+)"', text))
    used |= set(re.findall(r'\.set\(\s*[\w.]+,\s*f?"([^"]+)"', text))
    used |= set(re.findall(r'\bpartial\(\s*tr,\s*f?"([^"]+)"', text))
    plain = {key for key in used if "{" not in key}
    patterns = [re.escape(key).replace(r"\{", "{") for key in used if "{" in key]
    patterns = [re.sub(r"\{[^}]*\}", ".+", pattern) for pattern in patterns]
    listed = set(re.findall(r'"([a-z0-9_-]+)"', text))  # keys that are looked up in tables
    missing = plain - set(MESSAGES)
    assert not missing
    prefixes = ("note-", "end-", "level-", "go-")
    unused = [
        key
        for key in MESSAGES
        if key not in plain
        and key not in listed
        and not key.startswith(prefixes)
        and not any(re.fullmatch(pattern, key) for pattern in patterns)
    ]
    assert not unused


# names, and words that both languages write alike
ALIKE = {
    "app-name", "set-language-en", "kind-of-gguf", "export-markdown", "export-html", "export-jsonl",
    "sampling-top_p", "sampling-top_k", "sampling-min_p", "device-card", "template-chatml", "template-llama-3",
    "template-llama-2", "template-mistral", "template-gemma", "template-zephyr",
}  # fmt: skip


def test_no_message_waits_for_its_translation():
    """Japanese has Japanese letters, and is not the English sentence again."""
    letters = re.compile("[ぁ-んァ-ヶ一-龠]")
    fieldless = {key: re.sub(r"\{[^}]*\}", "", forms[-1]) for key, forms in MESSAGES.items()}
    unfinished = {
        key for key, text in fieldless.items() if re.search("[A-Za-z]{2}", text) and not letters.search(text)
    }
    assert unfinished - ALIKE == set()


def _japanese() -> dict[str, str]:
    """Every Japanese text of the window, by what it is the translation of."""
    tables = {"error": ERRORS_JA, "why": REASONS_JA, "import": IMPORT_WHYS_JA, "kind": KINDS_JA}
    found = {key: forms[-1] for key, forms in MESSAGES.items()}
    found |= {f"{table}: {key}": text for table, texts in tables.items() for key, text in texts.items()}
    found |= {f"system: {key}": text for key, text in SYSTEM_JA.items()}
    several = {"check": CHECKS_JA, "row": ROWS_JA, "row why": WHYS_JA}
    for table, rows in several.items():
        found |= {
            f"{table}: {key} {at}": text for key, texts in rows.items() for at, text in enumerate(texts)
        }
    return found


def test_japanese_is_written_in_one_way():
    """A space between Latin letters or digits and Japanese, brackets of full width, one word for one thing."""
    kana = "ぁ-んァ-ヶー一-龠々"
    faults = {
        "no space": rf"(?<![\\])[A-Za-z0-9%}}][{kana}](?<!}}[{kana}])|[{kana}][A-Za-z0-9]",
        "half-width bracket or mark": rf"[{kana}][(),!?;]|[(),!?;][{kana}]",
        "full-width letter": "[Ａ-Ｚａ-ｚ０-９　]",
        "other word": "チャット|サイズ|メモリ(?!ー)|フォルダ(?!ー)|ユーザ(?!ー)|ドライバ(?!ー)|装置|くらべ|一番|定型",
        "space after a stop": "[。、] ",
        "no です or ます": "(?:である|なのだ|した方がよい)。",
    }
    found = [
        f"{name}: {fault}: {text}"
        for name, text in _japanese().items()
        for fault, pattern in faults.items()
        if re.search(pattern, re.sub(r"\*\.[a-z0-9]+", "", text))
        and not (fault == "half-width bracket or mark" and "(*" in text)
    ]
    assert found == []


SHOWING = re.compile(
    r"\.(?:setText|set_text|setToolTip|setAccessibleName|setAccessibleDescription|setPlaceholderText|"
    r'setWindowTitle|addItem|addAction|showMessage|show_text|say)\(\s*f?"([^"]*)"'
)


def test_no_sentence_is_written_in_the_code():
    """What is shown comes from gui/texts, in both languages."""
    found = []
    for path in SOURCES:
        for shown in SHOWING.findall(path.read_text(encoding="utf-8")):
            words = re.sub(r"\{[^}]*\}|Ctrl|BitConverter|Python|Qt", "", shown)  # names, and a key
            if re.search("[A-Za-z]{3}", words):
                found.append(f"{path.name}: {shown}")
    assert found == []


def test_japanese_is_spoken_after_the_language_is_chosen():
    messages.set_language("ja")
    assert tr("convert") == "変換する"
    messages.set_language("en")
    assert tr("convert") == "Convert"


def test_an_unknown_language_is_refused():
    with pytest.raises(ValueError, match="xx"):
        messages.set_language("xx")


@pytest.mark.parametrize("code", sorted(ERRORS_JA.keys() - {"import-format"}))  # which has a test of its own
def test_a_known_error_code_becomes_a_japanese_sentence(code):
    messages.set_language("ja")
    fields = {name: f"<{name}>" for name in _fields(ERRORS_JA[code])}
    text = error_text(UserError(code, "An English sentence.", **fields)).text
    assert "An English sentence" not in text
    assert all(value in text for value in fields.values())
    assert re.search("[ぁ-ん]", text)


def test_an_error_without_a_translation_or_without_its_fields_says_its_own_sentence():
    messages.set_language("ja")
    assert error_text(UserError("never-heard-of", "Its own sentence.")).text == "Its own sentence."
    assert error_text(UserError("disk-full", "No fields here.")).text == "No fields here."


def test_english_shows_the_errors_own_sentence():
    error = UserError("disk-full", "The disk is full, make room.", folder="x")
    assert error_text(error).text == "The disk is full, make room."


def test_a_refused_preflight_names_each_problem_and_nothing_else():
    items = (
        CheckItem("shards", "error", "model-2 is missing.", {}),
        CheckItem("tokenizer", "ok", "Tokenizer.", {"tokens": 1}),
        CheckItem("disk", "error", "Too little space.", {"free": 1, "needed": 5_000_000}),
    )
    error = UserError("preflight", "whatever", items=items)
    assert error_text(error).text == "model-2 is missing.\nToo little space."
    messages.set_language("ja")
    assert "5 MB" in error_text(error).text and "Too little" not in error_text(error).text


@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_error_has_its_code_and_details_in_english(language):
    messages.set_language(language)
    error = UserError("disk-full", "The disk is full, make room.", folder="/x", needed=7)
    shown = error_text(error)
    assert shown.code == "disk-full"
    assert shown.details.splitlines()[1:] == ["The disk is full, make room.", "folder: /x", "needed: 7"]
    assert shown.details.startswith("BitConverter ") and "disk-full" in shown.details.splitlines()[0]
    assert error_text(OSError(5, "I/O")).code == "OSError"


@pytest.mark.parametrize(("language", "advice"), [("en", "download it again"), ("ja", "ダウンロード")])
def test_a_damaged_file_of_a_model_is_no_fault_to_report(chat_model, tmp_path, language, advice):
    folder = Path(shutil.copytree(chat_model, tmp_path / "m"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    messages.set_language(language)
    failed = run_job(LoadChatJob(str(folder)), lambda _: None, Cancel())
    assert isinstance(failed, Failed)
    text = error_text(failed.error).text
    assert advice in text and "report" not in text and "報告" not in text


def test_why_chats_cannot_be_imported_is_spoken_in_japanese(tmp_path):
    messages.set_language("ja")
    source = Path(chat_import.__file__).read_text(encoding="utf-8")
    whys = re.findall(r'_refused\(path, f?"([^"]+)"', source)
    assert len(whys) > 10
    for why in whys:
        for line in (0, 3):
            error = UserError("import-format", "", file="f.jsonl", why=why, line=line)
            text = error_text(error).text
            assert why not in text and ("3 行目" in text) == (line == 3) and "0 行目" not in text
    (tmp_path / "a.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError) as caught:
        chat_import.read_chats(tmp_path / "a.jsonl")
    assert "（UTF-8 のテキストではありません）" in error_text(caught.value).text


def test_an_error_that_is_shown_follows_the_language(window, settings, qtbot, tmp_path):
    window.show_page("convert")
    page = window.convert
    page.queue.add(ConvertJob(source=str(tmp_path / "gone"), out=str(tmp_path / "out")))
    qtbot.waitUntil(lambda: page.queue.last is not None and not page.busy)
    other = window.pages["diagnostics"].notice
    other.show_error(error_text(UserError("threads", "English.", threads=999)))
    entry = window.activities.entries[0]
    for language, word in (("ja", "がありません"), ("en", "There is no")):
        settings["language"] = language
        window.apply_setting("language")
        QApplication.processEvents()
        assert word in page.run_card.notice.text() and word in entry.detail()
        assert ("スレッド数 999" in other.text()) == (language == "ja")


def test_an_unexpected_error_has_details_to_copy():
    try:
        raise KeyError("inner")
    except KeyError as error:
        shown = error_text(error)
    assert "KeyError" in shown.text and "Traceback" in shown.details


@pytest.mark.parametrize("key", sorted(CHECKS_JA))
def test_every_check_has_a_japanese_sentence_for_its_fields(key):
    messages.set_language("ja")
    code, level = key.rsplit("-", 1)
    for template in CHECKS_JA[key]:
        fields = {name: f"<{name}>" for name in _fields(template)}
        text = check_text(CheckItem(code, level, "English.", fields))
        assert text != "English." and all(value in text for value in fields.values())


PACKAGE = GUI.parent
CLI_ONLY = {"jobs/logits.py", "jobs/synthetic.py"}  # what only the command line can do


def _trees() -> dict[str, ast.Module]:
    paths = {path.relative_to(PACKAGE).as_posix(): path for path in PACKAGE.rglob("*.py")}
    return {
        name: ast.parse(path.read_text(encoding="utf-8"))
        for name, path in paths.items()
        if name.split("/")[0] in ("jobs", "model", "format", "store", "gui")
    }


def _calls(tree: ast.Module, *names: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in names:
                yield node


def _literals(node: ast.expr) -> list[str]:
    """The texts that an expression can be, as far as they are written there."""
    if isinstance(node, ast.IfExp):
        return _literals(node.body) + _literals(node.orelse)
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def _codes() -> dict[str, set[str]]:
    """Every code of an error that the window can meet, and where it is raised."""
    found: dict[str, set[str]] = {}
    for name, tree in _trees().items():
        if name not in CLI_ONLY and not name.startswith("gui/"):
            for call in _calls(tree, "UserError", "FormatError", "_raw", "_refusal"):
                for place in (0, 1):  # helpers have the path first
                    for code in _literals(call.args[place]) if len(call.args) > place else []:
                        if re.fullmatch(r"[a-z]+(-[a-z]+)*", code):
                            found.setdefault(code, set()).add(name)
    kinds = {str(kind.code) for kind in (CHATS, JOBS, RUNS)}
    placed = {code for code, _ in PLACEMENT_ERRORS.values()}
    for code in placed | {f"{kind}-{what}" for kind in kinds for what in ("newer", "unavailable")}:
        found.setdefault(code, set())
    return found


def test_the_window_meets_nothing_of_what_only_the_command_line_can_do():
    for name, tree in _trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and name not in CLI_ONLY:
                assert (
                    f"{(node.module or '').removeprefix('bitconverter.').replace('.', '/')}.py"
                    not in CLI_ONLY
                ), name


def test_every_error_and_note_that_the_window_can_meet_is_spoken_in_japanese():
    codes = _codes()
    assert len(codes) > 150
    assert {code: places for code, places in codes.items() if code not in ERRORS_JA} == {}
    notes = {
        code
        for name, tree in _trees().items()
        if not name.startswith("gui/")
        for call in _calls(tree, "Note")
        for code in _literals(call.args[0])
    }
    assert len(notes) > 30
    assert {f"note-{code}" for code in notes} - set(MESSAGES) == set()


def test_a_new_error_without_japanese_would_be_found(monkeypatch):
    monkeypatch.delitem(ERRORS_JA, "disk-full")
    monkeypatch.delitem(ERRORS_JA, "raw-size")  # raised by a helper
    monkeypatch.delitem(ERRORS_JA, "memory-refused")
    assert {"disk-full", "raw-size", "memory-refused"} <= _codes().keys() - ERRORS_JA.keys()


LATER = {"where", "allowed"}  # made of other fields by gui/messages.py
ROW = {"why", "reason", "help"}  # of the field "problem"


def test_every_error_has_the_fields_that_its_japanese_needs():
    """Else it would be shown in English."""
    lacking = []
    for name, tree in _trees().items():
        if name in CLI_ONLY or name.startswith("gui/"):
            continue
        for call in _calls(tree, "UserError", "FormatError"):
            given = {keyword.arg for keyword in call.keywords}
            if None in given or not call.args:  # **fields
                continue
            given |= LATER | (ROW if "problem" in given else set())
            for code in _literals(call.args[0]):
                if missing := _fields(ERRORS_JA.get(code, "")) - given:
                    lacking.append((name, call.lineno, code, missing))
    assert lacking == []


def test_every_check_with_fields_of_its_own_is_spoken_in_japanese():
    """Of those that are not good, which are told with the code of an error or one of CHECKS_JA."""
    lacking = []
    helpers = {"_error": "error", "_ok": "ok"}
    for name in (
        "jobs/preflight.py",
        "jobs/check_conversion.py",
        "model/preflight.py",
        "model/hf_source.py",
        "model/gguf_source.py",
    ):
        for call in _calls(_trees()[name], "CheckItem", *helpers):
            helper = helpers.get(call.func.id if isinstance(call.func, ast.Name) else "_error")
            for code in _literals(call.args[0]):
                if helper is None or "CheckItem" in ast.unparse(call.func):
                    levels, given = (
                        _literals(call.args[1]),
                        _given(call.args[3]) if len(call.args) > 3 else None,
                    )
                else:
                    levels, given = [helper], {keyword.arg for keyword in call.keywords}
                for level in levels:
                    texts = [
                        *CHECKS_JA.get(f"{code}-{level}", ()),
                        *([ERRORS_JA[code]] if code in ERRORS_JA else []),
                    ]
                    known = given is None or any(_fields(text) <= given | {"message"} for text in texts)
                    if not texts or not known:
                        lacking.append((name, call.lineno, code, level))
    assert lacking == []


def _given(node: ast.expr) -> set[str] | None:
    """The names in a dict that is written there; None where it is made elsewhere."""
    if not isinstance(node, ast.Dict):
        return None
    return {str(key.value) for key in node.keys if isinstance(key, ast.Constant)}


def test_a_warning_of_a_conversion_is_told_with_its_fields_in_japanese():
    fields = {"tokens": 9, "vocab_size": 7}
    note = Note("check", {"code": "tokenizer", "level": "warning", "message": "English", "fields": fields})
    messages.set_language("ja")
    assert "9 トークン" in note_text(note) and "English" not in note_text(note)


@pytest.mark.parametrize("code", sorted(REASONS))
def test_every_reason_against_a_row_is_spoken_in_japanese(code):
    assert [_fields(text) for text in ROWS_JA[code]] == [_fields(text) for text in REASONS[code]]
    fields = {name: f"<{name}>" for text in REASONS[code] for name in _fields(text)}
    messages.set_language("ja")
    note = Note("row-rejected", {
        "path": "a.jsonl", "line": 3, "place": 0, "code": code, "fields": fields, "reason": "English",
        "fix": "English",
    })  # fmt: skip
    text = note_text(note)
    assert (
        "English" not in text and "a.jsonl 3 行目" in text and all(value in text for value in fields.values())
    )
    messages.set_language("en")
    assert note_text(note) == "a.jsonl, line 3: English; English."
    in_list = Note("row-rejected", {**note.fields, "line": 1, "place": 7})
    assert note_text(in_list) == "a.jsonl, row 7 (line 1): English; English."
    messages.set_language("ja")
    assert note_text(in_list).startswith("a.jsonl 7 件目（1 行目）: ")


@pytest.mark.parametrize("why", sorted(WHYS))
def test_why_a_row_cannot_be_read_is_spoken_in_japanese(why):
    assert [_fields(text) for text in WHYS_JA[why]] == [_fields(text) for text in WHYS[why]]
    for code in ("not-json", "rest-unreadable", "csv-broken"):
        problem = RowProblem(code, line=3, why=why, column=14, letter="{x")
        told = problem.told()
        messages.set_language("ja")
        reason, fix = messages.row_text(*told.values())
        for text in (reason, fix):
            assert re.search("[ぁ-ん]", text) and why not in text
            assert not re.search("[A-Za-z]{2,}", re.sub(r"JSON|jsonl|{x|\\\\[nt]", "", text)), text
        assert ("14 文字目" in reason) == ("column 14" in problem.reason())
        messages.set_language("en")
        assert messages.row_text(*told.values()) == (problem.reason(), problem.fix())


def test_an_error_about_a_row_says_why_in_japanese():
    problem = RowProblem("not-json", line=2, why="json-colon", column=5, letter="1")
    row = UserError(
        "lesson-row", "English.", path="a.jsonl", line=2, reason="English", problem=problem.told()
    )
    place = {"file": "a.json", "line": 2, "place": 7}
    told = {**problem.told(), **place}
    nothing = UserError(
        "prepare-nothing", "English.", rows=1, why="English", problem=told, rejects="a.rejected.jsonl"
    )
    messages.set_language("ja")
    for error in (row, nothing):
        text = error_text(error).text
        assert "5 文字目にコロンがありません" in text and "English" not in text
    assert "a.json 7 件目（2 行目）" in error_text(nothing).text
    assert "a.rejected.jsonl" in error_text(nothing).text


def test_notes_become_lines_and_unknown_ones_are_not_lost():
    assert note_text(Note("resumed", {"tensors": 3})) == tr("note-resumed", tensors=3)
    assert note_text(Note("brand-new", {"a": 1})) == "brand-new, a 1"


def test_the_time_left_is_not_said_when_there_is_none():
    assert time_left(None) == time_left(0.0) == "" and time_left(200) == "about 3 min left"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 KB"),
        (999_499, "999 KB"),
        (999_500, "1 MB"),
        (269_060_552, "269 MB"),
        (16_060_000_000, "16.1 GB"),
    ],
)
def test_sizes_are_said_with_three_digits(count, text):
    assert messages.format_size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1.23, "1.2 s"),
        (59, "59 s"),
        (75, "75 s"),
        (89, "89 s"),
        (90, "2 min"),
        (150, "2 min"),
        (3900, "1 h 5 min"),
    ],
)
def test_durations_are_said_as_people_do(seconds, text):
    assert messages.format_duration(seconds) == text


def test_a_notice_shows_the_code_and_copies_the_details(qtbot):
    notice = Notice()
    qtbot.addWidget(notice)
    notice.show_error(error_text(UserError("no-model", "There is no model.", folder="/x")))
    assert notice.code.text() == "no-model" and notice.copy_button.isVisible()
    notice.copy_button.click()
    assert (
        "no-model" in QGuiApplication.clipboard().text()
        and "folder: /x" in QGuiApplication.clipboard().text()
    )
    notice.show_warning("A title", "A text")
    assert not notice.code.isVisible() and not notice.copy_button.isVisible()
