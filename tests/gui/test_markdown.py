"""Answers as text with structure; nothing in them can act."""

import re

import pytest
from pygments.styles import get_style_by_name
from pygments.token import Token
from PySide6.QtCore import QUrl
from PySide6.QtGui import QColor, QGuiApplication, QTextDocument
from window_checks import contrast

from bitconverter.gui import theme
from bitconverter.gui.code_style import LightCode
from bitconverter.gui.markdown import render
from bitconverter.gui.text_block import TextBlock


def _html(text):
    return render(text, theme.LIGHT, "'Mono'", "Copy")


def test_html_in_an_answer_stays_text():
    html, _ = _html('<b>x</b> <script>alert(1)</script> <img src="http://evil/x.png">')
    assert "<script" not in html and "<img" not in html and "<b>" not in html
    assert "&lt;script&gt;" in html


def test_pictures_are_not_loaded_but_named():
    html, _ = _html("![a cat](https://example.org/x.png) ![a dog](file:///etc/passwd)")
    assert "<img" not in html and "[a cat]" in html and "x.png" not in html


def test_script_links_are_not_links():
    html, _ = _html("[x](javascript:alert(1)) [y](copy-code:0)")
    assert "javascript" not in html.split("x")[0] and 'href="javascript' not in html


def test_code_is_highlighted_and_can_be_copied(settings, qtbot):
    block = TextBlock()
    qtbot.addWidget(block)
    block.set_markdown("Look:\n\n```python\ndef f(x):\n    return x < 1\n```\n\n```\nplain & <raw>\n```")
    html, codes = _html("```python\ndef f(x):\n    return x < 1\n```")
    assert "color:" in html and codes == ["def f(x):\n    return x < 1"]
    with qtbot.waitSignal(block.copied):
        block.anchorClicked.emit(QUrl("copy-code:1"))
    assert QGuiApplication.clipboard().text() == "plain & <raw>"


@pytest.mark.parametrize(
    "colors", [theme.LIGHT, theme.DARK, theme.CONTRAST], ids=["light", "dark", "contrast"]
)
def test_every_colour_of_code_can_be_read(colors):
    style = get_style_by_name("github-dark") if colors.dark else LightCode
    for token, look in style:
        if look["color"] and token not in Token.Text.Whitespace:  # of which nothing is seen
            assert contrast("#" + look["color"], colors.code) >= 4.5, token
    html, _ = render("```python\n# words\nx = 1\n```", colors, "'Mono'", "Copy")
    for color in re.findall(r'<span style="color: (#\w+)', html):
        assert contrast(color, colors.code) >= 4.5


def test_the_lines_of_a_table_are_seen(settings, qtbot):
    block = TextBlock()
    qtbot.addWidget(block)
    block.resize(400, 100)
    block.set_markdown("| a | b |\n|---|---|\n| c | d |")
    block.show()
    line = QColor(theme.LIGHT.strong_border)
    image = block.grab().toImage()
    across = [image.pixelColor(x, 30) for x in range(image.width())]
    assert across.count(line) == 3  # left, between, right


def test_a_copy_link_written_by_the_model_is_harmless(settings, qtbot):
    block = TextBlock()
    qtbot.addWidget(block)
    QGuiApplication.clipboard().setText("from before")
    for address in ("copy-code:7", "copy-code:abc", "copy-code:", "file:///etc/passwd"):
        block.anchorClicked.emit(QUrl(address))
    assert QGuiApplication.clipboard().text() == "from before"


def test_japanese_tables_and_unfinished_code_are_shown(settings, qtbot):
    block = TextBlock()
    qtbot.addWidget(block)
    block.set_markdown("# 見出し\n\n| 都市 | 人口 |\n|---|---|\n| 東京 | 1400万 |\n\n```py\nprint('途中")
    text = block.toPlainText()
    for part in ("見出し", "東京", "1400万", "print('途中"):
        assert part in text
    assert "|" not in text and "```" not in text


def test_a_block_is_as_high_as_its_text(settings, qtbot):
    block = TextBlock()
    qtbot.addWidget(block)
    block.resize(300, 50)
    block.show()
    block.set_plain("one line")
    low = block.height()
    block.set_plain("many\n" * 20)
    assert block.height() > 10 * low
    assert not block.verticalScrollBar().isVisible()


def test_resources_named_in_a_text_are_never_fetched(settings, qtbot, tmp_path):
    block = TextBlock()
    qtbot.addWidget(block)
    file = tmp_path / "x.html"
    file.write_text("secret", encoding="utf-8")
    kind = QTextDocument.ResourceType.HtmlResource.value
    assert block.loadResource(kind, QUrl.fromLocalFile(str(file))) is None
