"""compare_speed.py reads its peers as `benchmark` does, and writes what it prints."""

import json
import sys
from pathlib import Path

import compare_speed
import pytest
from python_program import write_program


@pytest.mark.skipif(
    sys.platform == "win32", reason="the stand-in for llama-bench is a script with a first line"
)
@pytest.mark.parametrize(("prompt", "kinds"), [(8, ["prefill", "decode"]), (0, ["decode"])])
def test_a_peer_that_prints_more_than_json_is_compared(
    prompt: int,
    kinds: list[str],
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program, gguf, out = tmp_path / "llama-bench", tmp_path / "same.gguf", tmp_path / "out.json"
    rows = [{"n_gen": 0, "avg_ts": 20.0}] * (prompt > 0) + [{"n_gen": 2, "avg_ts": 10.0}]
    code = f"print('[1] core')\nprint('''{json.dumps(rows)}''')"
    write_program(program, code)
    gguf.write_bytes(b"GGUF")
    words = ["--peer", "ik", str(program), str(gguf), "--threads", "1", "--rounds", "1"]
    words += ["--prompt", str(prompt), "--new", "2", "--json", str(out)]
    monkeypatch.setattr(sys, "argv", ["compare_speed.py", str(tiny_model), *words])
    compare_speed.main()
    found = json.loads(out.read_text(encoding="utf-8"))["rows"]
    assert [row["what"] for row in found] == kinds
    for row in found:
        assert row["theirs"] == {"prefill": 20.0, "decode": 10.0}[row["what"]]
        assert row["ratio"] == row["ours"] / row["theirs"]
    assert "| 1 | decode 2 |" in capsys.readouterr().out
