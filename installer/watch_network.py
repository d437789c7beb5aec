"""The network as the kernel sees it: strace over a program and all that it starts, wine's server included."""

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import devenv
from devenv import SetupError

IDLE = 5  # seconds that the window stands there and is still watched
# A program that does connect, for the proof that it would have been seen. Nobody listens there.
CONNECTS = "import socket; socket.socket().connect_ex(('127.0.0.1', 9))"
# with seccomp: all other calls run at full speed
STRACE = (
    "strace", "-f", "--seccomp-bpf", "-qq", "-s", "64", "-e", "signal=none",
    "-e", "trace=connect,sendto,sendmsg,sendmmsg,bind",
)  # fmt: skip
_CALL = re.compile(r"\b(connect|sendto|sendmsg|sendmmsg|bind)\(.*\bsa_family=AF_INET6?\b")


@contextmanager
def watched(
    command: Sequence[str], env: Mapping[str, str], trace: Path, cwd: Path | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run it under strace, which writes into `trace`; killed with all that it started when the block ends."""
    devenv.apt_install(["strace"], "strace, to watch the network")
    process = subprocess.Popen(
        [*STRACE, "-o", str(trace), *command],
        env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        for child in _children(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        process.wait(60)


def _children(number: int) -> list[int]:
    text = Path(f"/proc/{number}/task/{number}/children")
    return [int(word) for word in text.read_text(encoding="ascii").split()] if text.exists() else []


def connections(trace: Path) -> list[str]:
    """The calls of a trace that reach for a network."""
    if not trace.is_file() or not trace.stat().st_size:
        raise SetupError("strace saw nothing at all: it may not be allowed to trace here")
    return [
        line
        for line in trace.read_text(encoding="utf-8", errors="replace").splitlines()
        if _CALL.search(line)
    ]


def expect_connections(trace: Path, wanted: bool) -> None:
    """Raises SetupError if there are some, or where some are wanted and none was seen."""
    found = connections(trace)
    if wanted and not found:
        raise SetupError("a program that connects was not seen connecting: the watch is blind")
    if found and not wanted:
        raise SetupError(f"connections while it starts: {found[:10]}")
