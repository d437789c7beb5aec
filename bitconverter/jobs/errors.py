"""The errors that jobs end with, for the front ends, which see nothing below the jobs."""

from bitconverter.engine import EngineError
from bitconverter.format.errors import FormatError, UserError

__all__ = ["EngineError", "FormatError", "UserError"]
