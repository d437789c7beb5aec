"""The chat file: what is written is read back, deleted things come back, damaged files are set aside."""

import dataclasses
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from bitconverter.format.errors import UserError
from bitconverter.store import chat_store, schema
from bitconverter.store.chat_store import ChatStore
from bitconverter.store.records import Attachment, Chat, Folder, Node, Numbers, Preset


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "田中 太郎 é" / "chats.sqlite3"


@pytest.fixture
def store(path: Path):
    result = ChatStore(path)
    yield result
    result.close()


def talk(store: ChatStore, *texts: str, title: str = "a chat") -> tuple[Chat, list[Node]]:
    """A chat of these texts, question and answer in turn."""
    chat = Chat(title=title)
    nodes: list[Node] = []
    for index, text in enumerate(texts):
        parent = nodes[-1].id if nodes else None
        nodes.append(Node("assistant" if index % 2 else "user", text, parent, ending="stop"))
    store.add_chat(chat)
    store.add_messages(chat.id, nodes)
    return chat, nodes


def test_what_is_written_is_there_after_a_restart(store, path):
    numbers = Numbers(tokens=7, tokens_per_second=12.5, seed=2**31 - 1, model="模型", device="CPU")
    chat = Chat(title="旅行", system_prompt="短く。", draft="書きかけ", scroll=0.25, pinned=True)
    question = Node("user", "京都 🙂\n\ud83d", attachments=(Attachment("表.md", "| a |"),), ending="stop")
    answer = Node("assistant", "はい", question.id, ending="stop", numbers=numbers)
    store.add_chat(chat)
    store.add_messages(chat.id, [question, answer])
    store.close()
    again = ChatStore(path)
    (found,) = again.chats()
    assert (found.title, found.system_prompt, found.draft) == ("旅行", "短く。", "書きかけ")
    assert (found.scroll, found.pinned, found.leaf) == (0.25, True, answer.id)
    first, second = again.tree(chat.id).path()
    assert first.text == "京都 🙂\n\ufffd" and first.attachments == question.attachments
    assert second.numbers == numbers and second.parent == first.id
    again.close()


def test_a_deleted_chat_comes_back_and_after_thirty_days_it_is_gone(store):
    chat, _ = talk(store, "one", "two")
    store.delete_chats([chat.id])
    assert store.chats() == [] and [c.id for c in store.chats(deleted=True)] == [chat.id]
    assert store.search("two") == []
    store.empty_bin()  # nothing is old enough
    store.restore_chats([chat.id])
    assert [c.id for c in store.chats()] == [chat.id] and len(store.tree(chat.id)) == 2
    store.delete_chats([chat.id])
    store.empty_bin(older_than=2**60)
    assert store.chats(deleted=True) == [] and len(store.tree(chat.id)) == 0


def test_only_what_is_in_the_bin_goes_for_good(store):
    kept, _ = talk(store, "one")
    gone, _ = talk(store, "two")
    store.delete_chats([gone.id])
    store.empty_bin(older_than=2**60)
    assert store.chat(kept.id) is not None and store.chat(gone.id) is None


def test_deleted_messages_come_back(store):
    chat, (question, answer) = talk(store, "one", "two")
    store.delete_messages([answer.id])
    assert [n.id for n in store.tree(chat.id).path()] == [question.id]
    store.restore_messages([answer.id])
    assert [n.id for n in store.tree(chat.id).path()] == [question.id, answer.id]


def test_a_deleted_folder_comes_back_with_its_chats(store):
    folder = Folder("仕事")
    chat, _ = talk(store, "one")
    store.save_folder(folder)
    store.update_chat(chat.id, folder=folder.id)
    store.delete_folder(folder.id)
    assert store.folders() == [] and store.chat(chat.id).folder == folder.id
    store.restore_folder(folder.id)
    assert store.folders() == [folder]


def test_presets_and_small_things_are_kept(store):
    preset = Preset("翻訳", "英語に訳す。")
    store.save_preset(preset)
    store.save_preset(Preset("Translator", preset.text, preset.id))
    assert [p.name for p in store.presets()] == ["Translator"]
    store.delete_preset(preset.id)
    assert store.presets() == []
    store.restore_preset(preset.id)
    assert len(store.presets()) == 1
    assert store.state("open") == ""
    store.set_state("open", "5")
    store.set_state("open", "6")
    assert store.state("open") == "6"


def test_an_unknown_field_is_refused(store):
    chat, _ = talk(store, "one")
    with pytest.raises(ValueError, match="titel"):
        store.update_chat(chat.id, titel="x")


# ---- search


TEXTS = (
    "東京都の天気を教えてください",
    "今日の東京は晴れ。Ｐｙｔｈｏｎで ｶﾀｶﾅ を書く",
    '100% sure_of "it" * NEAR',
)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("東京都", [0]),  # three letters: the index
        ("東京", [0, 1]),  # two: a look at every text
        ("晴", [1]),  # one
        ("python", [1]),  # full width and case do not matter
        ("カタカナ", [1]),
        ("天気 東京", [0]),  # all words
        ("天気　東京都の", [0]),  # an ideographic space
        ('"it"', [2]), ("100%", [2]), ("e_o", [2]), ("*", [2]), ("NEAR", [2]),  # nothing is an operator
        ("大阪", []), ("", []), ("   ", []),
    ],
)  # fmt: skip
def test_search_finds_japanese_and_whatever_is_typed(store, query, found):
    _, nodes = talk(store, *TEXTS, title="…")
    hits = store.search(query)
    assert {hit.message for hit in hits} == {nodes[i].id for i in found}
    for hit in hits:
        assert hit.start < hit.end <= len(hit.snippet)


def test_a_title_is_found_and_a_snippet_shows_the_place(store):
    chat, _ = talk(store, "あ" * 500 + "富士山" + "い" * 500, title="富士山に登る")
    title, message = store.search("富士山")
    assert title.message is None and title.chat == chat.id
    assert message.snippet[message.start : message.end] == "富士山" and len(message.snippet) < 150


def test_search_follows_what_changes(store):
    _, (question, _) = talk(store, "hello there", "general answer")
    question.text = "goodbye"
    store.save_message(question)
    assert store.search("hello") == [] and len(store.search("goodbye")) == 1
    store.delete_messages([question.id])
    assert store.search("goodbye") == []
    store.restore_messages([question.id])
    assert len(store.search("goodbye")) == 1


# ---- death and damage


def test_what_was_being_written_is_interrupted_text_and_is_found(store, path):
    chat, _ = talk(store, "question")
    answer = Node("assistant", "", store.tree(chat.id).leaf)
    store.add_messages(chat.id, [answer])
    store.save_text(answer.id, "half an ans")
    store.close()
    again = ChatStore(path)
    last = again.tree(chat.id).path()[-1]
    assert (last.text, last.ending) == ("half an ans", "interrupted")
    assert len(again.search("half an")) == 1
    again.close()


WRITER = """
import sys
from pathlib import Path
from bitconverter.store.chat_store import ChatStore
from bitconverter.store.records import Chat, Node
store = ChatStore(Path(sys.argv[1]))
chat = Chat(title="killed")
node = Node("assistant", "")
store.add_chat(chat)
store.add_messages(chat.id, [node])
for count in range(1, 10**9):
    store.save_text(node.id, "x" * count)
    print(count, flush=True)
"""


def test_a_killed_program_loses_nothing_that_was_saved(path):
    for kill_after in (1, 7, 40):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        with writer:
            for line in writer.stdout:
                if int(line) >= kill_after:
                    break
            writer.kill()
            rest = [line for line in writer.stdout if line.endswith("\n")]
        said = int(rest[-1]) if rest else kill_after
        assert writer.returncode == (-signal.SIGKILL if os.name != "nt" else 1)
        store = ChatStore(path)
        assert store.set_aside is None
        chat = store.chats()[0]
        (node,) = store.tree(chat.id).path()
        assert len(node.text) >= said and node.ending == "interrupted"
        store.close()


@pytest.mark.parametrize("damage", ["garbage", "header", "page", "other program"])
def test_a_damaged_file_is_set_aside_and_kept(path, damage):
    store = ChatStore(path)
    talk(store, *["text " * 200] * 40)
    store.close()
    if damage == "garbage":
        path.write_bytes(b"not a database at all" * 100)
    elif damage == "header":
        path.write_bytes(b"\0" * 100 + path.read_bytes()[100:])
    elif damage == "page":
        data = bytearray(path.read_bytes())
        data[4096:] = b"\xff" * (len(data) - 4096)
        path.write_bytes(data)
    else:
        path.unlink()
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE chat(x)")
        other.close()
    before = path.read_bytes()
    again = ChatStore(path)
    assert again.chats() == [] and again.set_aside == path.with_name("chats.sqlite3.bad")
    assert again.set_aside.read_bytes() == before
    talk(again, "goes on")
    again.close()
    path.write_bytes(b"bad again, and long enough to be looked at" * 50)
    third = ChatStore(path)
    assert third.set_aside == path.with_name("chats.sqlite3.bad2")
    third.close()


def damage_schema(path: Path, place: bytes) -> None:
    """One byte that is no UTF-8, in a name that SQLite's error text quotes."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    data[data.index(place) + 2] = 0xC1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "place", [b"CREATE TABLE chat", b"message_removed AFTER", b"INSERT INTO message_index"]
)
def test_one_damaged_byte_in_the_schema_is_damage_like_any(path, place):
    store = ChatStore(path)
    talk(store, "a", "b")
    store.set_state("x", "y")
    store._connection.execute("UPDATE message SET ending = ''")
    store.close()
    damage_schema(path, place)
    again = ChatStore(path)
    assert again.set_aside == path.with_name("chats.sqlite3.bad") and again.chats() == []
    again.close()


def test_a_file_of_a_version_that_there_is_not_is_damaged(path):
    ChatStore(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version=-5")
    store = ChatStore(path)
    assert store.set_aside == path.with_name("chats.sqlite3.bad")
    store.close()


def test_a_file_of_a_newer_version_is_left_alone(path):
    ChatStore(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    before = path.read_bytes()
    with pytest.raises(UserError, match="99") as caught:
        ChatStore(path)
    assert caught.value.code == "chats-newer" and path.read_bytes() == before


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        ChatStore(tmp_path / "file" / "chats.sqlite3")
    assert caught.value.code == "chats-unavailable" and "file" in str(caught.value)


def test_chats_can_be_kept_in_memory_alone():
    store = ChatStore(None)
    talk(store, "one")
    assert len(store.chats()) == 1
    store.close()


def test_an_older_file_is_backed_up_and_brought_up_to_date(path, monkeypatch):
    store = ChatStore(path)
    chat, _ = talk(store, "old text")
    store.close()
    more = "ALTER TABLE chat ADD COLUMN colour TEXT; UPDATE chat SET title = title || '!';"
    newer = dataclasses.replace(schema.CHATS, migrations=(*schema.MIGRATIONS, more))
    monkeypatch.setattr(chat_store, "CHATS", newer)
    again = ChatStore(path)
    assert again.chat(chat.id).title == "a chat!" and len(again.search("old text")) == 1
    again.close()
    backup = path.with_name("chats.sqlite3.v1.bak")
    with sqlite3.connect(backup) as old:
        assert old.execute("SELECT title FROM chat").fetchall() == [("a chat",)]
    old.close()


def test_values_of_the_wrong_type_do_no_harm(store):
    chat, (node, *_) = talk(store, "one", "two", "three")
    with store._change() as db:
        db.execute("UPDATE chat SET title = x'00', scroll = 'x', leaf = 'y', folder = 1.5, updated = x'00'")
        db.execute("UPDATE message SET role = 'system', ending = 'odd', created = 'never', numbers = '[1]'")
        db.execute("UPDATE message SET text = CAST(x'ff41' AS TEXT) WHERE id = ?", (node.id,))
        db.execute("UPDATE message SET attachments = '{\"a\"', parent = id WHERE id = ?", (node.id,))
        db.execute("INSERT INTO message_index(message_index) VALUES ('rebuild')")
    (found,) = store.chats()
    assert found.title == "" and found.scroll == 1.0 and found.leaf is None
    tree = store.tree(chat.id)
    assert len(tree) == 3 and {n.role for n in tree.nodes()} == {"user"} and tree.path()
    assert tree.node(node.id).text == "\ufffdA"


@pytest.mark.parametrize(
    "values", [None, [], {"seed": -1}, {"seed": 1.5}, {"tokens": True}, {"temperature": float("nan")}]
)
def test_numbers_that_are_none_are_left_out(values):
    assert Numbers.from_dict(values) in (None, Numbers())
