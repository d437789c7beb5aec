"""What jobs refuse, as they really raise it: Japanese says it with the same numbers and names, and in Japanese."""

import errno
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bitconverter.engine import Engine, Model
from bitconverter.format.size_text import at_least
from bitconverter.gui import messages
from bitconverter.gui.messages import error_text
from bitconverter.jobs import merge, opening, prepare_inputs, read_document, scratch
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.errors import UserError
from bitconverter.jobs.prepare import PrepareJob
from bitconverter.jobs.train import TrainJob, check_settings
from bitconverter.model.budget import Fit, Wish, check_wish, planned

NAMES = (  # of options and of what is chosen with them, units and kinds of files, which Japanese writes alike
    "gain|lora|delta|exact|mezo|loss|accuracy|gate|up|down|held|style|out|away|auto|chat|plain|u32|gguf|full|diag|fast|"
    "tiny|4gb|8gb|best|int8|int4|f16|f32|KV|GB|MB|LoRA|MeZO|FZOO|GGUF|MLP|UTF"
)


@pytest.fixture(autouse=True)
def _back_to_english() -> Iterator[None]:
    yield
    messages.set_language("en")


def _train(**changed: object) -> Callable[[], None]:
    return lambda: check_settings(TrainJob("m", "l", "s", **changed))  # type: ignore[arg-type]


def _prepare(**changed: object) -> Callable[[], None]:
    return lambda: PrepareJob("m", ("f",), **changed)._check()  # type: ignore[arg-type]


def _convert(**changed: object) -> Callable[[], object]:
    return lambda: ConvertJob("m", "o", **changed).preflight()  # type: ignore[arg-type]


SETTINGS = {
    "steps": _train(steps=0), "rate": _train(rate=2.0), "engine": _train(engine="x"),
    "objective": _train(objective="x"), "adapter": _train(adapter="x"), "target": _train(targets=("x",)),
    "targets": _train(targets=()), "samples": _train(samples=("?",) * 99), "epsilon": _train(epsilon=3.0),
    "by_spread": _train(by_spread=True, directions=1), "labels": _train(labels=("x",)), "seed": _train(seed=-1),
    "away": _train(away=-1.0), "forget_limit": _train(forget_limit=-1.0), "patience": _train(patience=-1),
    "prepare-window": _prepare(window=1), "prepare-seed": _prepare(seed=-1), "prepare-held": _prepare(share=2.0),
    "prepare-style": _prepare(style="x"), "prepare-out": _prepare(out="x"), "convert-seed": _convert(seed=-1),
    "convert-method": _convert(method="x"), "convert-windows": _convert(calibration_windows=0),
    "convert-polish": _convert(polish=-1), "convert-text": _convert(method="fast", calibration=("f",)),
    "preset": lambda: check_wish(Wish(preset="x")), "planes": lambda: check_wish(Wish(planes=9)),
    "kv": lambda: check_wish(Wish(fit=Fit(10**9, kv="x"))),
}  # fmt: skip


def _raised(refused: Callable[[], object]) -> UserError:
    with pytest.raises(UserError) as caught:
        refused()
    return caught.value


def _numbers(text: str) -> list[str]:
    """Sizes with their units."""
    text = text.replace("2^53 - 1", str(2**53 - 1)).replace("1e-6", "1e-06")
    return re.findall(r"\d(?:[\d.e-]*\d)?(?: [GM]B)?", text)


def _check(error: UserError, path: str = "no path") -> None:
    messages.set_language("en")
    english = error_text(error).text
    messages.set_language("ja")
    japanese = error_text(error).text
    assert re.search("[ぁ-ん]", japanese)
    left = re.sub(rf"(?<![A-Za-z0-9])({NAMES})(?![A-Za-z0-9])", "", japanese.replace(path, ""))
    assert not re.search("[A-Za-z]{2,}", left), japanese
    said = _numbers(japanese.replace(path, ""))
    missing = [number for number in _numbers(english.replace(path, "")) if number not in said]
    assert missing == [], (english, japanese)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_refused_setting_is_told_in_japanese_with_what_is_possible(name: str) -> None:
    _check(_raised(SETTINGS[name]))


@pytest.mark.parametrize("wish", [Wish(size=1000), Wish(fit=Fit(1000, 64))])
def test_a_size_that_is_too_small_is_told_with_the_least_as_a_size(chat_model: str, wish: Wish) -> None:
    info = Model(Engine(1), chat_model).info
    error = _raised(lambda: planned(info, wish, {}))
    _check(error)
    assert at_least(error.fields["least"]) in error_text(error).text


def test_files_that_are_too_large_are_told_with_their_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"a" * 2_000_000)
    for module in (read_document, prepare_inputs):
        monkeypatch.setattr(module, "FILE_LIMIT", 1_000_000)
    _check(_raised(lambda: read_document._read(path)), "a.txt")
    _check(_raised(lambda: prepare_inputs.find_inputs([str(path)])), str(path))


def test_a_full_disk_is_told_with_the_room_as_a_size(tmp_path: Path) -> None:
    def merging() -> None:
        with merge._telling_of_a_full_disk(tmp_path, str(tmp_path)):
            raise OSError(errno.ENOSPC, "full")

    for error in (scratch._full(tmp_path, True), _raised(merging)):
        _check(error, str(tmp_path))
        assert error.fields["free_size"] in str(error)


def test_too_little_room_to_unpack_is_told_in_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "open_source", lambda _path: SimpleNamespace(tensors={}, config={}))
    monkeypatch.setattr("bitconverter.model.gguf_source.expanded_bytes", lambda *_: 10**15)
    _check(
        _raised(lambda: opening.check_unpacking(str(tmp_path / "a.gguf"))), str(opening.temporary_folder())
    )
