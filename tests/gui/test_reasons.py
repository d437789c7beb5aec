"""Why something failed is said in Japanese too: every reason of the engine, the system and the readers of files."""

import ast
import errno
import os
import re
from pathlib import Path

import pytest

import bitconverter
from bitconverter.gui import messages
from bitconverter.gui.messages import error_text, note_text
from bitconverter.gui.reasons import os_reason_ja, reason_ja
from bitconverter.gui.texts.reasons import REASONS_JA, SYSTEM_JA
from bitconverter.jobs.errors import EngineError, UserError
from bitconverter.jobs.job import Note

PACKAGE = Path(bitconverter.__file__).parent
NATIVE = Path(__file__).parents[2] / "native"
JAPANESE = re.compile("[ぁ-んァ-ヶ一-龠]")
MACROS = {"INDEX": "model.safetensors.index.json", "WEIGHTS": "model.safetensors", "WORKS": "others work"}
OURS = {"BC_ERR_INVALID", "BC_ERR_CANCELLED"}  # a mistake of this program; what the user asked for
STRING = r'"(?:[^"\\]|\\.)*"'
STRINGS = rf"((?:(?:{STRING}|\b[A-Z]\w*)\s*)+)"


@pytest.fixture(autouse=True)
def _back_to_english():
    messages.set_language("ja")
    yield
    messages.set_language("en")


def _words(literals: str) -> str:
    """What C makes of string literals and macros in a row, with values where printf puts them."""
    parts = []
    for part in re.findall(rf"{STRING}|\b[A-Z]\w*", literals):
        if part.startswith('"'):
            parts.append(part[1:-1].replace('\\"', '"').replace("\\\\", "\\"))
        else:
            parts.append("d" if part.startswith("PRI") else MACROS[part])
    return re.sub(r"%[-.\d]*(?:ll|z)?[a-z]", "7", "".join(parts)).replace("%%", "%")


def _of_the_engine() -> list[str]:
    sources = {
        path.name: path.read_text(encoding="utf-8")
        for part in ("src", "cuda")
        for path in (NATIVE / part).glob("*.c")
    }
    found = []
    for text in sources.values():
        for code, words in re.findall(rf"bc_fail\([^;]*?,\s*(BC_ERR_\w+)[^,;]*,\s*{STRINGS}", text):
            if code not in OURS and words.strip().startswith(('"', *MACROS)):
                found.append(_words(words))
        for name, prefix in (
            ("io_fail", "f.bin: "),
            ("bad_tensor", 'f.bin: the header entry of tensor "t" '),
            ("bc_json_syntax", "f.bin is not valid JSON at byte 7: "),
        ):
            found += [prefix + _words(words) for words in re.findall(rf"{name}\([^\";]*{STRINGS}\)", text)]
    return sorted(set(found) - {"7: 7"})  # of a file: a system's words, below


def test_every_reason_of_the_engine_is_spoken_in_japanese():
    found = _of_the_engine()
    assert len(found) > 150
    assert [words for words in found if not JAPANESE.search(reason_ja(words))] == []


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    if isinstance(node, ast.FormattedValue) and isinstance(node.value, ast.Name) and node.value.id == "why":
        return "it holds nothing"
    return "7"


# the file, and the calls in it whose text is a reason
SAID = [
    ("format/safetensors_file.py", {"_broken"}),
    ("format/pack_file.py", {"_broken"}),
    ("format/gguf_file.py", {"_broken"}),
    ("model/chat_template.py", {"SecurityError"}),
    ("model/template_limits.py", {"SecurityError"}),
    ("model/template_sandbox.py", {"SecurityError"}),
    ("model/known_templates.py", {"ValueError"}),
    ("model/tower_check.py", {"WrongDeviceError"}),
    ("jobs/word_text.py", {"ValueError"}),
    ("store/sqlite_file.py", {"DatabaseError"}),
    ("jobs/self_test.py", {"need"}),
    ("jobs/self_test_job.py", {"need"}),
    ("jobs/self_test_documents.py", {"need"}),
    ("engine/device.py", {"NoBackendError"}),
]


@pytest.mark.parametrize(("file", "names"), SAID, ids=[file for file, _ in SAID])
def test_every_reason_of_a_reader_is_spoken_in_japanese(file, names):
    found = []
    for node in ast.walk(ast.parse((PACKAGE / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            texts = [_text(arg) for arg in node.args if isinstance(arg, ast.Constant | ast.JoinedStr)]
            found += texts[:1] if name in names else []
    assert found
    assert [words for words in found if not JAPANESE.search(reason_ja(words))] == []


@pytest.mark.parametrize("name", sorted(name for name in SYSTEM_JA if isinstance(name, str)))
def test_what_the_system_refuses_is_spoken_in_japanese(name):
    number = getattr(errno, name, None)
    if number is None:
        pytest.skip("not of this system")
    error = OSError(number, os.strerror(number), "/x/文.txt")
    japanese = SYSTEM_JA[name]
    for text in (os_reason_ja(error), reason_ja(str(error)), reason_ja(f"/x/文.txt: {os.strerror(number)}")):
        assert "/x/文.txt" in text and JAPANESE.search(text) and os.strerror(number) not in text
    assert os_reason_ja(error) == f"{japanese}: /x/文.txt"
    assert JAPANESE.search(error_text(error).text) and os.strerror(number) not in error_text(error).text
    messages.set_language("en")
    assert number in messages.NO_ROOM or os.strerror(number) in error_text(error).text


def test_what_windows_refuses_is_known_by_its_number():
    assert reason_ja("[WinError 32] The process cannot access the file: 'C:\\x\\a.soul'") == (
        f"{SYSTEM_JA[32]}: C:\\x\\a.soul"
    )
    assert reason_ja("[WinError 9999] 何かの理由: 'C:\\x'") == "何かの理由: C:\\x"


@pytest.mark.parametrize("english", sorted(REASONS_JA))
def test_a_reason_has_one_sentence_with_its_values(english):
    japanese = REASONS_JA[english]
    named, used = (set(re.findall(r"\{(\w+)\}", text)) for text in (english, japanese))
    assert used <= named and JAPANESE.search(japanese)
    assert not japanese.endswith("。") and not english.endswith(".")
    values = {name: "it holds nothing" if name == "why" else f"<{name}>" for name in named}
    said = reason_ja(english.format(**values) if named else english)
    assert "it holds nothing" not in said and all(f"<{name}>" in said for name in used - {"why"})
    assert said == japanese.format(**values | ({"why": REASONS_JA["it holds nothing"]} if named else {}))


def test_what_the_self_test_finds_is_told_without_the_names_of_python():
    assert reason_ja("PermissionError: [Errno 13] Permission denied: '/x'") == f"{SYSTEM_JA['EACCES']}: /x"
    assert reason_ja("SelfTestFailed: /x was read back differently").startswith("/x に書いたもの")
    assert reason_ja("KeyError: 'x'") == "KeyError: 'x'"


def test_an_unknown_reason_is_kept_and_a_long_one_takes_no_time():
    assert reason_ja("something new") == "something new"
    assert reason_ja("no memory " + "x" * 10_000_000).startswith("no memory x")


def test_a_reason_stands_inside_what_the_window_says():
    engine = EngineError('config.json has no "hidden_size"')
    assert "config.json に hidden_size がありません" in error_text(engine).text
    document = UserError("document-broken", "English.", file="a.docx", reason="File is not a zip file")
    assert "（Word の文書（.docx）の中身ではありません）" in error_text(document).text
    refused = UserError(
        "chat-template-refused", "English.",
        reason="Conversation roles must alternate user/assistant/user/assistant/...",
    )  # fmt: skip
    assert "交互" in error_text(refused).text and "alternate" not in error_text(refused).text
    note = Note("report-skipped", {"why": "not enough memory to open the model"})
    assert "割り当てられませんでした" in note_text(note)
    messages.set_language("en")
    assert note_text(note).endswith("not enough memory to open the model")
