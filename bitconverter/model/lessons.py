"""What is learned from: windows of token ids and, for each position, the token that should follow, if it counts.

A .jsonl file holds one example a line, {"prompt": "...", "answer": "..."}: only the answer and the end-of-text token
behind it are learned, and an example is a window of its own, filled up at its end. A .u32 is a pack that `prepare`
made: it says itself what is learned and what is held back. Tables, .json, documents, folders and other rows must be
prepared. Any other file is plain text, cut into whole windows, of which every token is learned.

With labels, an example's answer is one of these words, each a single token, and it alone is learned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitconverter.engine import Cancel
from bitconverter.format.errors import UserError
from bitconverter.format.lesson_rows import BadRow, kind_name, read_rows
from bitconverter.format.pack_file import EXAMPLE, Pack, looks_raw, read_pack
from bitconverter.format.row_problem import RowProblem
from bitconverter.format.text_file import Decoded, read_any_text
from bitconverter.model.lesson_pack import pack_windows
from bitconverter.model.tokenizer import Tokenizer
from bitconverter.model.unprepared import kind_of_row, prepare_command, refuse_unprepared, unprepared

I32 = npt.NDArray[np.int32]

PIECE = 200  # examples encoded between two looks at the cancel flag
ROUND = 16  # windows of examples have a multiple of this many tokens


@dataclass(frozen=True)
class Lessons:
    """tokens and targets i32 [n, window]; targets[i, t] is what should follow tokens[i, t], -1: nothing is learned.
    held bool [n]: what is to be checked with, if that is settled."""

    tokens: I32
    targets: I32
    held: npt.NDArray[np.bool_] | None = None

    def split(self, share: float, seed: int) -> tuple["Lessons", "Lessons"]:
        """(to learn from, to check with): as settled by `held`, else `share` of the windows, at least one of two or
        more, drawn by the seed."""
        n = len(self.tokens)
        if self.held is not None and self.held.any() and not self.held.all():
            return self.take(np.flatnonzero(~self.held)), self.take(np.flatnonzero(self.held))
        order = np.random.default_rng(seed).permutation(n)
        held = min(n - 1, max(1, round(share * n)))
        check, learn = np.sort(order[:held]), np.sort(order[held:])
        return self.take(learn), self.take(check)

    def take(self, which: npt.NDArray[np.int64]) -> "Lessons":
        held = None if self.held is None else self.held[which]
        return Lessons(self.tokens[which], self.targets[which], held)


def read_lessons(
    path: str, tokenizer: Tokenizer, window: int, cancel: Cancel, labels: Mapping[str, int] | None = None,
    vocab: int | None = None,
) -> Lessons:  # fmt: skip
    """`labels`: what label_tokens() gave. `vocab`: the model's rows (default: the tokenizer's tokens).

    Raises UserError: "text-unreadable", "lesson-binary", "lesson-damaged" (path, line, encoding), "lesson-empty",
    "lesson-zero" (path, line), "lesson-unprepared" (path, kind, command), "lesson-row" (path, line, reason),
    "lesson-short", "lesson-few-examples", "lesson-label" (labels need examples); of a pack "pack-broken",
    "pack-tokenizer", "pack-window".
    """
    if path.lower().endswith(".u32"):
        return _packed(path, tokenizer, window, cancel, labels or {}, vocab or tokenizer.vocab_size)
    refuse_unprepared(path, tokenizer, labels or {})
    found = _decoded(path)
    _check_letters(path, found.text)
    text = found.text.replace("\r\n", "\n").replace("\r", "\n")
    rows = None
    if path.lower().endswith(".jsonl"):
        rows = _examples(path, found, tokenizer, window, cancel, labels or {})
    elif labels:
        raise UserError(
            "lesson-label",
            f"Labels go with examples: {path} must be a .jsonl file.",
            label=next(iter(labels)),
        )
    lessons = (
        _plain(tokenizer.encode(text, add_special_tokens=False), window) if rows is None else _padded(rows)
    )
    return _enough(path, lessons, window, rows is not None)


def _decoded(path: str) -> Decoded:
    """The text of a file, of which no letter is damaged."""
    try:
        found = read_any_text(Path(path))
    except OSError as error:
        raise UserError(
            "text-unreadable", f"{path} cannot be read: {error.strerror or error}. Check the path.", path=path
        ) from error
    if found.damaged and "\ufffd" in found.text:
        line = found.text[: found.text.index("\ufffd")].count("\n") + 1
        raise UserError(
            "lesson-damaged",
            f"{path}, line {line}: some of its bytes are no {found.encoding}. Open the file in an editor, repair this "
            "line and save it as UTF-8.",
            path=path, line=line, encoding=found.encoding,
        )  # fmt: skip
    return found


def _check_letters(path: str, text: str) -> None:
    if not text.strip():
        raise UserError("lesson-empty", f"{path} is empty: there is nothing in it to learn.", path=path)
    if "\0" in text:  # a model would learn to write it
        line = text[: text.index("\0")].count("\n") + 1
        raise UserError(
            "lesson-zero",
            f"{path}, line {line} holds a zero byte, which is no letter. Remove it, or save the file as text again.",
            path=path, line=line,
        )  # fmt: skip


def _enough(path: str, lessons: Lessons, window: int, examples: bool) -> Lessons:
    """Raise unless there is something to learn from and to check with. `examples`: they are not cut into windows, so
    another window gives no more of them."""
    count = len(lessons.tokens)
    if count >= 2:
        return lessons
    if examples:
        raise UserError(
            "lesson-few-examples",
            f"{path} gives {count} window(s) of examples, and training needs at least 2: one to learn from and one to "
            "check with. Add more examples.",
            path=path, windows=count,
        )  # fmt: skip
    raise UserError(
        "lesson-short",
        f"{path} gives {count} window(s) of {window} tokens, and training needs at least 2: one to "
        "learn from and one to check with. Use a longer text or a smaller window.",
        path=path, windows=count,
    )  # fmt: skip


def _packed(
    path: str, tokenizer: Tokenizer, window: int, cancel: Cancel, labels: Mapping[str, int], vocab: int
) -> Lessons:
    try:
        if looks_raw(Path(path)):
            raise unprepared(path, "it holds raw token ids of another program", tokenizer, labels)
        pack = read_pack(Path(path), cancel.check)
    except OSError as error:
        raise UserError(
            "text-unreadable", f"{path} cannot be read: {error.strerror or error}. Check the path.", path=path
        ) from error
    if pack.tokenizer_sha256 != tokenizer.sha256:
        raise UserError(
            "pack-tokenizer",
            f"{path} was prepared for a model with another tokenizer than {tokenizer.folder.name}. "
            "Prepare the material again with this model.",
            path=path, model=tokenizer.folder.name,
        )  # fmt: skip
    if int(pack.tokens.max()) >= vocab:
        reason = f"it holds the token {int(pack.tokens.max())}, and the model has {vocab}"
        raise UserError(
            "pack-broken",
            f"{path} is not a pack that can be used: {reason}. Prepare the material again.",
            path=path, reason=reason,
        )  # fmt: skip
    examples = pack.kinds == EXAMPLE
    longest = int((pack.offsets[1:] - pack.offsets[:-1])[examples].max(initial=0)) - 1
    if longest > window:
        raise UserError(
            "pack-window",
            f"The longest example of {path} needs a window of {longest} tokens, and this training has {window}. "
            f"Train with --window {longest} or prepare the material with a smaller one.",
            path=path, needed=longest, window=window,
        )  # fmt: skip
    if labels:
        _check_labels(path, pack, tokenizer, labels)
    windows = pack_windows(pack, window)
    targets = _first_targets(windows.targets) if labels else windows.targets
    return _enough(path, Lessons(windows.tokens, targets, windows.held), window, bool(examples.all()))


def _check_labels(path: str, pack: Pack, tokenizer: Tokenizer, labels: Mapping[str, int]) -> None:
    """Every entry is an example with a window of its own whose answer is one label, and perhaps an end token."""
    if pack.together or not (pack.kinds == EXAMPLE).all():
        raise UserError(
            "lesson-label",
            f"Labels go with examples that have a window each: prepare {path} from examples alone, without --pack.",
            label=next(iter(labels)),
        )
    for number in range(len(pack)):
        tokens, mask = pack.entry(number)
        answer = [int(token) for token in tokens[mask == 1]]
        if answer[:1] and answer[0] in labels.values() and set(answer[1:]) <= tokenizer.eos_ids:
            continue
        file, line = (int(place) for place in pack.places[number])
        text = tokenizer.decode([token for token in answer if token not in tokenizer.eos_ids])
        raise _bad_row(pack.files[file], line, RowProblem("no-label", "answer", found=repr(text)))


def _first_targets(targets: I32) -> I32:
    """Of each window the first target alone."""
    out = np.full_like(targets, -1)
    for i, place in enumerate((targets >= 0).argmax(axis=1)):
        out[i, place] = targets[i, place]
    return out


def label_tokens(tokenizer: Tokenizer, labels: Sequence[str]) -> dict[str, int]:
    """The token of every label. Raises UserError("lesson-label") for one that is not a single token of its own."""
    tokens: dict[str, int] = {}
    for label in labels:
        ids = tokenizer.encode(label, add_special_tokens=False)
        if len(ids) != 1 or ids[0] in tokens.values():
            raise UserError(
                "lesson-label",
                f"The label {label!r} is {len(ids)} tokens, or the same as another one: each must be one token of its "
                "own. Choose another word (with its leading space).",
                label=label,
            )
        tokens[label] = ids[0]
    return tokens


def _plain(ids: Sequence[int], window: int) -> Lessons:
    n = max(0, len(ids) - 1) // window
    flat = np.asarray(ids, np.int32)
    tokens = flat[: n * window].reshape(n, window)
    return Lessons(tokens, flat[1 : n * window + 1].reshape(n, window))


def _examples(
    path: str, found: Decoded, tokenizer: Tokenizer, window: int, cancel: Cancel, labels: Mapping[str, int]
) -> list[tuple[list[int], int]]:
    """(ids, how many of them are the prompt) of every row."""
    rows = []
    end = None if labels else min(tokenizer.eos_ids, default=None)
    start = tokenizer.encode("", add_special_tokens=True)[:1]
    start = start if start == [tokenizer.bos_id] else []
    help_text = (
        f"prepare names all such rows and goes on without them: {prepare_command(path, tokenizer, labels)}"
    )
    for number, row in enumerate(read_rows(Path(path), found, False)):
        if number % PIECE == 0:
            cancel.check()
        if isinstance(row, BadRow):
            raise _bad_row(path, row.problem.line or row.line, row.problem, help_text)
        if kind := kind_of_row(row.value) if number == 0 else "":
            raise unprepared(path, kind, tokenizer, labels)
        try:
            prompt, answer = (_field(row.value, name) for name in ("prompt", "answer"))
            before = start + tokenizer.encode(prompt, add_special_tokens=False)
            learned = tokenizer.encode(answer, add_special_tokens=False)
            ids = before + learned + ([] if end is None else [end])
            if labels and answer not in labels:
                raise RowProblem("no-label", "answer", found=repr(answer))
            if not before or not learned:
                raise RowProblem("no-tokens", "answer" if before else "prompt")
            if len(ids) > window + 1:
                raise RowProblem("too-long", tokens=len(ids), most=window + 1, needed=len(ids) - 1)
        except RowProblem as problem:
            # prepare knows no labels
            better = problem.fix() if problem.code == "no-label" else help_text
            raise _bad_row(path, row.line, problem, better) from None
        rows.append((ids, len(before)))
    return rows


def _field(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        raise RowProblem("field-missing", name)
    if not isinstance(value, str):
        raise RowProblem("field-kind", name, found=kind_name(value))
    return value


def _bad_row(path: str, number: int, problem: RowProblem, help_text: str = "") -> UserError:
    return UserError(
        "lesson-row",
        f"{path}, line {number} cannot be learned: {problem.reason()}. "
        'Each line must be like {"prompt": "...", "answer": "..."}' + (f"; {help_text}" if help_text else "."),
        path=path, line=number, reason=problem.reason(), problem=problem.told(),
    )  # fmt: skip


def _padded(rows: list[tuple[list[int], int]]) -> Lessons:
    """As wide as the longest example needs; what follows an example's end is token 0 and is not learned."""
    longest = max((len(ids) - 1 for ids, _ in rows), default=1)
    width = -(-longest // ROUND) * ROUND
    tokens, targets = np.zeros((len(rows), width), np.int32), np.full((len(rows), width), -1, np.int32)
    for i, (ids, prompt) in enumerate(rows):
        tokens[i, : len(ids) - 1] = ids[:-1]
        targets[i, prompt - 1 : len(ids) - 1] = ids[prompt:]
    return Lessons(tokens, targets)
