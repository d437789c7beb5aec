"""Make a lesson ready: files of texts, examples and conversations become one pack of token ids.

Every row is used or rejected, and every rejected one is named with its file, line, field, reason and what would help.
"""

import hashlib
import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bitconverter import __version__
from bitconverter.format.atomic import write_bytes
from bitconverter.format.errors import UserError
from bitconverter.format.lesson_rows import BadRow, Row, read_rows
from bitconverter.format.pack_file import EXAMPLE, TEXT, Pack, read_raw, write_pack
from bitconverter.format.row_problem import Mending, RowProblem
from bitconverter.format.size_text import at_most
from bitconverter.format.weight_file import FULL_ERRORS
from bitconverter.jobs.converted_folder import is_converted
from bitconverter.jobs.job import Context, Note, Progress
from bitconverter.jobs.lesson_facts import Facts, dreams_expected
from bitconverter.jobs.prepare_inputs import RAW, REJECTED, Input, find_inputs, read_input
from bitconverter.jobs.prepare_result import Apart, FileReport, PrepareResult, Rejected, Where
from bitconverter.jobs.reject_file import check_replaceable, reject_line
from bitconverter.model.architecture import folder_info
from bitconverter.model.chat_template import ChatTemplate, load_chat_template
from bitconverter.model.lesson_encoder import Encoded, LessonEncoder
from bitconverter.model.lesson_pack import PackBuilder, count_windows
from bitconverter.model.lesson_preview import Preview, preview
from bitconverter.model.lesson_shapes import Document, shape_of
from bitconverter.model.tokenizer import Tokenizer

STYLES = ("auto", "chat", "plain")
MOST_LISTED = 1000  # rejected rows in a result and in notes; the file beside the pack has all
MOST_LABELS = 32  # different answers of a material that is for sorting
MOST_DREAMS = 50_000  # of a few hundred pages; more would take days to learn
REHEARSED = "rehearsal"  # in the list of a pack's files: what is in none
ROWS_BETWEEN = 50  # rows between two looks at the cancel flag


@dataclass(frozen=True)
class PrepareJob:
    """`inputs`: files and folders; `out`: the pack to write, NAME.u32, or "" to look only. `window`: an example may
    have so many tokens and one more; `share` of the entries is held back, drawn by `seed`. `style`: "chat" puts rows
    through the model's chat template, "plain" joins prompt and answer as they are, "auto" is "chat" where the model
    has a template. `system` is set before conversations that have none. `mend`: put right what can be put right by
    itself. `together`: examples share windows. `preview`: so many rows as the model will see them. `apart`: a file that
    is of no use is named in the result, and the others are used; only where there are no others its error is raised.
    `facts`: the model shall know what the texts say: dreams of them are learned along, and so much of what it says and
    reads anyhow that it forgets less of that (jobs/lesson_facts.py; the model answers questions for it on `threads`
    threads where a pack is written).
    """

    model: str
    inputs: tuple[str, ...]
    out: str = ""
    window: int = 256
    share: float = 0.1
    seed: int = 0
    style: str = "auto"
    system: str = ""
    mend: bool = False
    together: bool = False
    preview: int = 0
    licence: str = ""
    apart: bool = False
    facts: bool = False
    threads: int = 0

    @property
    def work_dir(self) -> None:
        return None

    @property
    def rejects(self) -> Path:
        """Where the rejected rows go, beside `out`."""
        return Path(self.out).with_suffix(REJECTED)

    def run(self, ctx: Context) -> PrepareResult:
        """Emits Progress (bytes), Note("row-rejected") for each of the first rejected rows, Note("file-read"),
        Note("files-left-out"), Note("lesson-no-end-token").

        Raises UserError: "prepare-setting", "prepare-full", "output-exists", "rejects-in-way", "prepare-nothing" (its
        fields["rejects"]: where the rows are), "prepare-empty", those of find_inputs(), read_input(), of read_raw(), of
        the tokenizer and the template; Cancelled.
        """
        self._check()
        return _Preparation(self, ctx).run()

    def _check(self) -> None:
        for name, value, least, most in (
            ("window", self.window, 2, 1 << 20), ("seed", self.seed, 0, 2**53 - 1), ("held", self.share, 0, 0.9),
        ):  # fmt: skip
            if not least <= value <= most:
                raise _setting(name, value, f"{least} to {most}", least=least, most=most)
        if self.style not in STYLES:
            raise _setting("style", self.style, ", ".join(STYLES), known=STYLES)
        if self.out and not self.out.lower().endswith(RAW):
            raise _setting("out", self.out, f"a name that ends in {RAW}", ending=RAW)
        if self.out and not Path(self.out).parent.is_dir():
            raise _unwritable(Path(self.out).parent, "there is no such folder")
        if self.out and Path(self.out).exists():
            raise _exists(self.out)


class _Outcome(NamedTuple):
    """Of a row: what it gives or what is wrong with it, as it stands in the file, what was put right; `text`: of a
    document."""

    where: Where
    encoded: Encoded | None = None
    problem: RowProblem | None = None
    source: str = ""
    mendings: tuple[str, ...] = ()
    text: str = ""


class _Preparation:
    def __init__(self, job: PrepareJob, ctx: Context) -> None:
        self.job, self.ctx = job, ctx
        folder = Path(job.model)
        self.tokenizer = Tokenizer(folder)
        self.template = _template(folder, job.style)
        info = folder_info(folder)
        self.limit = None if info is None else info.max_positions
        self.window = job.window if self.limit is None else min(job.window, self.limit)
        self.encoder = LessonEncoder(self.tokenizer, self.template, self.window, job.system, self.limit)
        self.builder = PackBuilder(self.window, job.together)
        self.problems: list[Rejected] = []
        self.previews: list[Preview] = []
        self.files: list[FileReport] = []
        self._lines: list[bytes] = []  # of the file of rejected rows
        self._seen: dict[bytes, tuple[str, Where]] = {}
        self._apart: dict[str, UserError] = {}
        self._mendable = 0
        self._texts: list[tuple[int, str, int, str]] = []  # of documents: file and its name, line, text
        self._dreams = self._rehearsed = self._own_examples = 0
        self._dreams_cut = False
        self._answers: set[int] | None = set()  # the single tokens that all answers are; None: they are not

    def run(self) -> PrepareResult:
        inputs, left_out = find_inputs(self.job.inputs, self._apart if self.job.apart else None)
        if self.job.out:  # before the work, and again before it is written
            check_replaceable(self.job.rejects, [entry.path for entry in inputs])
        if left_out:
            self.ctx.emit(Note("files-left-out", {"count": left_out}))
        if self.tokenizer.end_id is None:
            self.ctx.emit(Note("lesson-no-end-token"))
        total, done = sum(entry.size for entry in inputs), 0
        for number, entry in enumerate(inputs):
            self.ctx.emit(Progress(done, max(1, total), "byte", entry.name))
            try:
                self._file(number, entry)
            except UserError as error:  # before its first row
                if not self.job.apart:
                    raise
                self._apart[str(entry.path)] = error
            done += entry.size
        if self._apart and not self.files:
            raise next(iter(self._apart.values()))
        self.ctx.emit(Progress(max(1, total), max(1, total), "byte"))
        if self._texts:
            self._add_facts(len(inputs))
        return self._finish(inputs)

    def _add_facts(self, files: int) -> None:
        """What is learned beside the texts; what the model knows already only where a pack is written."""
        job = self.job
        plain = LessonEncoder(self.tokenizer, self.template, self.window, "", self.limit)
        facts = Facts(Path(job.model), self.encoder, plain, job.seed, job.threads, self.ctx)
        tokens, expected = 0, dreams_expected(sum(len(text) for *_, text in self._texts))
        dreamt = ((at, encoded) for at in self._texts for encoded in facts.dreamt(at[-1]))
        for (number, name, line, _), encoded in dreamt:
            if self._dreams % ROWS_BETWEEN == 0:
                self.ctx.emit(Progress(min(self._dreams, expected), expected, "dream", name))
            if self._dreams == MOST_DREAMS:
                self._dreams_cut = True
                self.ctx.emit(Note("dreams-cut", {"limit": MOST_DREAMS, "path": name}))
                break
            tokens += len(encoded.ids)
            self._dreams += 1
            self.builder.add(encoded, number, line)
            if len(self.previews) < job.preview:
                self.previews.append(preview(self.tokenizer, encoded, name, line))
        if not self._dreams:
            self.ctx.emit(Note("dreams-none"))
        for encoded in facts.rehearsed(tokens) if job.out else ():
            self._rehearsed += 1
            self.builder.add(encoded, files, 0)

    # ---- rows

    def _file(self, number: int, entry: Input) -> None:
        self.ctx.cancel.check()
        if entry.path.suffix.lower() == RAW:
            encoding, rows = "", self._raw_rows(entry)
        else:
            encoding, rows = self._text(entry)
        count = used = mended = 0
        for where, encoded, problem, source, mendings, text in rows:
            if count % ROWS_BETWEEN == 0:
                self.ctx.cancel.check()
            count += 1
            problem = problem or self._twice(encoded, entry.name, where)
            if problem is not None or encoded is None:
                assert problem is not None
                self._reject(entry.name, where, problem, source)
                continue
            used += 1
            mended += bool(mendings)
            self.builder.add(encoded, number, where.line)
            self._own_examples += encoded.kind == EXAMPLE
            self._note_answer(encoded)
            if self.job.facts and encoded.kind == TEXT:
                self._texts.append((number, entry.name, where.line, text))
            if len(self.previews) < self.job.preview:
                self.previews.append(preview(self.tokenizer, encoded, entry.name, *where))
        self.files.append(FileReport(entry.name, encoding, count, used, count - used, mended))
        self.ctx.emit(Note("file-read", {
            "path": entry.name, "encoding": encoding, "rows": count, "used": used, "rejected": count - used,
        }))  # fmt: skip

    def _text(self, entry: Input) -> tuple[str, Iterator[_Outcome]]:
        """(encoding, rows)"""
        try:
            decoded = read_input(entry, self.ctx.cancel)
        except RowProblem as problem:
            return "", iter([_Outcome(Where(1), None, problem)])
        return decoded.encoding, self._text_rows(read_rows(entry.path, decoded, self.job.mend))

    def _text_rows(self, rows: Iterator[Row | BadRow]) -> Iterator[_Outcome]:
        for row in rows:
            if isinstance(row, BadRow):
                where = Where(row.problem.line or row.line, row.place)
                yield _Outcome(where, None, row.problem, row.source)
                continue
            mending, where = Mending(self.job.mend), Where(row.line, row.place)
            try:
                shape = shape_of(row.value, mending)
                encoded = self.encoder.encode(shape)
            except RowProblem as problem:
                yield _Outcome(where, None, problem, row.source)
                continue
            assert isinstance(shape, Document) == (encoded.kind == TEXT)
            text = shape.text if isinstance(shape, Document) else ""
            yield _Outcome(where, encoded, None, row.source, (*row.mended, *mending.done), text)

    def _raw_rows(self, entry: Input) -> Iterator[_Outcome]:
        """The parts between end tokens; with a mask those that fit into a window are examples."""
        try:
            tokens, mask = read_raw(entry.path)
        except OSError as error:
            raise UserError(
                "lesson-file-missing",
                f"{entry.path} cannot be read: {error.strerror or error}.",
                path=str(entry.path),
            ) from error
        top = int(tokens.max())
        if top >= self.tokenizer.vocab_size:
            raise UserError(
                "raw-tokenizer",
                f"{entry.path} holds the token {top}, and the tokenizer of {self.tokenizer.folder.name} has only "
                f"{self.tokenizer.vocab_size}: it was made for another model. Prepare its text with this one.",
                path=str(entry.path), token=top, vocab=self.tokenizer.vocab_size,
            )  # fmt: skip
        ends = np.flatnonzero(np.isin(tokens, sorted(self.tokenizer.eos_ids))) + 1
        bounds = [0, *(int(end) for end in ends if end < len(tokens)), len(tokens)]
        for number, (start, stop) in enumerate(itertools.pairwise(bounds), 1):
            part = tokens[start:stop].tolist()
            learned = [True] * len(part) if mask is None else (mask[start:stop] == 1).tolist()
            learned[0] = False
            if not any(learned):
                yield _Outcome(
                    Where(number), None, RowProblem("nothing-learned"), " ".join(map(str, part[:100]))
                )
                continue
            kind = EXAMPLE if mask is not None and len(part) <= self.window + 1 else TEXT
            text = self.tokenizer.decode(part) if self.job.facts and kind == TEXT else ""
            yield _Outcome(Where(number), Encoded(part, learned, kind), text=text)

    def _twice(self, encoded: Encoded | None, path: str, where: Where) -> RowProblem | None:
        """A problem if an earlier row gave the same."""
        if encoded is None:
            return None
        key = hashlib.blake2b(
            np.array(encoded.ids, "<u4").tobytes() + bytes(encoded.learned), digest_size=16
        ).digest()
        if key not in self._seen:
            self._seen[key] = path, where
            return None
        file, first = self._seen[key]
        if first.place:
            return RowProblem("same-as-in-list", path=file, other=first.place)
        return RowProblem("same-as", path=file, other=first.line)

    def _note_answer(self, encoded: Encoded) -> None:
        if self._answers is None:
            return
        pairs = zip(encoded.ids, encoded.learned, strict=True)
        answer = [i for i, learned in pairs if learned and i not in self.tokenizer.eos_ids]
        if encoded.kind != EXAMPLE or len(answer) != 1 or len(self._answers | set(answer)) > MOST_LABELS:
            self._answers = None
        else:
            self._answers.add(answer[0])

    def _labels(self) -> tuple[str, ...]:
        """The answers as texts, if each is read back as its one token."""
        tokens = sorted(self._answers or ())
        texts = tuple(self.tokenizer.decode([token]) for token in tokens)
        whole = [self.tokenizer.encode(text, add_special_tokens=False) for text in texts]
        return texts if len(texts) > 1 and whole == [[token] for token in tokens] else ()

    def _reject(self, path: str, where: Where, problem: RowProblem, source: str) -> None:
        rejected = Rejected(
            path,
            where.line,
            problem.field,
            problem.code,
            problem.reason(),
            problem.fix(),
            problem.mends,
            problem.fields,
            where.place,
        )
        self._mendable += problem.mends
        self._lines.append(reject_line(path, where.line, where.place, problem, source))
        if len(self.problems) < MOST_LISTED:
            self.problems.append(rejected)
            self.ctx.emit(Note("row-rejected", {
                "path": path, "line": where.line, "place": where.place, "where": where.told(path),
                "row_field": problem.field, "code": problem.code,
                "reason": rejected.reason, "fix": rejected.fix, "fields": problem.fields,
            }))  # fmt: skip

    # ---- the end

    def _finish(self, inputs: list[Input]) -> PrepareResult:
        job, rows = self.job, self.builder.rows
        used, count = sum(f.used for f in self.files), sum(f.rows for f in self.files)
        if not used and job.out:
            raise _nothing(count, self.problems[:1], self._write(None, inputs))
        pack = self._pack(inputs) if used else None
        rejects = self._write(pack, inputs) if job.out else ""
        windows = (0, 0) if pack is None else count_windows(pack, self.window)
        examples = [len(ids) for ids, _, kind, _, _ in rows if kind == EXAMPLE]
        return PrepareResult(
            out=job.out, rejects=rejects, rows=count, used=used, rejected=count - used,
            mended=sum(f.mended for f in self.files), mendable=self._mendable,
            tokens=0 if pack is None else len(pack.tokens), learned=0 if pack is None else int(pack.mask.sum()),
            entries=0 if pack is None else len(pack), held=0 if pack is None else int(pack.held.sum()),
            texts=used - self._own_examples, examples=self._own_examples, longest=max(examples, default=0),
            templated=self.template is not None, labels=self._labels(), files=tuple(self.files),
            problems=tuple(self.problems), previews=tuple(self.previews),
            windows=sum(windows), held_windows=windows[1], converted=is_converted(Path(job.model)),
            apart=tuple(Apart(path, error) for path, error in self._apart.items()),
            dreams=self._dreams, rehearsed=self._rehearsed, dreams_cut=self._dreams_cut,
        )  # fmt: skip

    def _write(self, pack: Pack | None, inputs: list[Input]) -> str:
        """Where the rejected rows are, "" if there are none. No pack: there was nothing to learn."""
        out, beside = Path(self.job.out), self.job.rejects
        try:
            check_replaceable(beside, [entry.path for entry in inputs])
            if self._lines:
                write_bytes(beside, b"".join(self._lines))
            else:
                beside.unlink(missing_ok=True)  # of an earlier preparation under this name
            if pack is not None:
                write_pack(out, pack, new=True)  # another preparation may have come to its end meanwhile
        except FileExistsError as error:
            raise _exists(self.job.out) from error
        except OSError as error:
            if error.errno in FULL_ERRORS:
                raise _full(out.parent) from error
            raise _unwritable(out.parent, error.strerror or str(error)) from error
        return str(beside) if self._lines else ""

    def _pack(self, inputs: list[Input]) -> Pack:
        job = self.job
        notes = {
            "tool": f"bitconverter {__version__}", "model": Path(job.model).name, "seed": str(job.seed),
            "share": repr(job.share), "style": "plain" if self.template is None else "chat",
            "licence": job.licence, "system": job.system, **({"facts": "yes"} if job.facts else {}),
        }  # fmt: skip
        return self.builder.pack(
            [*(entry.name for entry in inputs), *([REHEARSED] if self._rehearsed else [])],
            Path(job.out).stem,
            self.tokenizer.sha256,
            job.share,
            job.seed,
            notes,
        )


def _template(folder: Path, style: str) -> ChatTemplate | None:
    if style == "plain":
        return None
    try:
        return load_chat_template(folder)
    except UserError as error:
        if error.code == "no-chat-template" and style == "auto":
            return None
        raise


def _unwritable(folder: Path, why: str) -> UserError:
    return UserError(
        "folder-unwritable",
        f"{folder} cannot be written: {why}. Choose another output folder.",
        folder=str(folder),
    )


def _exists(out: str) -> UserError:
    return UserError(
        "output-exists",
        f"{out} is there already. Choose another name or remove it.",
        path=out,
    )


def _full(folder: Path) -> UserError:
    free = shutil.disk_usage(folder).free
    return UserError(
        "prepare-full",
        f"The disk of {folder} is full ({at_most(free)} free). Make room and prepare the material again.",
        folder=str(folder), free=free, free_size=at_most(free),
    )  # fmt: skip


def _nothing(rows: int, problems: list[Rejected], rejects: str) -> UserError:
    if not problems:
        return UserError(
            "prepare-empty",
            "Nothing can be learned from these files: there is no row in them. Choose other files.",
        )
    first = problems[0]
    why = f"{Where(first.line, first.place).told(first.file)}: {first.reason}"
    return UserError(
        "prepare-nothing",
        f"Nothing can be learned from these files: of {rows} rows none can be used ({why}). What would help: "
        f"{first.fix}{', or --fix' if first.mends else ''}. All of these rows, with what is wrong, are in {rejects}.",
        rows=rows, why=why, help=first.fix, rejects=rejects, problem=vars(first),
    )  # fmt: skip


def _setting(name: str, value: object, allowed: str, **told: Any) -> UserError:
    """`told`: what is allowed, for front ends that say it in their own words (gui/texts/errors.py, SETTINGS_JA)."""
    return UserError(
        "prepare-setting",
        f"{name} is {value}, must be {allowed}.",
        name=name, value=value, allowed=allowed, **told,
    )  # fmt: skip
