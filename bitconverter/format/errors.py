"""UserError: what went wrong, as a code with fields, so that every front end can say it in its own language."""

from typing import Any


class UserError(Exception):
    """Bad input or surroundings: the user can do something about it.

    `code` is stable (kebab-case), `fields` are plain values; `str(error)` is the English
    sentence: what happened, why, and what to do.
    """

    def __init__(self, code: str, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.code = code
        self.fields = fields


class FormatError(UserError):
    """A file's content breaks its format."""
