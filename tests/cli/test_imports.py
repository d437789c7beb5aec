"""What a verb does not need it does not load: that is memory beside the model, and time before the first line."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bitconverter.cli.arguments import build_parser
from bitconverter.cli.main import _function_of

SRC = Path(__file__).parents[2]
TOLD = "loaded: "
RUN = f"""
import sys
from bitconverter.cli.main import main
try:
    status = main()
except SystemExit as ended:
    status = ended.code
print("{TOLD}" + " ".join(sys.modules), file=sys.stderr)
sys.exit(status)
"""
OURS_FOR_OTHER_VERBS = (
    "bitconverter.cli.chat", "bitconverter.cli.convert_verbs", "bitconverter.cli.training_verbs",
    "bitconverter.jobs.chat", "bitconverter.jobs.convert", "bitconverter.jobs.train", "bitconverter.jobs.prepare",
    "bitconverter.jobs.evaluate", "bitconverter.model.tokenizer", "bitconverter.model.chat_template",
)  # fmt: skip
NOT_FOR_BENCHMARK = (
    "PySide6", "tokenizers", "jinja2", "sqlite3", "gguf", "numpy.random", "concurrent.futures", *OURS_FOR_OTHER_VERBS,
)  # fmt: skip
NOT_FOR_HELP = (
    "numpy",
    "psutil",
    "hashlib",
    "bitconverter.engine",
    "bitconverter.jobs.job",
    *NOT_FOR_BENCHMARK,
)
SHORT = ("--threads", "1", "--repeat", "1", "--prompt-tokens", "8")


def loaded_by(*words: str) -> set[str]:
    """The modules of a process that has run the command line with these words."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *words], capture_output=True, encoding="utf-8", timeout=120,
        env={**os.environ, "PYTHONPATH": str(SRC)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stderr.strip().splitlines()[-1].removeprefix(TOLD).split())


@pytest.mark.parametrize("words", [("--version",), ("--help",), ("benchmark", "--help")])
def test_help_and_version_load_no_engine(words: tuple[str, ...]) -> None:
    assert loaded_by(*words) & set(NOT_FOR_HELP) == set()


@pytest.mark.parametrize("more", [("--new-tokens", "1"), ("--full",)])
def test_benchmark_loads_nothing_of_other_verbs(more: tuple[str, ...], tiny_model: Path) -> None:
    loaded = loaded_by("benchmark", str(tiny_model), *SHORT, *more)
    assert {"numpy", "bitconverter.jobs.benchmark"} <= loaded  # it has run
    assert loaded & set(NOT_FOR_BENCHMARK) == set()


@pytest.mark.parametrize("name", NOT_FOR_HELP)
def test_what_must_not_be_loaded_exists(name: str) -> None:
    """A name that nothing has would never be found loaded."""
    assert importlib.util.find_spec(name) is not None


def test_every_verb_has_a_function() -> None:
    verbs = next(action.choices for action in build_parser()._actions if action.dest == "verb")
    assert verbs is not None
    assert [_function_of(verb).__name__ for verb in verbs] == list(verbs)
