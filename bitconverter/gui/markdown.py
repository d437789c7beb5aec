"""Markdown of a model's answer as the HTML that Qt's text widgets understand.

HTML in the answer stays text, pictures are not loaded: an answer cannot reach the disk or the network.
"""

import html
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_by_name
from pygments.util import ClassNotFound

from bitconverter.gui.code_style import LightCode
from bitconverter.gui.theme import Colors

COPY_SCHEME = "copy-code"
USUAL = ("python", "bash", "javascript", "html", "json", "java", "c++", "sql")
MONO_POINTS = 9.5  # of code, at the usual text size
MOST_COLOURED = 12_000  # letters of code; colouring more would hold the window up


@lru_cache(maxsize=256)
def _highlighted(code: str, language: str, dark: bool) -> str:
    try:
        lexer = get_lexer_by_name(language, stripnl=False) if language else TextLexer(stripnl=False)
    except ClassNotFound:
        lexer = TextLexer(stripnl=False)
    style = "github-dark" if dark else LightCode
    text: str = highlight(code, lexer, HtmlFormatter(noclasses=True, nowrap=True, style=style))
    return text.rstrip("\n")


def colour_usual() -> None:
    """Make the lexers of usual languages ready: the first code in one of them takes 50 ms and more."""
    for language in USUAL:
        _highlighted("x = 1", language, False)


class _Renderer(RendererHTML):
    """Code in boxes with a copy link. `env` carries the colours, the words and the code found."""

    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        words = tokens[idx].info.split()
        return _code_box(tokens[idx].content, words[0] if words else "", env)

    def code_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return _code_box(tokens[idx].content, "", env)

    def code_inline(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        colors: Colors = env["colors"]
        text = html.escape(tokens[idx].content)
        return (
            f'<span style="font-family:{env["mono"]}; font-size:{MONO_POINTS * env["scale"]:.1f}pt; '
            f'background-color:{colors.raised};">&nbsp;{text}&nbsp;</span>'
        )

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return html.escape(f"[{tokens[idx].content}]")

    def hr(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return "<hr/>"

    def table_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        colors: Colors = env["colors"]
        return (
            f'<table border="1" cellspacing="0" cellpadding="6" '
            f'style="border-collapse:collapse; border-style:solid; border-color:{colors.strong_border}; '
            f'margin-bottom:10px;">'
        )


def _code_box(code: str, language: str, env: Any) -> str:
    colors: Colors = env["colors"]
    env["codes"].append(code.rstrip("\n"))
    number = len(env["codes"]) - 1
    head = f"color:{colors.muted}; font-size:{8.5 * env['scale']:.1f}pt;"
    colored = _highlighted(code, language.lower() if len(code) < MOST_COLOURED else "", colors.dark)
    return (
        f'<table border="0" width="100%" cellspacing="0" cellpadding="0" bgcolor="{colors.code}" '
        f'style="margin-top:4px; margin-bottom:10px;">'
        f'<tr><td style="padding:6px 12px 0px 12px; {head}">{html.escape(language) or "&nbsp;"}</td>'
        f'<td align="right" style="padding:6px 12px 0px 12px; {head}">'
        f'<a href="{COPY_SCHEME}:{number}" style="color:{colors.accent}; text-decoration:none;">'
        f"{html.escape(env['copy'])}</a></td></tr>"
        f'<tr><td colspan="2" style="padding:4px 12px 10px 12px;"><pre style="white-space:pre-wrap; margin:0; '
        f'font-family:{env["mono"]}; font-size:{MONO_POINTS * env["scale"]:.1f}pt;">'
        f"{colored}</pre></td></tr></table>"
        '<p style="font-size:2pt; margin:0px;">&nbsp;</p>'  # Qt gives tables no margin below
    )


_MARKDOWN = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer)
_MARKDOWN.enable(["table", "strikethrough"])


def render(text: str, colors: Colors, mono: str, copy: str, scale: float = 1.0) -> tuple[str, list[str]]:
    """Returns (html, the code blocks in order). `mono` is a CSS font family, `copy` the word of the copy
    link, whose address is `copy-code:<number of the block>`; `scale` is that of the text size."""
    env: dict[str, Any] = {
        "colors": colors,
        "mono": mono,
        "scale": scale,
        "copy": copy,
        "codes": [],
    }
    return _MARKDOWN.render(text, env), env["codes"]


def document_style(colors: Colors, scale: float = 1.0) -> str:
    """The default style sheet of the documents that show what render() returns."""
    first, second, third = (f"{points * scale:.1f}pt" for points in (15, 13.5, 12))
    return (
        "p, li { line-height: 118%; } p { margin-top: 0px; margin-bottom: 9px; }"
        f"h1 {{ font-size: {first}; }} h2 {{ font-size: {second}; }} h3, h4, h5, h6 {{ font-size: {third}; }}"
        "h1, h2, h3, h4, h5, h6 { margin-top: 10px; margin-bottom: 6px; font-weight: 600; }"
        "ul, ol { margin-top: 0px; margin-bottom: 9px; }"
        f"a {{ color: {colors.accent}; }} blockquote {{ color: {colors.muted}; margin-left: 18px; }}"
    )
