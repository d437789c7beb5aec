"""Welcome: the language, this PC in plain words, and three ways on."""

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import (
    QButtonGroup,
    QGridLayout,
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from bitconverter.gui import messages
from bitconverter.gui.choose import choose_folder
from bitconverter.gui.device_text import ISA_NAMES, cards_text
from bitconverter.gui.flow import wrapped_height
from bitconverter.gui.job_worker import JobRunner
from bitconverter.gui.messages import format_size, tr
from bitconverter.gui.page import Shell
from bitconverter.gui.sections import ScrolledPage, card
from bitconverter.gui.source_card import start_folder
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import Button, IconLabel, Texts, label, row
from bitconverter.jobs.hardware import Hardware, HardwareJob, bits_that_fit, sample_model
from bitconverter.jobs.job import Event, Finished

SIZES = (("1B", 1.2e9), ("3B", 3.2e9), ("8B", 8.0e9))


class WayCard(QPushButton):
    """A large button: an icon, a word, a sentence."""

    def __init__(self, icon: str, title: str, text: str, texts: Texts) -> None:
        super().__init__()
        self.setProperty("kind", "card")
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        self._words = label("muted", wrap=True)
        self._title = label("heading", wrap=True)
        texts.set(self._title.setText, title)
        texts.set(self._words.setText, text)
        texts.set(self.setAccessibleName, title)
        texts.set(self.setAccessibleDescription, text)
        inner = QVBoxLayout(self)
        inner.setContentsMargins(Space.LARGE, Space.LARGE, Space.LARGE, Space.LARGE)
        inner.setSpacing(Space.SMALL)
        inner.addWidget(IconLabel(icon, "accent", 30))
        inner.addWidget(self._title)
        inner.addWidget(self._words)
        inner.addStretch()
        for part in (self._title, self._words):
            part.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)

    def sizeHint(self) -> QSize:
        return QSize(240, wrapped_height(self, 240))

    def minimumSizeHint(self) -> QSize:
        return QSize(150, wrapped_height(self, 150))


class WelcomePage(ScrolledPage):
    """Shown at the first start, and again whenever somebody asks for it."""

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell, "welcome-title", "welcome-subtitle")
        self.hardware: Hardware | None = None
        self._runner = JobRunner(self)
        self._runner.happened.connect(self._on_event)
        self._runner.idle.connect(shell.idle)
        self._sample = sample_model()
        self.body.addLayout(self._build_language())
        self.body.addWidget(self._build_hardware())
        self.body.addLayout(self._build_ways())
        promise = row(Space.SMALL)
        words = label("muted", wrap=True)
        self.texts.set(words.setText, "welcome-promise")
        promise.addWidget(IconLabel("shield", "ok", 18))
        promise.addWidget(words, 1)
        self.body.addLayout(promise)
        self.body.addStretch()
        self.retranslate()

    def _build_language(self) -> QHBoxLayout:
        line = row(Space.SMALL)
        self.languages = QButtonGroup(self)
        for number, (code, name) in enumerate((("ja", "日本語"), ("en", "English"))):
            button = Button("chip")
            button.setCheckable(True)
            button.setText(name)
            self.languages.addButton(button, number)
            button.clicked.connect(lambda _=False, code=code: self._choose_language(code))
            line.addWidget(button)
        line.addStretch()
        return line

    def _build_hardware(self) -> QWidget:
        box, inner = card("this-pc", self.texts)
        self._facts = QGridLayout()
        self._facts.setHorizontalSpacing(Space.WIDE)
        self._facts.setVerticalSpacing(Space.SMALL)
        self._values = []
        for position, (icon, key) in enumerate(
            (("memory", "pc-memory"), ("chip", "pc-processor"), ("panel", "pc-gpu"), ("disk", "pc-disk"))
        ):
            name, value = label("small"), label("strong", wrap=True)
            self.texts.set(name.setText, key)
            line = row(Space.SMALL)
            words = QVBoxLayout()
            words.setSpacing(1)
            words.addWidget(name)
            words.addWidget(value)
            words.addStretch()  # beside a fact of two lines
            line.addWidget(IconLabel(icon, "accent", 22), 0, Qt.AlignmentFlag.AlignTop)
            line.addLayout(words, 1)
            self._facts.addLayout(line, position // 2, position % 2)
            self._facts.setColumnStretch(position % 2, 1)
            self._values.append(value)
        self.verdicts = []
        verdicts = QVBoxLayout()
        verdicts.setSpacing(Space.TINY)
        for _ in SIZES:
            badge, sentence = label("good"), label(wrap=True)
            line = row(Space.MEDIUM)
            line.addWidget(badge, 0, Qt.AlignmentFlag.AlignTop)
            line.addWidget(sentence, 1)
            verdicts.addLayout(line)
            self.verdicts.append((badge, sentence))
        inner.addLayout(self._facts)
        inner.addSpacing(Space.TINY)
        inner.addLayout(verdicts)
        return box

    def _build_ways(self) -> QHBoxLayout:
        line = row(Space.MEDIUM)
        self.try_card = WayCard("play", "way-try", "way-try-text", self.texts)
        self.convert_card = WayCard("convert", "way-convert", "way-convert-text", self.texts)
        self.open_card = WayCard("chat", "way-open", "way-open-text", self.texts)
        self.try_card.clicked.connect(lambda: self.shell.model_wanted.emit(self._sample))
        self.convert_card.clicked.connect(lambda: self.shell.page_wanted.emit("convert"))
        self.open_card.clicked.connect(self._browse)
        if not self._sample:  # not every installation has one
            self.try_card.hide()
        for way in (self.try_card, self.convert_card, self.open_card):
            line.addWidget(way, 1)
        return line

    def _choose_language(self, code: str) -> None:
        self.settings["language"] = code
        self.shell.setting_changed.emit("language")

    def _browse(self) -> None:
        path = choose_folder(self, tr("open-model-title"), start_folder(self.settings))
        if path:
            self.shell.files_wanted.emit([path])

    def entered(self) -> None:
        """Look at the PC, unless that is done or under way."""
        self._show_hardware()  # the settings may say something else of the device by now
        if self.hardware is None and not self._runner.busy:
            folder = self.settings["output_folder"] or start_folder(self.settings)
            self._runner.start(HardwareJob(folder=folder))

    @property
    def busy(self) -> bool:
        """Whether it looks at the PC just now."""
        return self._runner.busy

    def stop_and_wait(self) -> None:
        """End the look at the PC."""
        self._runner.stop_and_wait()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Finished):
            self.hardware = event.result
            self._show_hardware()

    def _show_hardware(self) -> None:
        pc = self.hardware
        if pc is None:
            for value in self._values:
                value.setText("…")
            for badge, words in self.verdicts:
                badge.setText("…")
                words.setText("")
            return
        isa = ISA_NAMES.get(pc.isa, "-")
        texts = (
            tr("pc-memory-value", total=format_size(pc.memory), free=format_size(pc.memory_free)),
            tr("pc-processor-value", count=pc.cores, threads=pc.threads, isa=isa),
            cards_text(pc, str(self.settings["device"])),
            tr("pc-disk-value", free=format_size(pc.disk_free)),
        )
        for value, text in zip(self._values, texts, strict=True):
            value.setText(text)
        for (name, parameters), (badge, words) in zip(SIZES, self.verdicts, strict=True):
            role, key = verdict(parameters, pc.memory)
            badge.setProperty("role", role)
            badge.style().polish(badge)
            badge.setText(name)
            words.setText(tr(key))

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        super().retranslate()
        self.languages.button(0 if messages.language() == "ja" else 1).setChecked(True)
        self._show_hardware()


def verdict(parameters: float, memory: int) -> tuple[str, str]:
    """What a PC with `memory` bytes means for a model of so many parameters: a badge's role, a message."""
    bits = bits_that_fit(int(parameters), memory)
    if bits >= 16:
        return "good", "verdict-original"
    if bits >= 6.6:
        return "good", "verdict-best"
    if bits >= 3.4:
        return "good", "verdict-small"
    if bits_that_fit(int(parameters), memory, 1.0) >= 1.7:
        return "careful", "verdict-tiny"
    return "bad", "verdict-no"
