"""Writing what the user exports."""

from pathlib import Path

from bitconverter.format.atomic import write_text
from bitconverter.format.errors import UserError


def write_export(path: Path, text: str) -> None:
    """`text` as UTF-8, whole or not at all. Raises UserError("export-failed")."""
    try:
        write_text(path, text)
    except OSError as error:
        raise UserError(
            "export-failed",
            f"{path} could not be written: {error.strerror or error}. Choose another place.",
            path=str(path),
            reason=str(error.strerror or error),
        ) from error
