"""The errors that jobs end with, for the front ends, which see nothing below the jobs."""

from bitconverter.engine import EngineError, FileError
from bitconverter.engine import FormatError as ModelFormatError
from bitconverter.format.errors import FormatError, UserError

__all__ = ["MODEL_FILE_ERRORS", "EngineError", "FormatError", "UserError"]

# of the engine: a file of the model is missing, short or damaged
MODEL_FILE_ERRORS = (FileError, ModelFormatError)
