"""Full-text search that works in Japanese: trigrams from three letters on, a plain look below that."""

import sqlite3
import unicodedata
from itertools import islice

from bitconverter.store.records import Hit
from bitconverter.store.schema import fold

MOST_HITS = 100
BEFORE, AFTER = 24, 90  # letters of a snippet around what was found


def search(connection: sqlite3.Connection, query: str) -> list[Hit]:
    """Messages and titles that hold every word of `query`, newest first; letters and digits compare without
    case and width. Words are what spaces separate; a word of one or two letters has no trigram and is
    looked for in every text."""
    words = fold(query).split()
    if not words:
        return []
    hits = _titles(connection, words) + _messages(connection, words)
    return sorted(hits, key=lambda hit: (hit.message is not None, -hit.time))[:MOST_HITS]


def _titles(connection: sqlite3.Connection, words: list[str]) -> list[Hit]:
    where = " AND ".join(["instr(fold(title), ?) > 0"] * len(words))
    rows = connection.execute(
        f"SELECT id, title, updated FROM chat WHERE deleted IS NULL AND {where} "
        f"ORDER BY updated DESC LIMIT {MOST_HITS}",
        words,
    )
    return [Hit(chat, None, title, *_snippet(title, words), updated) for chat, title, updated in rows]


def _messages(connection: sqlite3.Connection, words: list[str]) -> list[Hit]:
    long, short = [w for w in words if len(w) >= 3], [w for w in words if len(w) < 3]
    source, values = "message m", []
    where = ["m.deleted IS NULL", "c.deleted IS NULL"]
    if long:
        source = "message_index i JOIN message m ON m.id = i.rowid"
        where.append("message_index MATCH ?")
        values.append(" AND ".join('"' + word.replace('"', '""') + '"' for word in long))
    where += ["instr(m.folded, ?) > 0"] * len(short)
    rows = connection.execute(
        f"SELECT m.chat, m.id, c.title, m.text, m.created FROM {source} JOIN chat c ON c.id = m.chat "
        f"WHERE {' AND '.join(where)} ORDER BY m.created DESC",
        [*values, *short],
    )
    return [
        Hit(chat, message, title, *_snippet(text, words), created)
        for chat, message, title, text, created in islice(rows, MOST_HITS)
    ]


def _snippet(text: str, words: list[str]) -> tuple[str, int, int]:
    """A piece of `text` on one line with the first word that is found in it, and where that is."""
    plain = " ".join(unicodedata.normalize("NFKC", text).split())
    folded = plain.lower()  # as long as `plain` for all but a few letters
    places = [(folded.find(word), word) for word in words]
    found = min((place for place in places if place[0] >= 0), default=(0, ""))
    first = max(found[0] - BEFORE, 0)
    head = "…" if first else ""
    piece = head + plain[first : found[0] + AFTER] + ("…" if found[0] + AFTER < len(plain) else "")
    start = len(head) + found[0] - first
    return piece, start, start + len(found[1])
