"""Chats out of files: what chat_export.py writes, and JSON lines of {"messages": [{"role", "content"}]}."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from bitconverter.format.errors import UserError
from bitconverter.store.chat_export import FORMAT, JSON_ID, VERSION
from bitconverter.store.chat_store import attachments_from
from bitconverter.store.records import ENDINGS, ROLES, Chat, Node, Numbers, new_id, now

FILE_LIMIT = 200_000_000  # bytes
Imported = list[tuple[Chat, list[Node]]]

_MARK = re.compile(r"<!-- (bitconverter-\d+:) (\{.*\}) -->\n")


def read_chats(path: Path) -> Imported:
    """The chats in a file, with ids of their own: importing twice gives two.

    Raises UserError("import-unreadable") and UserError("import-format", line=...).
    """
    text = _read(path)
    if "<!DOCTYPE html>" in text[:200]:
        begin = text.find(f'<script type="application/json" id="{JSON_ID}">')
        end = text.find("</script>", begin)
        if begin < 0 or end < 0:
            raise _refused(path, "it is a page, but not one that this program exported")
        body = text[text.index(">", begin) + 1 : end]
        return _from_lines(path, body.strip("\n").split("\n"))
    if _MARK.match(text):
        return [_from_markdown(path, text)]
    return _from_lines(path, text.split("\n"))


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise _refused(path, f"it has more than {FILE_LIMIT} bytes")
        return path.read_text(encoding="utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise _refused(path, "it is not UTF-8 text") from error
    except OSError as error:
        raise UserError(
            "import-unreadable",
            f"{path} cannot be read: {error.strerror or error}. Check that it is there and may be read.",
            file=str(path),
        ) from error


def _refused(path: Path, why: str, line: int = 0) -> UserError:
    where = f", line {line}" if line else ""
    return UserError(
        "import-format",
        f"{path.name}{where} cannot be imported: {why}. Chats exported by this program (Markdown, HTML, JSONL) "
        'and JSON lines with {"messages": [{"role": ..., "content": ...}]} can.',
        file=path.name,
        why=why,
        line=line,
    )


def _from_lines(path: Path, lines: list[str]) -> Imported:
    result: Imported = []
    number = 0
    while number < len(lines):
        number += 1
        if not lines[number - 1].strip():
            continue
        value = _object(path, lines[number - 1], number)
        if value.get("format") == FORMAT:
            count = value.get("messages")
            if type(count) is not int or not 0 <= count <= len(lines) - number:
                raise _refused(path, "messages are missing", number)
            rows = [
                _object(path, line, number + 1 + i) for i, line in enumerate(lines[number : number + count])
            ]
            result.append(_tree(path, value, rows, number))
            number += count
        elif isinstance(value.get("messages"), list):
            result.append(_plain(path, value["messages"], number))
        else:
            raise _refused(path, "it holds no chat", number)
    if not result:
        raise _refused(path, "it is empty")
    return result


def _object(path: Path, line: str, number: int) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _refused(path, "it is no JSON", number) from error
    if not isinstance(value, dict):
        raise _refused(path, "it is no JSON object", number)
    return value


def _tree(path: Path, head: dict[str, Any], rows: list[dict[str, Any]], line: int) -> tuple[Chat, list[Node]]:
    _check_version(path, head, line)
    ids: dict[Any, int] = {}
    nodes: list[Node] = []
    for offset, row in enumerate(rows, 1):
        node = _node(path, row, line + offset)
        key = row.get("id")
        if type(key) is not int or key in ids:
            raise _refused(path, "a message has no id of its own", line + offset)
        parent = row.get("parent")
        if parent is not None and (type(parent) is not int or parent not in ids):
            raise _refused(path, "a message comes before the one that it follows", line + offset)
        ids[key] = node.id
        nodes.append(replace(node, parent=None if parent is None else ids[parent]))
    leaf = head.get("leaf")
    return replace(_chat(head, nodes), leaf=ids.get(leaf) if type(leaf) is int else None), nodes


def _plain(path: Path, messages: list[Any], line: int) -> tuple[Chat, list[Node]]:
    """The form of training data and of most programs: system, user, assistant in turn."""
    system: list[str] = []
    nodes: list[Node] = []
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            raise _refused(path, "a message has no text", line)
        if message.get("role") == "system":
            system.append(message["content"])
            continue
        node = _node(path, {**message, "ending": "stop"}, line)
        nodes.append(replace(node, parent=nodes[-1].id if nodes else None, created=now() + len(nodes)))
    if not nodes:
        raise _refused(path, "nobody says anything", line)
    chat = _chat({"system_prompt": "\n".join(system)}, nodes)
    return replace(chat, leaf=nodes[-1].id), nodes


def _from_markdown(path: Path, text: str) -> tuple[Chat, list[Node]]:
    first = _MARK.match(text)
    assert first is not None
    mark = first[1]
    head = _object(path, first[2], 1)
    if head.get("format") != FORMAT:
        raise _refused(path, "it holds no chat", 1)
    _check_version(path, head, 1)
    places = [match for match in _MARK.finditer(text, first.end()) if match[1] == mark]
    nodes: list[Node] = []
    for index, match in enumerate(places):
        end = len(text)
        if index + 1 < len(places):  # the next message's heading is not this one's text
            following = places[index + 1].start()
            end = text.rfind("\n## ", match.end() - 1, following)
            if end < 0:
                raise _refused(path, "a message has no heading", text.count("\n", 0, following) + 1)
        line = text.count("\n", 0, match.start()) + 1
        body = text[match.end() : end].removesuffix("\n")
        node = _node(path, {**_object(path, match[2], line), "content": body}, line)
        nodes.append(replace(node, parent=nodes[-1].id if nodes else None))
    return replace(_chat(head, nodes), leaf=nodes[-1].id if nodes else None), nodes


def _check_version(path: Path, head: dict[str, Any], line: int) -> None:
    version = head.get("version")
    if version != VERSION:
        raise _refused(path, f"it has format version {version!r}, and {VERSION} is known", line)


def _chat(head: dict[str, Any], nodes: list[Node]) -> Chat:
    def text(key: str) -> str:
        return head[key] if isinstance(head.get(key), str) else ""

    def time(key: str) -> int:
        value = head.get(key)
        return value if type(value) is int and 0 <= value < 2**60 else now()

    title = text("title") or " ".join(nodes[0].text.split())[:48] if nodes else text("title")
    return Chat(
        title=title, named=head.get("named") is True, pinned=head.get("pinned") is True,
        created=time("created"), updated=time("updated"), system_prompt=text("system_prompt"),
    )  # fmt: skip


def _node(path: Path, row: dict[str, Any], line: int) -> Node:
    role, text, ending, created = row.get("role"), row.get("content"), row.get("ending"), row.get("created")
    if role not in ROLES or not isinstance(text, str):
        raise _refused(path, "a message lacks its role (user, assistant) or its text", line)
    return Node(
        role=role, text=text, id=new_id(), ending=ending if ending in ENDINGS and ending else "stop",
        created=created if type(created) is int and 0 <= created < 2**60 else now(),
        numbers=Numbers.from_dict(row.get("numbers")), attachments=attachments_from(row.get("attachments")),
    )  # fmt: skip
