"""The guides call buttons and pages what the window calls them, in both languages."""

import re
from pathlib import Path

import pytest

from bitconverter.gui.texts import MESSAGES

ROOT = Path(__file__).parents[2]
# bold or in brackets, and no name in the window: systems, words that are explained, the installer's button
OTHERS = {"Windows", "Linux", "loss", "validation", "損失", "確認用の行", "使う", "使わない", "インストール"}
GUIDES = [
    ("docs/guide/en.md", 0, r"\*\*([^*]+)\*\*"),
    ("docs/guide/ja.md", -1, r"\*\*([^*]+)\*\*|「([^」]+)」"),
    ("docs/TRAINING_GUIDE.md", 0, r"\*\*([^*]+)\*\*"),
    ("docs/TRAINING_GUIDE.ja.md", -1, r"\*\*([^*]+)\*\*|「([^」]+)」"),
]
SIZES = [f"size-{name}" for name in ("tiny", "4gb", "8gb", "best")]


def _text(file: str) -> str:
    return re.sub(
        r"^```.*?^```", "", (ROOT / file).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )


@pytest.mark.parametrize(("file", "form", "names"), GUIDES, ids=[file for file, _, _ in GUIDES])
def test_what_a_guide_names_is_in_the_window(file, form, names):
    shown = {forms[form] for forms in MESSAGES.values()} | {
        forms[form].rstrip("…") for forms in MESSAGES.values()
    }
    found = {next(filter(None, match.groups())) for match in re.finditer(names, _text(file))}
    assert len(found - OTHERS) > 0
    assert {name for name in found - OTHERS if name not in shown} == set()


@pytest.mark.parametrize(("file", "form"), [("docs/guide/en.md", 0), ("docs/guide/ja.md", -1)])
def test_the_guide_has_the_sizes_and_the_badge_of_the_window(file, form):
    text = _text(file)
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", text, re.MULTILINE)
    assert [row for row in rows if row in {MESSAGES[key][form] for key in SIZES}] == [
        MESSAGES[key][form] for key in SIZES
    ]
    assert f"`{MESSAGES['device-partly'][form].format(layers=20, all_layers=32)}`" in text
    for page in ("page-settings", "page-diagnostics", "set-device"):
        assert MESSAGES[page][form] in text


@pytest.mark.parametrize("file", [file for file, form, _ in GUIDES if form])
def test_a_japanese_guide_is_written_as_the_window_is(file):
    """A space between Latin letters or digits and Japanese, and one word for one thing."""
    text = re.sub(r"`[^`\n]*`|\]\([^)]*\)", "", _text(file))
    kana = "ぁ-んァ-ヶー一-龠々"
    faults = re.findall(
        rf".{{0,9}}(?:[A-Za-z0-9%][{kana}]|[{kana}][A-Za-z0-9]|[Ａ-Ｚａ-ｚ０-９]).{{0,9}}", text
    )
    faults += re.findall(".{0,9}(?:チャット|サイズ|メモリ(?!ー)|フォルダ(?!ー)|装置|くらべ).{0,9}", text)
    assert faults == []
