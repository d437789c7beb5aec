"""Both languages say everything; codes of the jobs become sentences."""

import re
import shutil
import string
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
from bitconverter.gui.texts.errors import CHECKS_JA, ERRORS_JA
from bitconverter.gui.texts.rows import ROWS_JA, WHYS_JA
from bitconverter.gui.texts.text import join
from bitconverter.jobs.chat import LoadChatJob
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.errors import UserError
from bitconverter.jobs.job import Cancel, Failed, Note, run_job
from bitconverter.jobs.preflight import CheckItem
from bitconverter.store import chat_import

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


CLI_ONLY = {
    "evaluate.py",
    "logits.py",
    "opening.py",
    "synthetic.py",
}


def _below_the_window() -> str:
    package = Path(bitconverter.gui.__file__).parents[1]
    files = [path for part in ("jobs", "model", "format") for path in (package / part).glob("*.py")]
    return "\n".join(path.read_text(encoding="utf-8") for path in files if path.name not in CLI_ONLY)


def test_every_error_and_note_that_the_window_can_meet_is_spoken_in_japanese():
    text = _below_the_window()
    errors = set(re.findall(r'(?:UserError|FormatError)\(\s*"([a-z-]+)"', text))
    notes = set(re.findall(r'Note\(\s*"([a-z-]+)"', text))
    errors |= set(re.findall(r'_raw\(path, "([a-z-]+)"', text))
    assert len(errors) > 20 and len(notes) > 3
    assert errors - set(ERRORS_JA) == set()
    assert {f"note-{code}" for code in notes} - set(MESSAGES) == set()


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
