"""The chat file: its tables, and how texts are put into them. docs/FORMAT.md section 3."""

import unicodedata

from bitconverter.store.sqlite_file import FileKind

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE folder(id INTEGER PRIMARY KEY, name TEXT NOT NULL, deleted INTEGER);
    CREATE TABLE chat(
        id INTEGER PRIMARY KEY, title TEXT NOT NULL, named INTEGER NOT NULL, folder INTEGER,
        pinned INTEGER NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL, deleted INTEGER,
        system_prompt TEXT NOT NULL, leaf INTEGER, draft TEXT NOT NULL, scroll REAL NOT NULL,
        drop_oldest INTEGER NOT NULL);
    CREATE TABLE message(
        id INTEGER PRIMARY KEY, chat INTEGER NOT NULL REFERENCES chat(id) ON DELETE CASCADE, parent INTEGER,
        role TEXT NOT NULL, text TEXT NOT NULL, created INTEGER NOT NULL, ending TEXT NOT NULL,
        numbers TEXT, attachments TEXT NOT NULL, deleted INTEGER, folded TEXT NOT NULL);
    CREATE INDEX message_of_chat ON message(chat);
    CREATE VIRTUAL TABLE message_index USING fts5(
        folded, content='message', content_rowid='id', tokenize='trigram');
    CREATE TRIGGER message_added AFTER INSERT ON message BEGIN
        INSERT INTO message_index(rowid, folded) VALUES (new.id, new.folded); END;
    CREATE TRIGGER message_removed AFTER DELETE ON message BEGIN
        INSERT INTO message_index(message_index, rowid, folded) VALUES ('delete', old.id, old.folded); END;
    CREATE TRIGGER message_changed AFTER UPDATE OF folded ON message BEGIN
        INSERT INTO message_index(message_index, rowid, folded) VALUES ('delete', old.id, old.folded);
        INSERT INTO message_index(rowid, folded) VALUES (new.id, new.folded); END;
    CREATE TABLE preset(id INTEGER PRIMARY KEY, name TEXT NOT NULL, text TEXT NOT NULL, deleted INTEGER);
    CREATE TABLE state(key TEXT PRIMARY KEY, value TEXT NOT NULL);
    """,
)


def fold(text: str) -> str:
    """The form in which texts are compared: half and full width, upper and lower case are the same."""
    return unicodedata.normalize("NFKC", text).lower()


# what was being written when the program died is as complete as it will get
_INTERRUPT = (
    "UPDATE message SET ending = 'interrupted', folded = fold(text) WHERE ending = '' AND deleted IS NULL"
)
CHATS = FileKind(0x42434854, MIGRATIONS, "chats", "Chats", {"fold": fold}, _INTERRUPT)  # "BCHT"
