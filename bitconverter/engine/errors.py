"""The engine's status codes as exceptions."""


class EngineError(Exception):
    """A call into the engine failed; the message is the engine's own sentence."""

    def __init__(self, message: str, status: int = -1) -> None:
        super().__init__(message)
        self.status = status


class InvalidError(EngineError, ValueError):
    """The caller broke the contract of the call."""


class OutOfMemoryError(EngineError, MemoryError):
    """There is not enough memory."""


class NoRoomError(OutOfMemoryError):
    """Not one layer fits on the device: bytes that everything would take, and that there were for it."""

    def __init__(self, message: str, status: int, all_bytes: int, room_bytes: int) -> None:
        super().__init__(message, status)
        self.all_bytes, self.room_bytes = all_bytes, room_bytes


class UnsupportedError(EngineError):
    """Well-formed, but this engine, this CPU or this graphics card cannot do it."""


class NoBackendError(UnsupportedError):
    """The installation has no library for graphics cards."""

    def __init__(self, message: str) -> None:
        super().__init__(message, -3)


class Cancelled(EngineError):
    """The call stopped because its Cancel was requested."""


class FileError(EngineError):
    """A model file is missing, short or unreadable."""


class FormatError(EngineError):
    """A model file's content breaks its format."""


class ContextFullError(EngineError):
    """The session has no room for these tokens."""


class WrongDeviceError(EngineError):
    """A graphics card computes something else than the processor."""


BY_STATUS: dict[int, type[EngineError]] = {
    -1: InvalidError,
    -2: OutOfMemoryError,
    -3: UnsupportedError,
    -4: Cancelled,
    -5: FileError,
    -6: FormatError,
    -7: ContextFullError,
    -8: WrongDeviceError,
}
