"""Kill a training at random moments and let it go on, again and again: what is redone, and is the result the same?

Usage: python tools/kill_training.py [--kills 100] [--seed 0] [--steps 20000] [--engine exact|mezo] [--damage-every 10]
                                     [--layers 30] [--texts 24]

A small model with a sentence of its own is made and converted by the engine; its first layer stands in it many times,
so that what is computed before the first step (what comes into the last layer, for every window of the lesson) takes a
good part of the time. One training runs without a break; the same one is killed (SIGKILL, TerminateProcess on Windows)
and started again. Where processes can be forked, they are forked off this one, which has loaded the program: what is
killed is the training, not the loading.

The moments are drawn by the seed and counted in what the training has done, so that they are the same on a machine that
does other things too, or sleeps (tools/killing.py). A third of the kills is before the first step, spread over the
parts of the lesson, the others over the steps. Of four kills, two are inside of the work behind such a place; one is
while a state is saved there, behind one of the files that this touches; and one is at the start of its process, before
it gets on.

A state is saved after 0.8 times the processor time that lies between two kills without a break, by the clock of the
training's process; that stands for the program's own 20 s. The promise of at most 60 s is checked in this scale:
nothing may be redone that took longer than 3 times that and the longest step. Redone is what lies between the state
that is gone on from and the last step told of; before the first step the parts of the lesson are what is told of.

After every `--damage-every`th kill the newest checkpoint is damaged (cut, a bit turned, DONE removed, emptied, in
turn), and before the first step what was kept last (cut, a bit turned, a bit turned in its journal, emptied, in turn).
The next start must say so (a checkpoint is set aside as .bad), and go on from an older state; what is redone then
counts like the rest.

One line is printed for each kill, then a table and a line that begins with PASSED or FAILED. Ends with 0 or 1.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import killing
import numpy as np
from killing import FILE, WORK, Moment, Teller, Told, begin, files_of_start, live, to_its_end, verdict

from bitconverter.format.safetensors_file import SafetensorsFile, TensorEntry, header_bytes
from bitconverter.jobs import train_prefix, train_state, train_work
from bitconverter.jobs.benchmark import machine
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.job import Cancel, Context, Event, Metric, Note, Progress, run_job
from bitconverter.jobs.self_test_model import HIDDEN, write_model
from bitconverter.jobs.train import TrainJob

PROMISED, OWN_SAVE = 60.0, 20.0  # seconds
SAVED = 0.8  # of the time between two kills: after so much a state is saved
BEFORE = 1 / 3  # of the kills: before the first step
KEPT = 2  # files that are touched where a part before the first step is kept: the values, the journal
WINDOW = 32
NOTHING = -(10**9)  # where a training is that has not got anywhere
TEXT = "三値の重みで静かに動く。the quick brown fox jumps over the lazy dog. " * 60


# ---- what runs in a process of its own


def teach(job: TrainJob, save: float, teller: Teller) -> None:
    """Tells (word, place or name, processor seconds of this process). A place is a step, or the number of windows that
    are missing before the first one, below zero."""
    train_work.SAVE_SECONDS = save
    Context.PROGRESS_INTERVAL = 0.0  # every part is told of
    # who is to be killed while it saves finds that due at its place, however long ago it has saved
    train_work.time = SimpleNamespace(  # type: ignore[assignment]
        monotonic=lambda: time.process_time() + save * teller.among_files
    )

    def tell(event: Event) -> None:
        if isinstance(event, Metric) and event.name == "loss":
            teller.result("step", event.step, event.step)
        elif isinstance(event, Progress) and event.item == "prefix":
            teller.result("made", event.done - event.total, event.done - event.total)
        elif isinstance(event, Note) and event.code == "prefix-goes-on":
            teller.say("from", event.fields["windows"] - event.fields["all"])
        elif isinstance(event, Note) and event.code == "train-began":
            teller.say("began", 0)
        elif isinstance(event, Note) and event.code == "prefix-bad":
            teller.say("bad", f"{PREPARED}.bad")
        elif isinstance(event, Note) and event.code == "resumed-training":
            teller.say("from", event.fields["step"])
        elif isinstance(event, Note) and event.code == "checkpoint-bad":
            teller.say("bad", event.fields["name"])

    teller.end(run_job(job, tell, Cancel()))


def make_model(folder: Path, layers: int, teller: Teller) -> None:
    write_model(folder / "source")
    pile_up(folder / "source", layers)
    job = ConvertJob(
        str(folder / "source"), str(folder / "model"), planes=2, threads=1, method="fast", report=False
    )
    teller.end(run_job(job, lambda _: None, Cancel()))


def pile_up(folder: Path, layers: int) -> None:
    """The model's first layer so many times, in place of its own two."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": layers}), encoding="utf-8")
    path = folder / "model.safetensors"
    whole, file = path.read_bytes(), SafetensorsFile(path)
    entries: list[TensorEntry] = []
    parts: list[bytes] = []
    space = 1 << 20
    for name, entry in file.tensors.items():
        first = ".layers.0." in name
        if ".layers." in name and not first:
            continue
        for layer in range(layers if first else 1):
            place = space + sum(map(len, parts))
            named = name.replace(".layers.0.", f".layers.{layer}.")
            entries.append(TensorEntry(named, entry.dtype, entry.shape, place, entry.bytes))
            parts.append(whole[entry.offset : entry.offset + entry.bytes])
    path.write_bytes(header_bytes(entries, space, {"format": "pt"}) + b"".join(parts))


# ---- what the kills cost


PREPARED = "what is kept before the first step"


@dataclass
class Seen:
    """`at`: the processor seconds after which it was at each place (see teach()) first, without what was redone;
    `before`: the kills before the first step. `damaged`: the checkpoint that the next start must find, or PREPARED;
    `may_be_silent`: one was killed before it could have said so."""

    at: dict[int, float] = field(default_factory=lambda: {NOTHING: 0.0})
    last: int = NOTHING
    before: int = 0
    redone: list[float] = field(default_factory=list)
    longest_step: float = 0.0
    damaged: str = ""
    may_be_silent: bool = False
    found: int = 0
    ended: bool = False
    problems: list[str] = field(default_factory=list)

    def take(self, told: list[Told]) -> None:
        """What one life told."""
        if told and told[-1][0] == "failed":
            self.problems.append(f"the training failed: {told[-1][1]}")
        self.ended = bool(told) and told[-1][0] == "end"
        told = [one for one in told if one[0] in ("from", "bad", "began", *WORK)]
        self._look_for_damage(told)
        work = [one for one in told if one[0] != "bad"]
        if not work:
            return
        word, start, used = work[0]
        if word in WORK:  # it began anew
            start, used = NOTHING, 0.0
        if word == "began" and self.last == NOTHING:
            self.at[0] = used
        assert isinstance(start, int)
        if start not in self.at:
            self.problems.append(f"it goes on from {start}, which it never told of")
            return
        self.redone.append(self.at[self.last] - self.at[start])
        began = before = used
        for word, place, used in work:
            assert isinstance(place, int)
            if word in WORK:
                self.longest_step = max(self.longest_step, used - before)
                self.at[place] = self.at[start] + used - began
                self.last, before = place, used

    def _look_for_damage(self, told: list[Told]) -> None:
        if not self.damaged:
            return
        heard = [one[:2] for one in told]
        said = ("bad", f"{self.damaged}.bad") in heard
        if said or any(word != "bad" for word, _ in heard):
            if not said and not self.may_be_silent:
                self.problems.append(f"{self.damaged} was damaged, and nothing was said of it")
            if self.damaged != PREPARED and ("from", int(self.damaged.rpartition("-")[2])) in heard:
                self.problems.append(f"{self.damaged} was damaged, and it went on from it")
            self.found += said
            self.damaged, self.may_be_silent = "", False
        else:
            self.may_be_silent = True


def damage_newest(job: TrainJob, kind: int) -> str:
    """The name of the checkpoint that is damaged now, or PREPARED; "": there are no two."""
    if (job.work_dir / train_prefix.PARTIAL).exists():
        return damage_prepared(job.work_dir, kind)
    saved = train_state.checkpoints(job.work_dir)
    if len(saved.steps()) < 2:
        return ""
    place = saved.folder / f"step-{saved.steps()[0]:08d}"
    state = place / train_state.STATE
    data = bytearray(state.read_bytes())
    if kind % 4 == 0:
        state.write_bytes(data[:-100])
    elif kind % 4 == 1:
        data[len(data) // 2] ^= 16
        state.write_bytes(data)
    elif kind % 4 == 2:
        (place / "DONE").unlink()
    else:
        state.write_bytes(b"")
    return place.name


def damage_prepared(folder: Path, kind: int) -> str:
    """What of the preparation was kept last; "": nothing was kept."""
    path, journal = folder / train_prefix.PARTIAL, folder / train_prefix.JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    marks = [json.loads(line) for line in lines[1:] if line.endswith(b"\n")]
    if not marks:
        return ""
    end = train_prefix.HEAD + 4 * marks[-1]["windows"] * WINDOW * HIDDEN
    data = bytearray(path.read_bytes())
    if kind % 4 == 0:
        path.write_bytes(data[: end - 50])
    elif kind % 4 == 1:
        data[end - 50] ^= 16
        path.write_bytes(data)
    elif kind % 4 == 2:
        lines[len(marks)] = lines[len(marks)].replace(b'"windows":', b'"Windows":')
        journal.write_bytes(b"".join(lines))
    else:
        data[end - 100 : end] = bytes(100)
        path.write_bytes(data)
    return PREPARED


def spread(places: list[int], count: int, random: np.random.Generator) -> list[int]:
    """`count` of them, one out of each `count`th part."""
    return [places[int((n + random.uniform()) / count * len(places))] for n in range(count)]


def moments(kills: int, told: list[Told], random: np.random.Generator) -> list[Moment]:
    """When to kill one that told this without a break."""
    parts = [int(place) for word, place, _ in told if word == "made"][:-1]
    steps = [0, *(int(place) for word, place, _ in told if word == "step")][:-1]
    before = max(1, round(BEFORE * kills)) if parts else 0
    places = [*spread(parts, before, random), *spread(steps, kills - before, random)]
    saving, starting = files_of_save(told), files_of_start(told)
    result = []
    for kill, place in enumerate(places):
        share = float(random.uniform())
        if kill % 4 == 3:
            result.append(Moment(None, int(random.integers(starting + 1)), share))
        elif kill % 4 == 1:
            result.append(Moment(place, int(random.integers(KEPT if place < 0 else saving)) + 1, share))
        else:
            result.append(Moment(place, 0, share))
    return result


def files_of_save(told: list[Told]) -> int:
    """So many were touched, at most, between two steps."""
    marks = "".join("|" if word == "step" else "." for word, _, _ in told if word in ("step", FILE))
    return max(1, *map(len, marks.split("|")[1:-1]))


def kill_again_and_again(
    job: TrainJob, args: argparse.Namespace, whole: list[Told]
) -> tuple[int, float, Seen]:
    """The number of kills, the seconds after which a state was saved, and what they cost."""
    seconds = [used for word, _, used in whole if word == "step"][-1]
    save, seen, kills, damages = SAVED * seconds / args.kills, Seen(), 0, 0
    for moment in moments(args.kills, whole, np.random.default_rng(args.seed)):
        seen.take(live(teach, job, save, moment=moment))
        if seen.ended:
            break
        kills += 1
        seen.before += seen.last <= 0
        at = f"step {seen.last}" if seen.last > 0 else f"{-seen.last} windows before its first step"
        at = "its beginning" if seen.last == NOTHING else at
        redone = f", {seen.redone[-1]:.2f} s redone before" if seen.redone else ""
        print(f"kill {kills} of {args.kills}: {moment}, at {at}{redone}", flush=True)
        if args.damage_every and kills % args.damage_every == 0 and not seen.damaged:
            seen.damaged = damage_newest(job, damages)
            damages += bool(seen.damaged)
            print(f"  damaged: {seen.damaged or 'nothing, there is no other state'}", flush=True)
        if seen.problems:
            break
    if not seen.ended and not seen.problems:
        seen.take(live(teach, job, save))
    return kills, save, seen


# ---- the verdict


def judge(args: argparse.Namespace, kills: int, save: float, seen: Seen, same: bool) -> bool:
    """The table and the verdict; whether everything held."""
    most = max(seen.redone, default=0.0)
    allowed = PROMISED / OWN_SAVE * save + seen.longest_step
    problems = list(seen.problems)
    if not same:
        problems.append("the bytes differ")
    if most > allowed:
        problems.append(f"{most:.2f} s were redone, {allowed:.2f} are allowed")
    if kills < args.kills and not problems:
        problems.append(f"it came to its end after {kills} kills: take more --steps")
    if args.damage_every and kills >= args.damage_every and not seen.found:
        problems.append("no damaged state was met")
    if kills and not 0 < seen.before < kills:
        problems.append(
            f"{seen.before} of {kills} kills were before the first step: take other --texts or --steps"
        )
    print(f"\n{time.strftime('%Y-%m-%d')}, {machine()}, {args.engine}, seed {args.seed}\n")
    redone = f"{most:.2f} s (allowed {allowed:.2f})"
    share = f"{sum(seen.redone):.1f} s of {sum(seen.redone) + seen.at[seen.last]:.1f} s"
    row = (
        kills,
        seen.before,
        args.steps,
        f"{save:.2f} s",
        redone,
        share,
        seen.found,
        "yes" if same else "NO",
    )
    print(
        "| kills | before | steps | saved every | redone at most | of all work | damaged, found | same bytes |"
    )
    print("|---|---|---|---|---|---|---|---|")
    print(f"| {' | '.join(map(str, row))} |")
    return verdict(problems)


def main() -> None:
    parser = killing.parser(__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--layers", type=int, default=30, help="of the model; the last one learns")
    parser.add_argument("--texts", type=int, default=24, help="so many times the lesson's text")
    parser.add_argument("--damage-every", type=int, default=10, help="0: nothing is damaged")
    parser.add_argument("--engine", choices=("exact", "mezo"), default="exact")
    args = parser.parse_args()
    begin()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "lesson.txt").write_text(TEXT * args.texts, encoding="utf-8")
        whole, killed = (
            TrainJob(
                str(folder / "model"), str(folder / "lesson.txt"), str(folder / f"{end}.soul"), layers=1,
                steps=args.steps, batch=4, window=WINDOW, engine=args.engine, threads=1, forget_limit=0.0,
            )
            for end in ("whole", "killed")
        )  # fmt: skip
        to_its_end(live(make_model, folder, args.layers))
        told = to_its_end(live(teach, whole, OWN_SAVE))
        before = next(used for word, _, used in told if word == "began")
        seconds = [used for word, _, used in told if word == "step"][-1]
        print(
            f"without a break: {before:.1f} s, and {args.steps} steps in {seconds - before:.1f} s", flush=True
        )
        kills, save, seen = kill_again_and_again(killed, args, told)
        same = seen.ended and Path(whole.out).read_bytes() == Path(killed.out).read_bytes()
        held = judge(args, kills, save, seen, same)
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
