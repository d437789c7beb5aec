"""Make the sentiment lesson that training is measured on: real movie review snippets, learn.jsonl and test.jsonl.

Usage: python tools/sentiment_lesson.py OUT [--sdist vaderSentiment-0.5.zip] [--learn 512] [--test 300]

The rows are movieReviewSnippets_GroundTruth.txt of the PyPI source package vaderSentiment 0.5 (MIT licence, C. J.
Hutto; Hutto, Gilbert: VADER, ICWSM 2014): sentences from film reviews, each with the mean of people's ratings from -4
to 4. It was chosen because it is real, short, labelled by people and comes from a package registry under a licence that
lets anybody fetch it. Rows within 1 of neutral, of more than 20 words and doubles are left out; the rest is shuffled by
a fixed seed and balanced. A row becomes {"prompt": "<text> It was", "answer": " great"}, or " terrible". Without
--sdist the package is fetched by pip.
"""

import argparse
import hashlib
import io
import json
import random
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE, NAME = "vaderSentiment==0.5", "vaderSentiment-0.5"
SHA256 = "5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a"
LABELS = (" great", " terrible")
LEAST_SCORE, MOST_WORDS, SEED = 1.0, 20, 5


def source_package(given: Path | None) -> bytes:
    """The bytes of the package, checked."""
    if given is not None:
        data = given.read_bytes()
    else:
        with tempfile.TemporaryDirectory() as folder:
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--no-binary",
                ":all:",
            ]
            subprocess.run([*command, "--dest", folder, PACKAGE], check=True)
            data = next(Path(folder).iterdir()).read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        sys.exit(f"this is not the file of {PACKAGE} that the numbers were measured with")
    return data


def snippets(package: bytes) -> list[tuple[float, str]]:
    """(rating, text) of every row that is kept, in the order of the file."""
    inner = zipfile.ZipFile(io.BytesIO(package)).read(f"{NAME}/additional_resources/hutto_ICWSM_2014.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
        member = archive.extractfile("hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt")
        assert member is not None
        lines = member.read().decode("utf-8").splitlines()
    rows: dict[str, float] = {}
    for line in lines:
        _, score, text = line.split("\t")
        if abs(float(score)) >= LEAST_SCORE and len(text.split()) <= MOST_WORDS:
            rows.setdefault(text.strip(), float(score))
    return [(score, text) for text, score in rows.items()]


def balanced(rows: list[tuple[float, str]], n: int) -> list[dict[str, str]]:
    """n rows, half of each label in turns, drawn by SEED; more rows begin with the same ones."""
    rng = random.Random(SEED)
    sides = [[text for score, text in rows if (score > 0) is good] for good in (True, False)]
    for side in sides:
        rng.shuffle(side)
    return [{"prompt": f"{sides[i % 2][i // 2]} It was", "answer": LABELS[i % 2]} for i in range(n)]


def write(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def make(out: Path, package: bytes, n_learn: int = 512, n_test: int = 300) -> None:
    """learn.jsonl and test.jsonl; no row is in both."""
    rows = balanced(snippets(package), n_learn + n_test)
    out.mkdir(parents=True, exist_ok=True)
    write(out / "test.jsonl", rows[:n_test])
    write(out / "learn.jsonl", rows[n_test:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--sdist", type=Path)
    parser.add_argument("--learn", type=int, default=512)
    parser.add_argument("--test", type=int, default=300)
    args = parser.parse_args()
    make(args.out, source_package(args.sdist), args.learn, args.test)


if __name__ == "__main__":
    main()
