"""What must hold of a window in any state: every control has a name, and no word of another language stays.
And of a program that has ended: it has left no process."""

import os
import re

import psutil
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QListView,
    QPlainTextEdit,
    QProgressBar,
    QSlider,
    QTextEdit,
    QTreeView,
    QWidget,
)

from bitconverter.gui.texts import MESSAGES

JAPANESE = re.compile("[ぁ-んァ-ヶ一-龠]")
CONTROLS = (
    QAbstractButton, QAbstractSpinBox, QAbstractItemView, QComboBox, QPlainTextEdit, QProgressBar, QLineEdit,
    QSlider, QTextEdit,
)  # fmt: skip


def nameless(window: QWidget) -> list[str]:
    """Controls that a screen reader could only call a button or a field."""
    found = []
    for widget in window.findChildren(QWidget):
        if not isinstance(widget, CONTROLS) or not widget.isVisible():
            continue
        if isinstance(widget.parent(), QAbstractSpinBox):  # Qt's own field inside; the box has the name
            continue
        if isinstance(widget, QSlider) and widget.focusPolicy() == Qt.FocusPolicy.NoFocus:
            continue  # the field beside it says the same
        if not (widget.accessibleName() or (widget.text() if isinstance(widget, QAbstractButton) else "")):
            found.append(f"{type(widget).__name__} in {type(widget.parent()).__name__}")
    return found


def contrast(first: str, second: str) -> float:
    """Of two colours, as WCAG counts it: 1 to 21."""

    def light(text: str) -> float:
        parts = [channel / 255 for channel in QColor(text).getRgb()[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(first), light(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _pattern(english: str) -> re.Pattern[str]:
    parts = re.split(r"\{[^}]*\}", english)
    return re.compile(".+?".join(re.escape(part) for part in parts), re.DOTALL)


ENGLISH = [
    _pattern(form)
    for forms in MESSAGES.values()
    if forms[0] != forms[-1]  # a name, the same in both
    for form in forms[:-1]
    if re.search("[A-Za-z]{3}", re.sub(r"\{[^}]*\}", "", form))
]


def _texts(widget: QWidget) -> set[str]:
    """All that `widget` shows or says."""
    found = {widget.toolTip(), widget.accessibleName(), widget.accessibleDescription()}
    if isinstance(widget, QLabel | QAbstractButton | QLineEdit):
        found.add(widget.text())
    if isinstance(widget, QLineEdit | QPlainTextEdit | QTextEdit):
        found.add(widget.placeholderText())
    if isinstance(widget, QComboBox):
        found |= {widget.itemText(number) for number in range(widget.count())}
    if isinstance(widget, QListView | QTreeView) and widget.model() is not None:
        model = widget.model()
        for number in range(model.rowCount()):
            for role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
                found.add(str(model.index(number, 0).data(role) or ""))
    return {text for text in found if text.strip()}


def left_in_english(window: QWidget) -> set[str]:
    """Sentences of ours that are English, of a window that should speak Japanese."""
    texts: set[str] = set()
    for widget in window.findChildren(QWidget):
        if widget.isVisible():
            texts |= _texts(widget)
    return {
        text
        for text in texts
        if not JAPANESE.search(text) and any(pattern.fullmatch(text) for pattern in ENGLISH)
    }


def in_session(session: int) -> list[int]:
    """The processes of a POSIX session: those that its leader started belong to it, also when it is gone."""
    found = []
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == session:
                found.append(pid)
        except (ProcessLookupError, PermissionError):
            continue
    return found
