"""What --selftest wrote, held against what it must say."""

import json
from pathlib import Path
from typing import Any

from devenv import SetupError


def parts(out: Path, status: int, said: str, frozen: bool) -> dict[str, Any]:
    """Its parts, when all of them passed in an installation of that kind; otherwise SetupError."""
    if not out.exists():
        raise SetupError(f"the self-test wrote nothing and ended with {status}: {said}")
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))["parts"]
    failed = {name: part for name, part in found.items() if not part["ok"]}
    if failed or status:
        raise SetupError(f"self-test ({status}): {json.dumps(failed, ensure_ascii=False, indent=1)}")
    if found["versions"]["frozen"] != frozen:
        raise SetupError(f"the self-test tried another program: {found['versions']}")
    if out.with_suffix(".png").stat().st_size < 10_000:
        raise SetupError("the window was not painted")
    return found
