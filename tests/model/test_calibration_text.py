"""The calibration text: the same windows for the same seed, of the whole mix, errors in sentences."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_folders import write_byte_tokenizer

from bitconverter.format.errors import UserError
from bitconverter.model.calibration_text import MIX, CalibrationText, calibration_text
from bitconverter.model.tokenizer import Tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_byte_tokenizer(tmp_path)
    return tmp_path


def draw(folder: Path, *paths: Path, **more: Any) -> CalibrationText:
    options = {"windows": 16, "window": 64, "seed": 0, "vocab": 256, **more}
    return calibration_text(folder, [str(path) for path in paths], **options)


def test_the_default_mix_is_drawn_from_all_its_files(folder: Path) -> None:
    text = draw(folder)
    assert text.ids.shape == (16, 64) and text.ids.dtype == np.int32
    assert text.sources == tuple(MIX)
    words = Tokenizer(folder).decode(list(text.ids.reshape(-1)))
    assert "User: " in words or "Assistant: " in words  # this tokenizer has no chat template
    assert any("\u3040" <= c <= "\u30ff" for c in words)


def test_a_seed_decides_the_windows(folder: Path) -> None:
    a, b, c = draw(folder), draw(folder), draw(folder, seed=1)
    assert np.array_equal(a.ids, b.ids) and a.sha256 == b.sha256
    assert a.sha256 != c.sha256


def test_the_chat_template_of_the_model_is_used(folder: Path) -> None:
    template = "{% for m in messages %}<<{{ m['role'] }}>>{{ m['content'] }}{% endfor %}"
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    text = draw(folder, windows=64, window=256)
    assert "<<user>>" in Tokenizer(folder).decode(list(text.ids.reshape(-1)))


def test_a_template_that_accepts_no_system_message_is_used_without(folder: Path) -> None:
    """As Mistral's: before, all dialogue was written plainly for such a model."""
    template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "<<{{ m['role'] }}>>{{ m['content'] }}{% endfor %}"
    )
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    words = Tokenizer(folder).decode(list(draw(folder, windows=64, window=256).ids.reshape(-1)))
    assert "<<user>>" in words and "<<system>>" not in words and "User: " not in words


def test_conversations_of_the_model_join_the_dialogue(folder: Path) -> None:
    template = "{% for m in messages %}<<{{ m['role'] }}>>{{ m['content'] }}{% endfor %}"
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    own = [[{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "ANSWERED " * 400}]] * 4
    words = Tokenizer(folder).decode(list(draw(folder, windows=64, window=256, own_chat=own).ids.reshape(-1)))
    assert "ANSWERED" in words and "<<user>>" in words


def test_own_files_have_equal_shares_and_windows_do_not_overlap(folder: Path) -> None:
    (folder / "a.txt").write_text("a" * 4000, encoding="utf-8")
    (folder / "b.txt").write_text("b" * 2000, encoding="utf-8")
    (folder / "c.txt").write_text("".join(chr(33 + k % 90) for k in range(5000)), encoding="utf-8")
    text = draw(folder, folder / "a.txt", folder / "b.txt", windows=10)
    firsts = [Tokenizer(folder).decode([int(row[0])]) for row in text.ids]
    assert firsts == ["a"] * 5 + ["b"] * 5
    assert text.sources == ("a.txt", "b.txt")
    single = draw(folder, folder / "c.txt", windows=3).ids
    assert len({tuple(row) for row in single}) == 3


def test_a_short_text_gives_overlapping_windows_and_a_shorter_one_an_error(folder: Path) -> None:
    path = folder / "short.txt"
    path.write_text("x" * 64, encoding="utf-8")
    assert draw(folder, path).ids.shape == (16, 64)
    path.write_text("x" * 63, encoding="utf-8")
    with pytest.raises(UserError, match="at least 64 are needed") as caught:
        draw(folder, path)
    assert caught.value.code == "calibration-short"


def test_a_file_that_is_not_utf8_is_refused(folder: Path) -> None:
    path = folder / "latin.txt"
    path.write_bytes("é".encode("latin-1") * 100)
    with pytest.raises(UserError, match="is not UTF-8") as caught:
        draw(folder, path)
    assert caught.value.code == "text-encoding"
