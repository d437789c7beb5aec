"""Checkpoints: whole or not there, the newest few and the best stay, damage is seen."""

import json
from pathlib import Path

import pytest

from bitconverter.jobs.checkpoints import BEST, DONE, Checkpoints


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_the_newest_and_the_best_stay(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "c", keep=2)
    assert kept.steps() == [] and kept.best() is None
    for step in range(1, 7):
        kept.save(step, {"a": b"%d" % step, "b": b""}, best=step == 2)
    assert names(kept.folder) == [BEST, "step-00000002", "step-00000005", "step-00000006"]
    assert kept.steps() == [6, 5, 2] and kept.best() == 2
    assert kept.load(2) == {"a": b"2", "b": b""}
    kept.save(6, {"a": b"other"}, best=True)
    assert kept.load(6) == {"a": b"other"} and kept.best() == 6
    kept.save(7, {"a": b"7"}, best=False)
    assert kept.steps() == [7, 6]
    kept.remove()
    assert not kept.folder.exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda place: (place / "a").write_bytes(b"12x45"),
        lambda place: (place / "a").write_bytes(b"123"),
        lambda place: (place / "a").unlink(),
        lambda place: (place / DONE).unlink(),
        lambda place: (place / DONE).write_bytes(b"[]"),
        lambda place: (place / DONE).write_bytes(b'{"step": 3}'),
        lambda place: (place / DONE).write_bytes(b"\xff"),
        lambda place: (place / DONE).write_text(json.dumps({"step": 4, "files": {}})),
        lambda place: (place / DONE).write_text(json.dumps({"step": 3, "files": {"../a": {}}})),
        lambda place: (place / DONE).write_text(json.dumps({"step": 3, "files": {"a": 5}})),
    ],
)
def test_damage_is_seen_and_set_aside(damage: object, tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(3, {"a": b"12345"}, best=True)
    assert callable(damage)
    damage(tmp_path / "step-00000003")
    assert kept.load(3) is None
    assert kept.set_aside(3) == "step-00000003.bad"
    assert kept.steps() == [] and (tmp_path / "step-00000003.bad").is_dir()
    kept.save(3, {"a": b"5"}, best=False)
    assert kept.load(3) == {"a": b"5"}


def test_what_a_killed_process_left_is_not_used_and_goes(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    for left in ("step-00000009.new", "step-00000008.old"):
        (tmp_path / left).mkdir()
    (tmp_path / "mine.txt").write_text("x")
    assert kept.steps() == []
    kept.save(1, {}, best=False)
    assert names(tmp_path) == ["mine.txt", "step-00000001"]
    kept.remove()
    assert names(tmp_path) == ["mine.txt"]


@pytest.mark.parametrize("absolute", [False, True])
def test_no_file_outside_is_read_whatever_the_record_says(absolute: bool, tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "c")
    kept.save(3, {"a": b"12345"}, best=True)
    outside = tmp_path / "outside"
    outside.write_bytes(b"12345")
    done = kept.place(3) / DONE
    record = json.loads(done.read_text(encoding="utf-8"))
    name = str(outside) if absolute else "../../outside"
    record["files"][name] = record["files"]["a"]
    done.write_text(json.dumps(record), encoding="utf-8")
    assert kept.load(3) is None
