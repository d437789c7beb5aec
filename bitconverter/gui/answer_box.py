"""A question, and what was answered to it, side by side."""

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QGridLayout

from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import column, frame, label


def answer_box(role: str, question: str, answers: Sequence[tuple[str, str]]) -> QFrame:
    """`role` of the frame; `answers`: who answers, and what."""
    box = frame(role)
    inner = column(box, Space.MEDIUM, Space.SMALL)
    asked = label("strong", wrap=True, selectable=True)
    asked.setText(question)
    inner.addWidget(asked)
    sides = QGridLayout()
    sides.setHorizontalSpacing(Space.LARGE)
    for position, (who, said) in enumerate(answers):
        name, text = label("small"), label(wrap=True, selectable=True)
        name.setText(who)
        text.setText(said)
        text.setAlignment(Qt.AlignmentFlag.AlignTop)
        sides.addWidget(name, 0, position)
        sides.addWidget(text, 1, position)
        sides.setColumnStretch(position, 1)
    inner.addLayout(sides)
    return box
