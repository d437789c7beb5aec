"""Typing: Enter sends, Shift+Enter does not, and an input method is never interrupted."""

import pytest
from PySide6.QtCore import QCoreApplication, QEvent, Qt
from PySide6.QtGui import QFocusEvent, QInputMethodEvent

from bitconverter.gui.composer import Composer


@pytest.fixture
def composer(settings, qtbot):
    result = Composer()
    qtbot.addWidget(result)
    result.set_state(can_send=True, answering=False)
    result.show()
    result.sent = 0

    def count():
        result.sent += 1

    result.send.connect(count)
    return result


def _preedit(composer, text):
    QCoreApplication.sendEvent(composer.edit, QInputMethodEvent(text, []))


def _commit(composer, text):
    event = QInputMethodEvent("", [])
    event.setCommitString(text)
    QCoreApplication.sendEvent(composer.edit, event)


def test_enter_sends_and_shift_enter_breaks_the_line(composer, qtbot):
    qtbot.keyClicks(composer.edit, "one")
    qtbot.keyClick(composer.edit, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    qtbot.keyClicks(composer.edit, "two")
    assert composer.sent == 0 and composer.text() == "one\ntwo"
    qtbot.keyClick(composer.edit, Qt.Key.Key_Return)
    assert composer.sent == 1 and composer.text() == "one\ntwo"


@pytest.mark.parametrize("key", [Qt.Key.Key_Return, Qt.Key.Key_Enter])
def test_enter_during_a_composition_never_sends(composer, qtbot, key):
    qtbot.keyClicks(composer.edit, "A")
    for step in ("に", "にほ", "にほんご", "日本語"):
        _preedit(composer, step)
        qtbot.keyClick(composer.edit, key)
        assert composer.sent == 0
    assert composer.text() == "A"
    _commit(composer, "日本語")
    assert composer.sent == 0 and composer.text() == "A日本語"
    qtbot.keyClick(composer.edit, key)
    assert composer.sent == 1


def test_a_composition_that_is_given_up_no_longer_holds_enter_back(composer, qtbot):
    qtbot.keyClicks(composer.edit, "A")
    _preedit(composer, "に")
    _preedit(composer, "")
    qtbot.keyClick(composer.edit, Qt.Key.Key_Return)
    assert composer.sent == 1


def test_losing_the_focus_ends_the_composition(composer, qtbot):
    qtbot.keyClicks(composer.edit, "A")
    _preedit(composer, "に")
    QCoreApplication.sendEvent(composer.edit, QFocusEvent(QEvent.Type.FocusOut))
    assert not composer.edit.composing


def test_nothing_or_only_spaces_cannot_be_sent(composer, qtbot):
    qtbot.keyClick(composer.edit, Qt.Key.Key_Return)
    composer.set_text("  \n ")
    qtbot.keyClick(composer.edit, Qt.Key.Key_Return)
    assert composer.sent == 0 and not composer.button.isEnabled()


def test_while_answering_the_button_stops_and_enter_does_nothing(composer, qtbot):
    composer.set_text("next question")
    composer.set_state(can_send=False, answering=True)
    qtbot.keyClick(composer.edit, Qt.Key.Key_Return)
    assert composer.sent == 0 and composer.text() == "next question"
    with qtbot.waitSignal(composer.stop):
        composer.button.click()


def test_the_input_grows_with_its_text_up_to_a_limit(composer, qtbot):
    one = composer.edit.height()
    composer.set_text("\n" * 3)
    four = composer.edit.height()
    composer.set_text("\n" * 200)
    assert one < four < composer.edit.height() < 4 * four


def test_typing_asks_for_a_new_count_of_the_context(composer, qtbot):
    with qtbot.waitSignal(composer.draft_changed):
        composer.set_text("hello")


def test_a_word_being_composed_is_not_drawn_over_the_hint(composer, qtbot):
    hint = composer.edit.placeholderText()
    QCoreApplication.sendEvent(composer.edit, QInputMethodEvent("にほん", []))
    assert hint and composer.edit.placeholderText() == ""
    composer.retranslate()
    assert composer.edit.placeholderText() == ""
    QCoreApplication.sendEvent(composer.edit, QInputMethodEvent("", []))
    assert composer.edit.placeholderText() == hint
