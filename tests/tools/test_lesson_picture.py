"""The picture of a lesson is drawn from a real training, in both languages."""

import json
import subprocess
import sys
from pathlib import Path

from model_folders import write_byte_tokenizer
from PySide6.QtGui import QImage
from reference.converted import write_converted

TOOL = Path(__file__).parents[2] / "tools" / "lesson_picture.py"


def test_the_picture_of_a_lesson(tiny_model: Path, tmp_path: Path) -> None:
    model = tmp_path / "モデル"
    write_converted(tiny_model, model, 2, seed=3)
    write_byte_tokenizer(model, json.loads((model / "config.json").read_text(encoding="utf-8"))["vocab_size"])
    rows = "\n".join(json.dumps({"prompt": f"{k}?", "answer": "odd" if k % 2 else "even"}) for k in range(20))
    (tmp_path / "lesson.jsonl").write_text(rows, encoding="utf-8")
    words = [str(model), str(tmp_path / "out"), "--lesson", str(tmp_path / "lesson.jsonl"), "--window", "16"]
    done = subprocess.run(
        [sys.executable, str(TOOL), *words, "--steps", "3", "--layers", "1", "--plain", "--threads", "1"],
        capture_output=True, encoding="utf-8", timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert "logical cores" in told[0] and "nats per token" in told[1] and len(told) >= 3
    images = [QImage(str(tmp_path / f"out-{language}.png")) for language in ("en", "ja")]
    assert all(image.width() == 900 and image.height() > 500 for image in images) and images[0] != images[1]
