"""Cuts a streamed text where certain words begin, for chat formats whose end of an answer is no token."""


class StopText:
    """Push the pieces of a text; what might be the beginning of `stop` is held back until that is known."""

    def __init__(self, stop: str) -> None:
        """ "" stops nothing."""
        self._stop, self._held = stop, ""
        self.found = False

    def push(self, piece: str) -> str:
        """What may be shown after this piece. Once `stop` has come, `found` is True, and nothing more is."""
        if not self._stop or self.found:
            return "" if self.found else piece
        text = self._held + piece
        before, self.found = text.partition(self._stop)[0], self._stop in text
        if self.found:
            self._held = ""
            return before
        kept = next(
            n
            for n in range(min(len(text), len(self._stop) - 1), -1, -1)
            if self._stop.startswith(text[len(text) - n :])
        )
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def finish(self) -> str:
        """The text is over: what was held back was no stop."""
        text, self._held = self._held, ""
        return text
