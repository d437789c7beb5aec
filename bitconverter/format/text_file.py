"""Text files that a user gives us."""

from pathlib import Path

from bitconverter.format.errors import UserError


def read_text(path: str) -> str:
    """A UTF-8 text file, with or without a byte order mark."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            "text-encoding",
            f"{path} is not UTF-8 text (byte {error.start} does not fit). Save it as UTF-8 and try again.",
            path=path,
        ) from error
    except OSError as error:
        raise UserError(
            "text-unreadable", f"{path} cannot be read: {error.strerror or error}. Check the path.", path=path
        ) from error
