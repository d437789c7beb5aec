"""Chats as a user has them: restart, branches, undo, search, a full context, documents. Real engine, tiny model."""

import os
import subprocess
import sys
import time
from pathlib import Path

import docx
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QInputMethodEvent
from PySide6.QtWidgets import QApplication, QLineEdit

from bitconverter.gui.chat_message import UserMessage
from bitconverter.gui.chat_page import ChatPage, State
from bitconverter.gui.history_model import ROW
from bitconverter.gui.main_window import MainWindow
from bitconverter.gui.widgets import ElidedButton
from bitconverter.jobs.job import Token
from bitconverter.store.chat_store import ChatStore
from bitconverter.store.records import Attachment, Chat, Node

LONG = 60_000  # milliseconds; a bound for a broken program, not a promise


@pytest.fixture
def page(window, chat_model, qtbot):
    """A chat with the tiny model, always the same words, at most 12 of them."""
    return _ready(window, chat_model, qtbot)


def _ready(window, model, qtbot) -> ChatPage:
    window.open_model(str(model))
    page = window.chat
    qtbot.waitUntil(lambda: page.state is State.READY, timeout=LONG)
    page.drawer.seed_random.setChecked(False)
    page.drawer.numbers["max_tokens"].field.setValue(16)
    return page


def _ask(page, qtbot, text):
    page.composer.set_text(text)
    page.send()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)


def _stored(page, qtbot, work):
    """What the store says, after all that was asked of it before."""
    found = []
    page.store.ask(work, found.append)
    qtbot.waitUntil(lambda: bool(found), timeout=LONG)
    return found[0]


def _texts(page):
    return [turn.text for turn in page.log.turns]


def _chats(page):
    return [row.text for row in page.history.model.rows() if row.kind == "chat"]


def _row(page, text):
    return next(row for row in page.history.model.rows() if row.text == text)


def test_after_a_restart_the_chat_its_draft_and_its_place_are_there(settings, chat_model, qtbot):
    first = MainWindow(settings)
    qtbot.addWidget(first)
    first.show()
    page = _ready(first, chat_model, qtbot)
    page.drawer.prompt.setPlainText("短く答える。")
    for number in range(6):
        _ask(page, qtbot, f"質問 {number}\n" + "長い行\n" * 12)
    page.composer.set_text("書きかけの文")
    bar = page.view.verticalScrollBar()
    qtbot.waitUntil(lambda: bar.maximum() > 600)
    bar.triggerAction(bar.SliderAction.SliderToMinimum)
    texts, numbers = _texts(page), page.log.turns[-1].numbers
    first.chat.stop_and_wait()
    first.convert.stop_and_wait()
    first.hide()

    again = MainWindow(settings)
    qtbot.addWidget(again)
    again.show()
    try:
        page = again.chat
        qtbot.waitUntil(lambda: len(page.view._messages) == 12, timeout=LONG)
        assert _texts(page) == texts and page.log.turns[-1].numbers == numbers
        assert numbers is not None and numbers.model == chat_model.name and numbers.device.startswith("CPU")
        assert page.composer.text() == "書きかけの文" and page.drawer.system_prompt() == "短く答える。"
        qtbot.waitUntil(lambda: page.view.verticalScrollBar().maximum() > 600)
        qtbot.waitUntil(lambda: page.view.verticalScrollBar().value() < 50)
        qtbot.waitUntil(lambda: len(_chats(page)) == 1 and _chats(page)[0].startswith("質問 0 長い行"))
    finally:
        again.chat.stop_and_wait()
        again.convert.stop_and_wait()


def test_the_draft_of_a_new_chat_is_there_after_a_restart(settings, qtbot):
    for expected, typed in (("", "まだ送っていない"), ("まだ送っていない", "もっと")):
        window = MainWindow(settings)
        qtbot.addWidget(window)
        qtbot.waitUntil(lambda w=window, e=expected: w.chat.composer.text() == e, timeout=LONG)
        done = []
        window.chat.store.ask(lambda store: None, done.append)
        qtbot.waitUntil(lambda d=done: bool(d), timeout=LONG)
        window.chat.composer.set_text(typed)
        window.chat.stop_and_wait()
        window.convert.stop_and_wait()


def test_versions_of_an_answer_and_a_branch_survive_and_can_be_shown(page, qtbot):
    page.drawer.seed_random.setChecked(True)
    _ask(page, qtbot, "one")
    first = page.log.turns[-1]
    page.view.last_answer().again_button.click()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    second = page.log.turns[-1]
    _ask(page, qtbot, "below the second")
    tree = _stored(page, qtbot, lambda store: store.tree(page.log.chat.id))
    assert [n.text for n in tree.path()] == _texts(page) and len(tree) == 5
    page.act("previous", second)
    assert page.log.turns[-1] is first and len(page.log.turns) == 2
    page.act("next", first)
    assert len(page.log.turns) == 4
    leaf = _stored(page, qtbot, lambda store: store.chat(page.log.chat.id)).leaf
    assert leaf == page.log.turns[-1].id


def test_an_answer_is_repeated_exactly_with_the_settings_it_had(page, qtbot):
    page.drawer.seed_random.setChecked(True)
    page.drawer.numbers["temperature"].field.setValue(1.5)
    page.drawer.prompt.setPlainText("Be odd.")
    _ask(page, qtbot, "one")
    first = page.log.turns[-1]
    page.drawer.numbers["temperature"].field.setValue(0.0)
    page.drawer.prompt.setPlainText("Be plain.")
    (action,) = [a for a in page.view.last_answer().menu().actions() if str(first.numbers.seed) in a.text()]
    action.trigger()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert page.log.turns[-1] is not first and page.log.turns[-1].text == first.text
    assert "same answer" in page.toast._text.text()


def test_a_cut_answer_goes_on(page, qtbot):
    _ask(page, qtbot, "one")
    answer = page.log.turns[-1]
    begun = answer.text
    assert answer.ending == "length"
    page.view.last_answer().go_on_button.click()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert page.log.turns[-1] is answer and answer.text.startswith(begun) and len(answer.text) > len(begun)
    assert answer.numbers.tokens == 32
    stored = _stored(page, qtbot, lambda store: store.tree(page.log.chat.id).path()[-1])
    assert stored.text == answer.text and stored.ending == "length"


def test_an_answer_can_be_changed_by_hand(page, qtbot):
    _ask(page, qtbot, "one")
    first = page.log.turns[-1]
    page.act("edit-answer", first)
    assert page.composer.text() == first.text
    page.composer.set_text("what it should have said")
    page.send()
    assert page.log.turns[-1].text == "what it should have said"
    assert page.view.last_answer().versions.text() == "2/2"
    stored = _stored(page, qtbot, lambda store: store.tree(page.log.chat.id).path()[-1])
    assert stored.text == "what it should have said"


def test_deleting_a_message_and_undo(page, qtbot):
    _ask(page, qtbot, "one")
    _ask(page, qtbot, "two")
    texts = _texts(page)
    page.act("delete", page.log.turns[2])
    assert _texts(page) == texts[:2]
    assert len(_stored(page, qtbot, lambda store: store.tree(page.log.chat.id))) == 2
    page.toast._button.click()
    assert _texts(page) == texts
    assert [n.text for n in _stored(page, qtbot, lambda s: s.tree(page.log.chat.id)).path()] == texts


def test_undo_after_another_chat_was_opened_brings_the_branch_back(window, settings, page, qtbot):
    _ask(page, qtbot, "one")
    _ask(page, qtbot, "two")
    texts, chat_id = _texts(page), page.log.chat.id
    page.act("delete", page.log.turns[2])
    page.new_chat()
    page.toast._button.click()
    assert _texts(page) == []
    assert [n.text for n in _stored(page, qtbot, lambda s: s.tree(chat_id)).path()] == texts
    page.open_chat(chat_id)
    qtbot.waitUntil(lambda: _texts(page) == texts, timeout=LONG)
    window.stop_and_wait()
    again = MainWindow(settings)
    qtbot.addWidget(again)
    qtbot.waitUntil(lambda: _texts(again.chat) == texts, timeout=LONG)
    again.stop_and_wait()


def test_the_shortcut_takes_back_what_the_line_in_the_chat_says(window, page, qtbot):
    _ask(page, qtbot, "one")
    texts = _texts(page)
    page.act("delete", page.log.turns[0])
    window.activateWindow()
    keys = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    qtbot.keyClick(window, Qt.Key.Key_Z, keys)
    assert _texts(page) == texts and not page.toast.isVisible()
    taken = []
    page.act("delete", page.log.turns[0])
    window.shell.say(lambda: "something newer", "undo", lambda: taken.append(True))
    qtbot.keyClick(window, Qt.Key.Key_Z, keys)
    assert taken == [True] and _texts(page) == []
    qtbot.keyClick(window, Qt.Key.Key_Z, keys)
    assert _texts(page) == texts


def test_after_a_suggestion_or_another_answer_the_keyboard_is_in_the_input(window, page, qtbot):
    window.activateWindow()
    button = next(b for b in page.start.findChildren(ElidedButton) if b.isVisible())
    for _ in range(2):
        button.setFocus()
        qtbot.keyClick(button, Qt.Key.Key_Space)
        qtbot.waitUntil(lambda: page.state is State.READY, timeout=LONG)
        assert QApplication.focusWidget() is page.composer.edit
        answer = page.view.last_answer()
        assert answer is not None
        button = answer.again_button


def test_every_part_of_the_chat_is_reached_with_tab(window, page, qtbot):
    _ask(page, qtbot, "Hello")
    window.activateWindow()
    reached = set()
    page.composer.edit.setFocus()
    for _ in range(60):
        reached.add(QApplication.focusWidget())
        qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_Tab)
    parts = (
        page.bar.model_button, page.bar.new_button, page.bar.drawer_button, page.history.search,
        page.history.list, page.history.bin_button, page.composer.edit, page.composer.attach_button,
        page.view.last_answer().again_button, window.rail.buttons["shelf"],
    )  # fmt: skip
    assert reached.issuperset(parts)


def test_a_new_name_is_typed_in_a_field_that_is_high_enough(window, page, qtbot):
    window.activateWindow()
    page.history.new_folder()
    qtbot.waitUntil(lambda: isinstance(QApplication.focusWidget(), QLineEdit))
    field = QApplication.focusWidget()
    assert field.height() >= field.sizeHint().height()


def test_without_a_model_the_input_says_what_to_do(window, chat_model, qtbot):
    window.show_page("chat")
    page = window.chat
    assert "No model" in page.composer.edit.placeholderText()
    page.composer.set_text("Hello?")
    qtbot.keyClick(page.composer.edit, Qt.Key.Key_Return)
    assert "No model" in page.toast._text.text() and page.composer.text() == "Hello?"
    window.open_model(str(chat_model))
    qtbot.waitUntil(lambda: page.state is State.READY, timeout=LONG)
    assert page.composer.edit.placeholderText() == "Write a message…"


def test_deleting_a_chat_undo_and_the_bin(page, qtbot):
    _ask(page, qtbot, "keep me")
    qtbot.waitUntil(lambda: _chats(page) == ["keep me"])
    page.history.list.setFocus()
    page.history.list.setCurrentIndex(page.history.model.index(1))
    qtbot.keyClick(page.history.list, Qt.Key.Key_Delete)
    assert page.log.turns == []
    qtbot.waitUntil(lambda: _chats(page) == [])
    qtbot.keyClick(page.history.list, Qt.Key.Key_Backspace)  # nothing is bound to it
    page.toast._button.click()
    qtbot.waitUntil(lambda: _chats(page) == ["keep me"])
    page.history.delete(_row(page, "keep me"))
    page.history.bin_button.click()
    qtbot.waitUntil(lambda: _chats(page) == ["keep me"])
    (restore,) = page.history.menu_for(_row(page, "keep me"), page.history.model.index(0)).actions()
    restore.trigger()
    qtbot.waitUntil(lambda: _chats(page) == [])
    page.history.bin_button.click()
    qtbot.waitUntil(lambda: _chats(page) == ["keep me"])
    page.history.choose(_row(page, "keep me"))
    qtbot.waitUntil(lambda: _texts(page)[:1] == ["keep me"])


@pytest.mark.parametrize("how", ["Enter", "double click"])
def test_a_chat_comes_out_of_the_bin(page, qtbot, how):
    def bring_back():
        history.list.setFocus()
        history.list.setCurrentIndex(history.model.index(0))
        if how == "Enter":
            qtbot.keyClick(history.list, Qt.Key.Key_Return)
        else:
            place = history.list.visualRect(history.model.index(0)).center()
            qtbot.mouseClick(history.list.viewport(), Qt.MouseButton.LeftButton, pos=place)
            assert _chats(page) == ["keep me"]  # one click marks it
            qtbot.mouseDClick(history.list.viewport(), Qt.MouseButton.LeftButton, pos=place)

    _ask(page, qtbot, "keep me")
    history = page.history
    qtbot.waitUntil(lambda: _chats(page) == ["keep me"])
    history.delete(_row(page, "keep me"))
    history.show_bin(True)
    for _ in range(2):
        qtbot.waitUntil(lambda: _chats(page) == ["keep me"])
        bring_back()
        qtbot.waitUntil(lambda: _chats(page) == [])
        assert "back" in page.toast._text.text()
        page.toast._button.click()
    qtbot.waitUntil(lambda: _chats(page) == ["keep me"])
    bring_back()
    qtbot.waitUntil(lambda: _chats(page) == [])
    history.show_bin(False)
    assert _chats(page) == ["keep me"]


def test_search_in_japanese_opens_the_branch_at_the_message(page, qtbot):
    _ask(page, qtbot, "京都の桜はいつ咲きますか")
    _ask(page, qtbot, "では大阪は")
    first = page.log.turns[0]
    page.act("edit", first)
    page.composer.set_text("東京の桜はいつ咲きますか")
    page.send()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    page.new_chat()
    for query, count in (("京都の桜", 1), ("大阪", 1), ("桜", 2), ("さくら餅", 0)):
        page.history.search.setText(query)
        qtbot.waitUntil(lambda q=query, n=count: _hits(page, q) == n, timeout=LONG)
    page.history.search.setText("大阪")
    qtbot.waitUntil(lambda: _hits(page, "大阪") == 1)
    index = next(i for i, row in enumerate(page.history.model.rows()) if row.message)
    qtbot.mouseClick(
        page.history.list.viewport(), Qt.MouseButton.LeftButton,
        pos=page.history.list.visualRect(page.history.model.index(index)).center(),
    )  # fmt: skip
    qtbot.waitUntil(lambda: len(page.log.turns) == 4)
    assert [t.text for t in page.log.turns if t.role == "user"] == ["京都の桜はいつ咲きますか", "では大阪は"]


def _hits(page, query):
    """How many messages are found, -1 while the list is about something else."""
    rows = page.history.model.rows()
    if page.history._hits is None or any(query not in row.detail and row.message for row in rows):
        return -1
    return sum(row.message is not None for row in rows)


def test_folders_pins_and_names(page, qtbot):
    _ask(page, qtbot, "about work")
    qtbot.waitUntil(lambda: _chats(page) == ["about work"])
    chat = _row(page, "about work")
    page.history.model.setData(page.history.model.index(1), "  会議の   準備 ")
    qtbot.waitUntil(lambda: _chats(page) == ["会議の 準備"])
    folder = page.history.new_folder(chat.id)
    qtbot.waitUntil(lambda: any(row.indented for row in page.history.model.rows()))
    row = next(row for row in page.history.model.rows() if row.kind == "folder")
    page.history.choose(row)
    assert not any(row.indented for row in page.history.model.rows())
    page.history.choose(next(row for row in page.history.model.rows() if row.kind == "folder"))
    page.history.pin(chat.id, True)
    qtbot.waitUntil(lambda: page.history.model.rows()[0].text == "Pinned")
    page.history.pin(chat.id, False)
    page.history.delete(row)
    qtbot.waitUntil(lambda: not any(row.kind == "folder" for row in page.history.model.rows()))
    assert _chats(page) == ["会議の 準備"]
    page.toast._button.click()
    qtbot.waitUntil(lambda: any(row.id == folder.id for row in page.history.model.rows()))
    for index in range(page.history.model.rowCount()):
        assert page.history.model.index(index).data(ROW).text


def test_export_and_import_give_the_same_chat(page, qtbot, tmp_path):
    _ask(page, qtbot, "京都 <b>\n\n```python\nprint(1)\n```")
    page.answer_again()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    texts, chat = _texts(page), page.log.chat.id
    for kind, name, count in (("markdown", "a.md", 2), ("html", "b.html", 3), ("jsonl", "c.jsonl", 3)):
        path = tmp_path / name
        page.transfer.write(chat, kind, path)
        qtbot.waitUntil(path.exists, timeout=LONG)
        imported = []
        page.transfer.imported.connect(imported.extend)
        page.transfer.read([path])
        qtbot.waitUntil(lambda i=imported: bool(i) or page.notice.isVisible(), timeout=LONG)
        assert imported, page.notice.text()
        page.transfer.imported.disconnect(imported.extend)
        qtbot.waitUntil(lambda i=imported: [page.log.chat.id] == i, timeout=LONG)
        assert imported != [chat] and _texts(page) == texts and len(page.log.tree) == count
    qtbot.waitUntil(lambda: len(_chats(page)) == 4)
    page.toast._button.click()
    qtbot.waitUntil(lambda: len(_chats(page)) == 3)
    (tmp_path / "bad.jsonl").write_text("no", encoding="utf-8")
    page.transfer.read([tmp_path / "bad.jsonl"])
    qtbot.waitUntil(page.notice.isVisible, timeout=LONG)
    assert "bad.jsonl" in page.notice.text()


def test_a_full_context_is_a_choice(page, qtbot):
    _ask(page, qtbot, "x" * 2500)
    _ask(page, qtbot, "y" * 1000)
    before = _texts(page)
    page.composer.set_text("z" * 2000)
    with qtbot.waitSignal(page.counter.counted, timeout=LONG):
        page._count()
    assert page.composer._used.property("level") == "over" and "choose" in page.composer._used.toolTip()
    page.send()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert _texts(page) == before and page.composer.text() == "z" * 2000
    assert page.drop_button.isVisible() and page.new_chat_button.isVisible()
    page.drop_button.click()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert len(page.log.turns) == 6 and page.log.turns[-1].text
    assert page.view._cut.isVisible() and page.drawer.drop_box.isChecked()
    assert _stored(page, qtbot, lambda store: store.chat(page.log.chat.id)).drop_oldest
    assert page.log.turns[-1].numbers.prompt_tokens < 4096


def test_what_cannot_help_is_not_offered_for_a_message_that_is_too_long(page, qtbot):
    _ask(page, qtbot, "one")
    page.composer.set_text("z" * 9000)
    page.send()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert page.composer.text() == "z" * 9000 and "This message needs 90" in page.notice.text()
    assert not page.drop_button.isVisible() and not page.new_chat_button.isVisible()


def test_documents_go_along_and_are_counted_and_kept(page, qtbot, tmp_path):
    document = docx.Document()
    document.add_paragraph("議題は予算です。")
    document.save(str(tmp_path / "議事録.docx"))
    (tmp_path / "notes.txt").write_bytes("買い物".encode("cp932") * 20)
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.4 nothing")
    page.attach_files([str(tmp_path / name) for name in ("議事録.docx", "notes.txt", "bad.pdf")])
    qtbot.waitUntil(lambda: page.notice.isVisible() and not page.reader.busy, timeout=LONG)
    assert "bad.pdf" in page.notice.text()
    assert [a.name for a in page.composer.attachments.all()] == ["議事録.docx", "notes.txt"]
    assert page.composer.button.isEnabled()
    with qtbot.waitSignal(page.counter.counted, timeout=LONG):
        page._count()
    page.open_preview()
    assert (
        "議題は予算です。" in page.preview.view.toPlainText() and "買い物" in page.preview.view.toPlainText()
    )
    assert page.preview.view.toPlainText().startswith("u:[議事録.docx]")
    page.preview.close()
    page.send()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert page.composer.attachments.all() == ()
    stored = _stored(page, qtbot, lambda store: store.tree(page.log.chat.id).path()[0])
    assert stored.attachments[0] == Attachment("議事録.docx", "議題は予算です。")


def test_nothing_is_sent_while_a_document_is_being_read(page, qtbot, tmp_path):
    """Else the message goes without it, and the document is left for the next one."""
    (tmp_path / "本.txt").write_text("一行です。\n" * 20, encoding="utf-8")
    page.composer.set_text("summarize")
    assert page.composer.button.isEnabled()
    page.attach_files([str(tmp_path / "本.txt")])
    assert page.reader.busy and not page.composer.button.isEnabled()
    qtbot.keyClick(page.composer.edit, Qt.Key.Key_Return)
    page.send()
    assert page.composer.text() == "summarize" and not page.log.turns
    qtbot.waitUntil(page.composer.button.isEnabled, timeout=LONG)
    qtbot.keyClick(page.composer.edit, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: not page.busy and bool(page.log.turns), timeout=LONG)
    assert [a.name for a in page.log.turns[0].attachments] == ["本.txt"]


def test_moods_and_presets(page, qtbot):
    page.composer.moods.buttons["precise"].click()
    assert page.drawer.sampling().temperature == 0.2 and page.composer.moods.buttons["precise"].isChecked()
    page.drawer.numbers["temperature"].field.setValue(0.33)
    assert not any(button.isChecked() for button in page.composer.moods.buttons.values())
    page.drawer.reset()
    assert page.composer.moods.buttons["balanced"].isChecked()
    presets = page.drawer.presets
    page.drawer.prompt.setPlainText("いつも俳句で答える。")
    presets.save("俳句")
    qtbot.waitUntil(lambda: [p.name for p in presets.presets()] == ["俳句"])
    page.drawer.prompt.clear()
    (action,) = [a for a in presets.menu_now().actions() if a.text() == "俳句"]
    action.trigger()
    assert page.drawer.system_prompt() == "いつも俳句で答える。"
    presets.delete(presets.presets()[0])
    qtbot.waitUntil(lambda: presets.presets() == [])
    page.toast._button.click()
    qtbot.waitUntil(lambda: len(presets.presets()) == 1)


def test_enter_never_sends_while_a_word_is_composed(page, qtbot):
    edit = page.composer.edit
    for step in ("に", "にほ", "日本"):
        QApplication.sendEvent(edit, QInputMethodEvent(step, []))
        qtbot.keyClick(edit, Qt.Key.Key_Return)
        assert page.log.turns == [] and not page.busy
    commit = QInputMethodEvent("", [])
    commit.setCommitString("日本")
    QApplication.sendEvent(edit, commit)
    assert page.log.turns == []
    qtbot.keyClick(edit, Qt.Key.Key_Return)
    assert page.log.turns[0].text == "日本"
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)


def test_words_are_shown_at_most_thirty_times_a_second(page, qtbot):
    shown, begun = [], []
    page.drawer.numbers["max_tokens"].field.setValue(400)

    def watch(event):
        if isinstance(event, Token) and not begun:
            begun.append(time.monotonic())
            text = page.view.last_answer().text
            show = text.set_markdown
            text.set_markdown = lambda words: (shown.append(len(words)), show(words))

    page._runner.happened.connect(watch)
    _ask(page, qtbot, "a long one")
    seconds = time.monotonic() - begun[0]
    assert page.log.turns[-1].numbers.tokens == 400
    assert 0 < len(shown) <= 30 * seconds + 2  # the first, and the last when all is there


def test_escape_leaves_the_message_that_is_edited(window, page, qtbot):
    _ask(page, qtbot, "one")
    page.composer.set_text("a draft")
    page.act("edit", page.log.turns[0])
    page.escape()
    assert page.composer.text() == "a draft"


def test_ctrl_f_goes_to_the_search(window, page, qtbot):
    page.bar.history_button.click()
    assert not page.history.isVisible()
    page.find_in_chats()
    assert page.history.isVisible()


def test_another_chat_can_be_opened_during_an_answer(page, qtbot):
    _ask(page, qtbot, "first chat")
    first = page.log.chat.id
    page.new_chat()
    page.drawer.numbers["max_tokens"].field.setValue(4000)
    opened = []

    def act(event):
        if isinstance(event, Token) and not opened:
            opened.append(page.log.chat.id)
            page.open_chat(first)

    page._runner.happened.connect(act)
    _ask(page, qtbot, "second chat")
    qtbot.waitUntil(lambda: page.log.chat.id == first, timeout=LONG)
    assert _texts(page)[0] == "first chat"
    cut = _stored(page, qtbot, lambda store: store.tree(opened[0]).path()[-1])
    assert cut.text and cut.ending == "stopped"


def test_a_damaged_chat_file_is_set_aside_with_a_sentence(settings, qtbot):
    path = settings.path.parent / "chats.sqlite3"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this is no database" * 200)
    window = MainWindow(settings)
    qtbot.addWidget(window)
    window.show()
    qtbot.waitUntil(window.chat.notice.isVisible, timeout=LONG)
    assert "chats.sqlite3.bad" in window.chat.notice.text()
    assert path.with_name("chats.sqlite3.bad").read_bytes() == b"this is no database" * 200
    window.chat.stop_and_wait()
    window.convert.stop_and_wait()


def test_a_long_chat_is_built_piece_by_piece(window, qtbot):
    chat = Chat(title="long")
    nodes: list[Node] = []
    for number in range(40):
        parent = nodes[-1].id if nodes else None
        nodes.append(Node("assistant" if number % 2 else "user", f"text {number}", parent, ending="stop"))
    other = Chat(title="open before")
    window.chat.store.ask(lambda store: store.import_chat(other, [Node("user", "hello", ending="stop")]))
    window.chat.store.ask(lambda store: store.import_chat(chat, nodes))
    view = window.chat.view
    window.chat.open_chat(other.id)
    qtbot.waitUntil(lambda: len(view._messages) == 1, timeout=LONG)
    built = []
    window.chat.view.show_log = lambda *args: (
        type(view).show_log(view, *args),
        built.append(len(view._messages)),
    )
    window.chat.open_chat(chat.id)
    qtbot.waitUntil(lambda: bool(built), timeout=LONG)
    assert built[0] < 10
    qtbot.waitUntil(lambda: len(view._messages) == 40, timeout=LONG)
    assert [m.turn.text for m in view._messages] == [f"text {number}" for number in range(40)]
    assert isinstance(view._messages[0], UserMessage)


STREAMER = """
import sys
from PySide6.QtWidgets import QApplication
from PySide6.QtCore import QTimer
from bitconverter.gui.appearance import prepare
from bitconverter.gui.main_window import MainWindow
from bitconverter.settings import Settings
app = QApplication([])
settings = Settings(__import__("pathlib").Path(sys.argv[1]) / "settings.json")
settings["max_tokens"] = 4000
settings["temperature"] = 0.0  # always the same answer, which goes on for longer than the test looks
prepare(app, settings)
window = MainWindow(settings)
window.open_model(sys.argv[2])
page = window.chat
def look():
    if page.state.name == "READY" and not page.log.turns:
        page._send_text("go")
    if page.log.turns and page.log.turns[-1].role == "assistant":
        text = page.log.turns[-1].text
        if text:  # behind what has been asked of the store so far
            page.store.ask(lambda store: store.tree(page.log.chat.id).path()[-1].text,
                           lambda saved: print(len(saved), flush=True))
timer = QTimer()
timer.timeout.connect(look)
timer.start(50)
window.show()
app.exec()
"""


def test_a_program_that_is_killed_while_it_answers_loses_nothing_that_was_saved(tmp_path, chat_model):
    home = tmp_path / "home"
    home.mkdir()
    child = subprocess.Popen(
        [sys.executable, "-c", STREAMER, str(home), str(chat_model)],
        env=_environment(home), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with child:
        said = 0
        for line in child.stdout:
            said = int(line)
            if said > 40:
                break
        child.kill()
    store = ChatStore(Path(home) / "chats.sqlite3")
    assert store.set_aside is None and store.state("open") == str(store.chats()[0].id)
    question, answer = store.tree(store.chats()[0].id).path()
    assert question.text == "go" and len(answer.text) >= said > 40
    assert answer.ending in ("interrupted", "length")
    store.close()


def _environment(home):
    return {**os.environ, "BITCONVERTER_HOME": str(home), "QT_QPA_PLATFORM": "offscreen"}
