"""What the user has made with the installed program: a model, a soul, a chat. Whole after upgrades and removals."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from windows_place import CONSOLE, DATA, HOME, PC, digest, expect

SOURCE, MODEL = HOME / "モデル" / "元 😀", HOME / "モデル" / "小さい é"
SOUL, PACK = HOME / "モデル" / "心 😀.soul", HOME / "モデル" / "教材.u32"
CHATS = DATA / "chats.sqlite3"
SETTINGS = DATA / "settings.json"
QUESTION = "こんにちは"
LESSON = "三値の重みで静かに動く。日本語も一字ずつ届く。"


def make() -> dict[Path, str]:
    """A converted model, a pack and a soul, by the installed program; their digests."""
    from bitconverter.jobs.self_test_model import write_model

    write_model(SOURCE)
    text = HOME / "モデル" / "教材.txt"
    text.write_text("".join(f"{LESSON} {number}\n" for number in range(40)), encoding="utf-8")
    _run("convert", SOURCE, MODEL, "--planes", "2", "--method", "fast")
    _run("prepare", MODEL, text, PACK)
    _run(
        "train", MODEL, text, SOUL, "--steps", "2", "--layers", "1", "--window", "32", "--batch", "2",
        "--forget-limit", "0",
    )  # fmt: skip
    made = {path: digest(path) for path in [*MODEL.iterdir(), SOUL, PACK, text, *SOURCE.iterdir()]}
    expect(SOUL.stat().st_size > 1000 and len(made) > 8, f"the program made only {made}")
    return made


def keep_chat() -> None:
    """A chat in the database that the program has made; and a setting."""
    from bitconverter.store.chat_store import ChatStore
    from bitconverter.store.records import Chat, Node

    expect(CHATS.is_file(), f"the program has made no {CHATS}")
    store = ChatStore(CHATS)
    try:
        expect(store.set_aside is None, "the program's database is damaged")
        asked = Node("user", QUESTION, ending="stop")
        answer = Node("assistant", LESSON, asked.id, ending="stop")
        store.import_chat(Chat("試し 😀", named=True, leaf=answer.id), [asked, answer])
    finally:
        store.close()
    _write_settings(temperature=0.5)


def remember_model() -> None:
    """As the program itself notes it when it is closed."""
    _write_settings(recent_models=[PC.windows_path(MODEL)])


def _write_settings(**values: Any) -> None:
    settings = json.loads(SETTINGS.read_text(encoding="utf-8")) if SETTINGS.exists() else {}
    SETTINGS.write_text(json.dumps(settings | values), encoding="utf-8")


def expect_kept(made: dict[Path, str]) -> None:
    """Files byte for byte; the database whole, with its chat."""
    changed = [str(path) for path, before in made.items() if not path.is_file() or digest(path) != before]
    expect(not changed, f"the user's files are not what they were: {changed}")
    settings = json.loads(SETTINGS.read_text(encoding="utf-8"))
    expect(settings["temperature"] == 0.5, f"the settings are {settings}")
    with closing(sqlite3.connect(CHATS)) as chats:
        (state,) = chats.execute("PRAGMA integrity_check").fetchone()
        found = [text for (text,) in chats.execute("SELECT text FROM message ORDER BY id")]
    expect(state == "ok", f"the chats' database: {state}")
    expect(set(found) == {QUESTION, LESSON}, f"the chats hold {found}")


def expect_soul_works() -> None:
    """The installed program talks with what was made before."""
    said = _run("chat", MODEL, "--soul", SOUL, "--prompt", QUESTION, "--temperature", "0", "--quiet")
    expect(LESSON in said, f"the model with its soul says {said!r}")


def _run(verb: str, *words: str | Path) -> str:
    given = [PC.windows_path(word) if isinstance(word, Path) else word for word in words]
    done = PC.run([PC.windows_path(CONSOLE), verb, *given])
    expect(done.returncode == 0, f"bitconverter-cli {verb} ended with {done.returncode}: {done.stdout}")
    return done.stdout
