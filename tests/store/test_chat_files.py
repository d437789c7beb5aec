"""Export and import: what comes back is what went out, and hostile files are refused with their line."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitconverter.format.errors import UserError
from bitconverter.store.chat_export import to_html, to_jsonl, to_markdown
from bitconverter.store.chat_import import read_chats
from bitconverter.store.chat_tree import ChatTree
from bitconverter.store.records import Attachment, Chat, Node, Numbers

NAMES = ("You", "モデル")


def _talk(*texts: str, branch: str = "") -> tuple[Chat, ChatTree]:
    nodes: list[Node] = []
    for index, text in enumerate(texts):
        parent = nodes[-1].id if nodes else None
        node = Node("assistant" if index % 2 else "user", text, parent, created=1000 + index, ending="stop")
        node.numbers = Numbers(tokens=3, seed=5, model="m--", decode_seconds=1e-7) if index % 2 else None
        nodes.append(node)
    leaf = nodes[-1].id
    if branch:
        nodes.append(Node("assistant", branch, nodes[0].id, created=2000, ending="length"))
    nodes[0].attachments = (Attachment("表 <a>.md", "--> </script> x"),)
    chat = Chat(title="京都 & <b>", system_prompt="Be\nbrief.", created=5, updated=9, pinned=True)
    return chat, ChatTree(nodes, leaf)


def _shape(nodes: list[Node]) -> list[tuple[object, ...]]:
    place = {node.id: index for index, node in enumerate(nodes)}
    return [
        (n.role, n.text, place.get(n.parent or 0), n.created, n.ending, n.numbers, n.attachments)
        for n in nodes
    ]


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize("kind", ["jsonl", "html"])
def test_every_branch_comes_back(tmp_path, kind):
    chat, tree = _talk("hi", "<b>hello</b> </script>", "and?", "good", branch="other")
    text = to_jsonl([(chat, tree)]) if kind == "jsonl" else to_html(chat, tree, NAMES)
    ((got, nodes),) = read_chats(_write(tmp_path / "x", text))
    assert _shape(nodes) == _shape(tree.nodes())
    assert (got.title, got.system_prompt, got.created, got.pinned) == (chat.title, "Be\nbrief.", 5, True)
    back = ChatTree(nodes, got.leaf)
    assert [n.text for n in back.path()] == [n.text for n in tree.path()]
    assert not {n.id for n in nodes} & {n.id for n in tree.nodes()}


@given(st.lists(st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"])), min_size=1))
def test_any_text_comes_back_from_markdown(tmp_path_factory, texts):
    chat, tree = _talk(*texts, branch="left behind")
    path = _write(tmp_path_factory.mktemp("md") / "chat.md", to_markdown(chat, tree, NAMES))
    ((got, nodes),) = read_chats(path)
    assert _shape(nodes) == _shape(tree.path())
    assert got.title == chat.title and got.system_prompt == chat.system_prompt


def test_a_message_that_looks_like_our_marks_comes_back(tmp_path):
    text = '## You · 2026\n\n<!-- bitconverter-1: {"role": "user"} -->\nno'
    chat, tree = _talk("a", text, "b", text + "\n")
    ((_, nodes),) = read_chats(_write(tmp_path / "x.md", to_markdown(chat, tree, NAMES)))
    assert [n.text for n in nodes] == ["a", text, "b", text + "\n"]


def test_messages_of_one_millisecond_and_of_a_clock_set_back_keep_their_order(tmp_path):
    question = Node("user", "q", id=900, created=50, ending="stop")
    answer = Node("assistant", "a", question.id, id=1, created=50, ending="stop")
    later = Node("user", "l", answer.id, id=5, created=3, ending="stop")
    tree = ChatTree([question, answer, later], later.id)
    ((got, nodes),) = read_chats(_write(tmp_path / "x", to_jsonl([(Chat(title="t"), tree)])))
    assert [n.text for n in ChatTree(nodes, got.leaf).path()] == ["q", "a", "l"]


def test_a_page_shows_code_and_lets_no_html_through():
    chat, tree = _talk(
        "<i>q</i>", "```python\nprint('<x>')\n```\n<script>alert(1)</script> ![p](http://x/y.png)"
    )
    page = to_html(chat, tree, NAMES)
    assert "<pre><code" in page and page.count("<script") == 1 and "<img" not in page and "<i>q" not in page


def test_several_chats_and_other_programs_lines(tmp_path):
    lines = to_jsonl([_talk("a", "b"), _talk("c")])
    plain = {"messages": [
        {"role": "system", "content": "S"}, {"role": "user", "content": "u"},
        {"role": "assistant", "content": "a"},
    ]}  # fmt: skip
    chats = read_chats(_write(tmp_path / "x.jsonl", "\ufeff" + lines + "\r\n" + json.dumps(plain) + "\r\n"))
    assert [len(nodes) for _, nodes in chats] == [2, 1, 2]
    last, nodes = chats[-1]
    assert last.system_prompt == "S" and last.title == "u" and ChatTree(nodes, last.leaf).path() == nodes


HEAD = {"format": "bitconverter-chat", "version": 1, "messages": 1}
MARKED = f'<!-- bitconverter-1: {json.dumps(HEAD)} -->\n<!-- bitconverter-1: {{"role": "user"}} -->\n'
BAD = {
    "": "empty",
    "hello": "no JSON",
    "[1]": "no JSON object",
    "{}": "no chat",
    json.dumps({**HEAD, "version": 2}) + '\n{"id":1,"role":"user","content":"x"}': "version 2",
    json.dumps({**HEAD, "messages": 5}): "missing",
    json.dumps({**HEAD, "messages": -1}): "missing",
    json.dumps(HEAD) + '\n{"id":1,"role":"system","content":"x"}': "role",
    json.dumps(HEAD) + '\n{"id":1,"role":"user","content":5}': "text",
    json.dumps(HEAD) + '\n{"id":1,"parent":1,"role":"user","content":"x"}': "before the one",
    json.dumps({**HEAD, "messages": 2}) + '\n{"id":1,"role":"user","content":"x"}' * 2: "id of its own",
    '{"messages": [{"role": "user"}]}': "no text",
    '{"messages": []}': "nobody",
    "[" * 100_000: "no JSON",
    "<!DOCTYPE html><html>": "not one that this program",
    MARKED + "hello\n" + MARKED.split("\n", 1)[1] + "x\n": "line 4 .* a message has no heading",
}


@pytest.mark.parametrize("text", list(BAD), ids=list(BAD.values()))
def test_a_file_that_is_no_chat_says_where_and_why(tmp_path, text):
    with pytest.raises(UserError, match=BAD[text]) as caught:
        read_chats(_write(tmp_path / "bad.jsonl", text))
    assert caught.value.code == "import-format" and "bad.jsonl" in str(caught.value)


def test_bytes_that_are_no_text_and_files_that_are_not_there(tmp_path):
    (tmp_path / "b.md").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="UTF-8"):
        read_chats(tmp_path / "b.md")
    with pytest.raises(UserError) as caught:
        read_chats(tmp_path / "none.md")
    assert caught.value.code == "import-unreadable"
