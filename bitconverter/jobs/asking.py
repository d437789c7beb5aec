"""Questions that are answered in the middle of a training, by the model as it is at that moment."""

from pathlib import Path

from bitconverter.engine import Cancel
from bitconverter.format.safetensors_file import SafetensorsFile
from bitconverter.format.soul_file import Adapters
from bitconverter.jobs.taught_model import TaughtModel
from bitconverter.model.calibration_text import TODAY
from bitconverter.model.chat_template import load_chat_template
from bitconverter.model.layer_stack import LayerStack
from bitconverter.model.tokenizer import Tokenizer

ANSWER_TOKENS = 48


class Asking:
    """Asks in the form in which the rows of `lesson` are learned: through the chat template where they went through
    it, with their system prompt. `model` is opened when it is first needed."""

    def __init__(self, stack: LayerStack, tokenizer: Tokenizer, lesson: str) -> None:
        self._stack, self._tokenizer, self._lesson = stack, tokenizer, lesson
        self._model: TaughtModel | None = None

    @property
    def model(self) -> TaughtModel:
        """With what was put on it last."""
        if self._model is None:
            self._model = TaughtModel(self._stack.engine, self._stack.folder, self._tokenizer)
        return self._model

    def answer(self, question: str, adapters: Adapters, cancel: Cancel) -> str:
        """Greedy, with `adapters` on the model. Raises UserError: what the chat template raises; EngineError;
        Cancelled."""
        prompt = self._prompt(question)
        self.model.wear(adapters)
        return self.model.answer(prompt, ANSWER_TOKENS, cancel)

    def _prompt(self, question: str) -> list[int]:
        notes = SafetensorsFile(Path(self._lesson)).metadata if self._lesson.lower().endswith(".u32") else {}
        if notes.get("note.style") != "chat":
            return [*self._tokenizer.begin_ids(), *self._tokenizer.encode_plainly(question)]
        system = notes.get("note.system", "")
        turns = [{"role": "system", "content": system}] if system else []
        turns.append({"role": "user", "content": question})
        text = load_chat_template(self._stack.folder).render(turns, now=TODAY)
        return self._tokenizer.encode(text, add_special_tokens=False)
