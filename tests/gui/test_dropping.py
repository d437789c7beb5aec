"""Every known kind of file, dropped on every page: what it is, and what happens with it."""

import json
import shutil
from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent

from bitconverter.gui.drop_overlay import drop_text
from bitconverter.gui.dropping import ACTIONS, ONLY_THERE, offer
from bitconverter.gui.pages import PAGES
from bitconverter.jobs.path_kind import kind_of

LONG = 60_000
EXTENSIONS = {
    "model.gguf": "gguf", "MODEL.GGUF": "gguf", "note.txt": "text", "note.MD": "text", "paper.pdf": "text",
    "letter.docx": "text", "lesson.jsonl": "lesson", "table.csv": "lesson", "box.mbox": "letters",
    "mail.eml": "letters", "me.soul": "soul", "pack.u32": "knowledge", "all.zip": "archive",
    "picture.png": "other", "no ending": "other",
}  # fmt: skip


@pytest.fixture
def things(tmp_path, chat_model) -> dict[str, Path]:
    """A path of every kind."""
    result = {}
    for name, kind in EXTENSIONS.items():
        (tmp_path / name).write_bytes(b"x")
        result.setdefault(kind, tmp_path / name)
    result["original"] = Path(shutil.copytree(chat_model, tmp_path / "モデル 原"))
    converted = Path(shutil.copytree(chat_model, tmp_path / "converted"))
    config = json.loads((converted / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = {"quant_method": "ternary_planes"}
    (converted / "config.json").write_text(json.dumps(config), encoding="utf-8")
    result["converted"] = converted
    (tmp_path / "x.partial").mkdir()
    (tmp_path / "x.partial" / "job.json").write_text("{}", encoding="utf-8")
    result["partial"] = tmp_path / "x.partial"
    (tmp_path / "models").mkdir()
    shutil.copytree(chat_model, tmp_path / "models" / "one")
    result["models"] = tmp_path / "models"
    (tmp_path / "empty").mkdir()
    result["folder"] = tmp_path / "empty"
    return result


@pytest.mark.parametrize("name", EXTENSIONS)
def test_a_file_is_known_by_its_ending_whatever_the_case(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    assert kind_of(str(tmp_path / name)) == EXTENSIONS[name]


def test_folders_are_known_by_what_they_hold(things):
    for kind, path in things.items():
        assert kind_of(str(path)) == kind, path
    assert offer(str(things["original"] / "config.json")).path == str(things["original"])


def test_a_damaged_config_is_still_an_original_and_is_explained_by_the_checks(tmp_path):
    for content in ("{", "[]", '{"quantization_config": 3}', "[" * 100_000):
        (tmp_path / "config.json").write_text(content, encoding="utf-8")
        assert kind_of(str(tmp_path)) == "original"


@pytest.mark.parametrize("page", ["chat", "convert", "train", "welcome", "activity", "settings", ""])
def test_the_drop_matrix(things, page):
    """Each kind on each page has one action, or a sentence that says why not."""
    usual = {kind: actions[0] for kind, actions in ACTIONS.items()}
    for kind, path in things.items():
        drop = offer(str(path), page)
        expected = page if page in ACTIONS.get(kind, ()) else usual.get(kind, "")
        if ONLY_THERE.get(kind) == page:
            expected = page
        assert drop.action == expected, (kind, page)
        assert drop_text(drop)


def _mime(path: Path) -> QMimeData:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    return data


def _enter(window, data: QMimeData) -> bool:
    keys, button = Qt.KeyboardModifier.NoModifier, Qt.MouseButton.LeftButton
    event = QDragEnterEvent(QPoint(50, 50), Qt.DropAction.CopyAction, data, button, keys)
    event.ignore()
    window.dragEnterEvent(event)
    return event.isAccepted()


def _drop(window, data: QMimeData) -> None:
    keys, button = Qt.KeyboardModifier.NoModifier, Qt.MouseButton.LeftButton
    window.dropEvent(QDropEvent(QPointF(50, 50), Qt.DropAction.CopyAction, data, button, keys))


def test_while_dragging_the_window_says_what_would_happen(window, things):
    window.show_page("settings")
    assert _enter(window, _mime(things["original"]))
    assert window.overlay.isVisible() and "converted" in window.overlay.text.text()
    window.dragLeaveEvent(QDragLeaveEvent())
    assert not window.overlay.isVisible()


def test_an_original_model_dropped_anywhere_goes_to_the_conversion(window, things, qtbot):
    window.show_page("settings")
    _drop(window, _mime(things["original"] / "config.json"))
    assert window.page_name == "convert" and window.convert._source == str(things["original"])
    qtbot.waitUntil(lambda: not window.busy, timeout=LONG)


def test_on_the_chat_the_same_model_is_opened(window, things, qtbot):
    window.show_page("chat")
    _drop(window, _mime(things["original"]))
    assert window.page_name == "chat"
    qtbot.waitUntil(lambda: not window.busy, timeout=LONG)
    assert window.chat._session is not None


# where an action leads
PLACES = {"chat": "chat", "convert": "convert", "shelf": "shelf", "attach": "chat", "train": "train"}


@pytest.mark.parametrize("page", [spec.name for spec in PAGES])
def test_each_kind_dropped_on_each_page_is_taken_or_explained(window, things, qtbot, page):
    """By real events, as the window system sends them."""
    for kind, path in things.items():
        window.show_page(page)
        window.toast.dismiss()
        data = _mime(path)
        assert _enter(window, data) and window.overlay.isVisible(), kind
        said = window.overlay.text.text()
        _drop(window, data)
        assert not window.overlay.isVisible()
        action = offer(str(path), page).action
        if action:
            assert window.page_name == PLACES[action], (kind, page)
        else:
            assert window.page_name == page and said in window.toast._text.text(), (kind, page)
        qtbot.waitUntil(lambda: not window.busy, timeout=LONG)


@pytest.mark.parametrize("kind", ["archive", "folder", "other"])
def test_what_cannot_be_used_is_explained(window, things, kind):
    window.show_page("convert")
    _drop(window, _mime(things[kind]))
    assert window.page_name == "convert" and things[kind].name in window.toast._text.text()


def test_text_or_a_web_address_is_not_taken(window):
    data = QMimeData()
    data.setText("hello")
    data.setUrls([QUrl("https://example.org/model")])
    assert not _enter(window, data)
