"""What the model answers on its way: the user's questions at every check, and any other in between."""

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QLineEdit, QVBoxLayout, QWidget

from bitconverter.gui.messages import tr
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import Button, Texts, column, frame, label, row

SHOWN = 4  # answers to a question: the first, that of the state that was kept, and the newest
LONGEST = 500  # characters of a question


class SamplesView(QFrame):
    """Emits `asked` with a question for the model at work. `answers` by question: (step, answer), in order."""

    asked = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self._texts = Texts()
        self.answers: dict[str, list[tuple[int, str]]] = {}
        self._live, self._waiting = False, False
        self._kept: int | None = None
        title = label("heading")
        self._texts.set(title.setText, "samples-now")
        self.question, self.ask_button = QLineEdit(), Button("", "chat")
        self.question.setMaxLength(LONGEST)
        self._texts.set(self.question.setPlaceholderText, "samples-question")
        self._texts.set(self.question.setAccessibleName, "samples-question")
        self.question.textChanged.connect(lambda _: self._show())
        self.question.returnPressed.connect(self._ask)
        self.ask_button.clicked.connect(self._ask)
        self._asking = QWidget()
        line = row(Space.SMALL)
        line.addWidget(self.question, 1)
        line.addWidget(self.ask_button)
        self._asking.setLayout(line)
        self._list = QVBoxLayout()
        self._list.setSpacing(Space.SMALL)
        self.boxes: list[QFrame] = []
        inner = column(self, spacing=Space.MEDIUM)
        inner.addWidget(title)
        inner.addWidget(self._asking)
        inner.addLayout(self._list)
        self._show()

    def show_live(self, live: bool) -> None:
        """Whether there is a model at work that can be asked."""
        self._live, self._waiting = live, self._waiting and live
        self._show()

    def clear(self) -> None:
        """No answers yet."""
        self.answers.clear()
        self._waiting, self._kept = False, None
        self._show_answers()

    def show_kept(self, step: int) -> None:
        """The state after `step` is the one that the soul has."""
        self._kept = step
        self._show_answers()

    def add(self, step: int, question: str, answer: str) -> None:
        """One more answer."""
        self._take(step, question, answer)
        self.unlock()
        self._show_answers()

    def show_before(self, found: list[tuple[int, str, str]]) -> None:
        """Steps, questions and answers of a training that goes on."""
        for sample in found:
            self._take(*sample)
        self._show_answers()

    def _take(self, step: int, question: str, answer: str) -> None:
        """A second answer to a question after the same step is the same one, given again by a training that went on."""
        others = [one for one in self.answers.get(question, []) if one[0] != step]
        self.answers[question] = sorted([*others, (step, answer)], key=lambda one: one[0])

    def unlock(self) -> None:
        """What was asked has been dealt with."""
        self._waiting = False
        self._show()

    def _ask(self) -> None:
        if self.ask_button.isEnabled():
            self._waiting = True
            self._show()
            self.asked.emit(self.question.text().strip())

    def _show(self) -> None:
        self._asking.setVisible(self._live)
        self.ask_button.setEnabled(self._live and not self._waiting and bool(self.question.text().strip()))
        self._texts.set(self.ask_button.setText, "samples-waiting" if self._waiting else "samples-try")
        self.setVisible(self._live or bool(self.answers))

    def _show_answers(self) -> None:
        for box in self.boxes:
            box.hide()
            box.deleteLater()
        self.boxes = [_box(question, found, self._kept) for question, found in self.answers.items()]
        for box in self.boxes:
            self._list.addWidget(box)
        self._show()

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        self._show_answers()


def _box(question: str, found: list[tuple[int, str]], kept: int | None) -> QFrame:
    """A question and how its answer changed."""
    box = frame("missing")
    inner = column(box, Space.MEDIUM, Space.TINY)
    asked = label("strong", wrap=True, selectable=True)
    asked.setText(question)
    inner.addWidget(asked)
    for step, answer in _shown(found, kept):
        when, text = label("small"), label(wrap=True, selectable=True)
        when.setText(tr("samples-kept" if step == kept else "samples-step", step=step))
        text.setText(answer or "–")
        inner.addWidget(when)
        inner.addWidget(text)
    return box


def _shown(found: list[tuple[int, str]], kept: int | None) -> list[tuple[int, str]]:
    """At most SHOWN of them, in order."""
    of_kept = [place for place, (step, _) in enumerate(found) if step == kept]
    first = list(dict.fromkeys([0, *of_kept[-1:]]))
    newest = [place for place in range(len(found)) if place not in first][len(first) - SHOWN :]
    return [found[place] for place in sorted([*first, *newest])]
