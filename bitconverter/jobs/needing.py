"""What the self-test needs before anything that is tried has been imported."""

# Wide space, a character beyond 16 bits, one outside every East Asian code page: a real user's name may be so.
DIFFICULT_NAME = "田中　太郎😀 é"


class SelfTestFailed(Exception):
    """A part gave another result than it must; the text says which."""


def need(condition: bool, what: str) -> None:
    """Raises SelfTestFailed(what) unless `condition`."""
    if not condition:
        raise SelfTestFailed(what)
