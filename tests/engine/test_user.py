"""How long ago somebody touched a key or the mouse: asked of a real X server, where there is one to start."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bitconverter.engine import user_idle_seconds

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Windows always tells")


def test_without_a_display_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert user_idle_seconds() is None


ASK = "from bitconverter.engine import user_idle_seconds; print(user_idle_seconds())"


@pytest.mark.skipif(not shutil.which("Xvfb") or not shutil.which("xdotool"), reason="no X server here")
def test_the_x_server_tells(tmp_path: Path) -> None:
    reads, writes = os.pipe()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(["Xvfb", "-displayfd", str(writes)], pass_fds=[writes], **quiet)  # type: ignore[call-overload]
    try:
        os.close(writes)
        display = {"DISPLAY": f":{os.read(reads, 16).decode().strip()}"}

        def ask(**more: str) -> str:
            return subprocess.check_output(
                [sys.executable, "-c", ASK], env=os.environ | display | more, encoding="utf-8"
            )

        before = float(ask())
        subprocess.run(["xdotool", "mousemove", "30", "40"], env=os.environ | display, check=True)
        assert before >= 0 and float(ask()) >= 0
        assert ask(WAYLAND_DISPLAY="wayland-0") == "None\n"
    finally:
        server.terminate()
        server.wait()
        os.close(reads)
