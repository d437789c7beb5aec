"""A chat as a file: JSON lines (all of it), HTML (all of it, to be read in a browser), Markdown (the branch
that is shown). chat_import.py reads them back. docs/FORMAT.md section 5.
"""

import html
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from bitconverter.store.chat_tree import ChatTree
from bitconverter.store.records import Chat, Node

FORMAT = "bitconverter-chat"
VERSION = 1
JSON_ID = "bitconverter-chat"  # of the script element of an HTML file that holds the JSON lines

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.6 "Segoe UI", "Yu Gothic UI", Meiryo, "Noto Sans CJK JP", sans-serif;
  max-width: 46rem; margin: 2.5rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.5rem; }
.message { margin: 1.6rem 0; overflow-wrap: break-word; }
.user > .text { background: rgba(15, 118, 110, .13); border-radius: 14px;
  margin-left: 4rem; white-space: pre-wrap; padding: .8rem 1.1rem; }
.about { color: #808890; font-size: .82rem; }
pre { background: rgba(128, 128, 128, .14); border-radius: 8px; padding: .8rem 1rem; overflow-x: auto; }
code { font-family: "Cascadia Mono", Consolas, "Noto Sans Mono", monospace; font-size: .92em; }
table { border-collapse: collapse; } td, th { border: 1px solid #8886; padding: .3rem .7rem; }
"""


def to_jsonl(chats: Sequence[tuple[Chat, ChatTree]]) -> str:
    """Each chat a line of its own, then a line per message; every branch is there."""
    return "".join(line + "\n" for chat, tree in chats for line in _lines(chat, tree))


def _lines(chat: Chat, tree: ChatTree) -> list[str]:
    numbers = {node.id: index for index, node in enumerate(tree.nodes(), 1)}
    head = {
        "format": FORMAT, "version": VERSION, "title": chat.title, "named": chat.named, "pinned": chat.pinned,
        "created": chat.created, "updated": chat.updated, "system_prompt": chat.system_prompt,
        "leaf": numbers.get(tree.leaf or 0), "messages": len(tree),
    }  # fmt: skip
    return [_json(head), *(_json(_message(node, numbers)) for node in tree.nodes())]


def _message(node: Node, numbers: dict[int, int]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "id": numbers[node.id], "parent": numbers.get(node.parent or 0), "role": node.role,
        "content": node.text, "created": node.created, "ending": node.ending,
    }  # fmt: skip
    if node.numbers is not None:
        result["numbers"] = node.numbers.as_dict()
    if node.attachments:
        result["attachments"] = [{"name": each.name, "text": each.text} for each in node.attachments]
    return result


def to_html(chat: Chat, tree: ChatTree, names: tuple[str, str]) -> str:
    """A page without scripts or links of ours; `names` are what the user and the model are called in it.
    HTML in a message stays text."""
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("image")
    parts = []
    for node in tree.path():
        is_user = node.role == "user"
        text = html.escape(node.text) if is_user else markdown.render(node.text)
        documents = "".join(f'<div class="about">{html.escape(a.name)}</div>' for a in node.attachments)
        about = f"{html.escape(names[0 if is_user else 1])} · {_time(node.created)}"
        if node.numbers is not None and node.numbers.model:
            about += f" · {html.escape(node.numbers.model)}"
        parts.append(
            f'<section class="message {node.role}"><div class="about">{about}</div>{documents}'
            f'<div class="text">{text}</div></section>'
        )
    data = to_jsonl([(chat, tree)]).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return (
        '<!DOCTYPE html>\n<html><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{html.escape(chat.title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{html.escape(chat.title)}</h1>\n" + "\n".join(parts) + "\n"
        f'<script type="application/json" id="{JSON_ID}">\n{data}</script></body></html>\n'
    )


def to_markdown(chat: Chat, tree: ChatTree, names: tuple[str, str]) -> str:
    """The branch that is shown. Comments, which no reader shows, carry what a heading cannot: they begin
    with a mark that no message contains, so any text comes back as it was."""
    path = tree.path()
    number = 1
    while any(f"bitconverter-{number}:" in node.text for node in path):
        number += 1
    mark = f"bitconverter-{number}:"
    head = {"format": FORMAT, "version": VERSION, "title": chat.title, "created": chat.created}
    head["system_prompt"] = chat.system_prompt
    parts = [f"{_comment(mark, head)}\n# {' '.join(chat.title.split())}\n"]
    for node in path:
        about: dict[str, Any] = {"role": node.role, "created": node.created, "ending": node.ending}
        if node.numbers is not None:
            about["numbers"] = node.numbers.as_dict()
        if node.attachments:
            about["attachments"] = [{"name": each.name, "text": each.text} for each in node.attachments]
        name = names[0 if node.role == "user" else 1]
        parts.append(f"## {name} · {_time(node.created)}\n\n{_comment(mark, about)}\n{node.text}\n")
    return "\n".join(parts)


def _comment(mark: str, values: dict[str, Any]) -> str:
    # a comment may hold neither "--" nor ">", which JSON has in strings only and can say in another way
    text = _json(values).replace("--", "-\\u002d").replace(">", "\\u003e").replace("<", "\\u003c")
    return f"<!-- {mark} {text} -->"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _time(milliseconds: int) -> str:
    try:
        return datetime.fromtimestamp(milliseconds / 1000).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, OSError, ValueError):  # a file may hold any number
        return "-"
