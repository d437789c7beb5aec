"""The conversation as data: turns, and what the model is asked next."""

from dataclasses import dataclass

from bitconverter.jobs.chat import Answer, Message


@dataclass
class Turn:
    """One thing said. `answer` has the numbers of a finished reply; `end` says how a reply came to its end:
    "stop", "length", "context", or "stopped" when the user stopped it; "" while it is being written."""

    role: str
    text: str
    answer: Answer | None = None
    end: str = ""


class ChatLog:
    """Turns in order: user and assistant alternate."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self._undo: list[Turn] | None = None

    def add(self, role: str, text: str) -> Turn:
        """Append a turn."""
        turn = Turn(role, text)
        self.turns.append(turn)
        return turn

    def messages(self, system_prompt: str, draft: str = "") -> tuple[Message, ...]:
        """What the model sees: the system prompt, every turn that is complete or holds text, and the draft.
        An answer may be empty: leaving it out would put two questions in a row, which templates refuse."""
        result = [Message("system", system_prompt.strip())] if system_prompt.strip() else []
        result += [Message(turn.role, turn.text) for turn in self.turns if turn.text or turn.end]
        if draft.strip():
            result.append(Message("user", draft))
        return tuple(result)

    def remember(self) -> None:
        """Keep the turns of now for undo()."""
        self._undo = list(self.turns)

    def clear(self) -> bool:
        """Remove all turns; False when there were none. undo() brings them back."""
        if not self.turns:
            return False
        self.remember()
        self.turns = []
        return True

    def undo(self) -> bool:
        """Bring back what remember() kept; False when there is nothing to bring back."""
        if self._undo is None:
            return False
        self.turns, self._undo = self._undo, None
        return True

    def drop_last_answer(self) -> bool:
        """Remove the last turn if it is a reply; False otherwise."""
        if not self.turns or self.turns[-1].role != "assistant":
            return False
        self.turns.pop()
        return True

    def take_last_question(self) -> str | None:
        """Remove the last question and what followed it; returns its text, None when there is none."""
        for index in range(len(self.turns) - 1, -1, -1):
            if self.turns[index].role == "user":
                text = self.turns[index].text
                del self.turns[index:]
                return text
        return None
