"""The model of a soul is found by its weights, under whatever name."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference.converted import write_converted

from bitconverter.format.errors import UserError
from bitconverter.format.soul_file import Soul, soul_bytes, weights_hash
from bitconverter.jobs.chat import LoadChatJob
from bitconverter.jobs.job import Cancel, Failed, Finished, Stopped, run_job
from bitconverter.jobs.soul_base import FindBaseJob


@pytest.fixture(scope="module")
def models(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pupil/ and other/, of different weights. Copied by each test."""
    place = tmp_path_factory.mktemp("bases")
    write_converted(tiny_model, place / "pupil", 2, seed=3)
    write_converted(tiny_model, place / "other", 2, seed=4)
    for name in ("pupil", "other"):
        template = json.dumps({"chat_template": "{{ messages[0].content }}"})
        (place / name / "tokenizer_config.json").write_text(template)
    return place


@pytest.fixture
def place(models: Path, tmp_path: Path) -> Path:
    """models/ with both, souls/tea.soul of pupil."""
    shutil.copytree(models, tmp_path / "models")
    (tmp_path / "souls").mkdir()
    base = weights_hash((tmp_path / "models" / "pupil").glob("*.safetensors"))
    gains = {"model.layers.1.mlp.up_proj": np.full(1, 2.0, np.float32)}
    (tmp_path / "souls" / "tea.soul").write_bytes(soul_bytes(Soul(gains, "pupil", base, {})))
    return tmp_path


def found(soul: Path, *folders: Path) -> str:
    last = run_job(FindBaseJob(str(soul), tuple(map(str, folders))), lambda _: None, Cancel())
    if isinstance(last, Failed):
        raise last.error
    assert isinstance(last, Finished)
    result: str = last.result
    return result


def refused(soul: Path, *folders: Path) -> UserError:
    with pytest.raises(UserError) as raised:
        found(soul, *folders)
    return raised.value


def test_it_is_found_by_its_weights_also_under_another_name(place: Path) -> None:
    soul, models = place / "souls" / "tea.soul", place / "models"
    assert found(soul, models) == str(models / "pupil")
    (models / "pupil").rename(models / "renamed")
    (models / "other").rename(models / "pupil")  # the name alone says nothing
    assert found(soul, models) == str(models / "renamed")


def test_a_model_beside_the_soul_needs_no_shelf(place: Path) -> None:
    shutil.copytree(place / "models" / "pupil", place / "souls" / "pupil")
    assert found(place / "souls" / "tea.soul") == str(place / "souls" / "pupil")


def test_a_missing_one_is_named(place: Path) -> None:
    error = refused(place / "souls" / "tea.soul", place / "models" / "other", place / "nowhere")
    assert error.code == "soul-base-missing" and "the model pupil" in str(error)
    assert error.fields == {"soul": "tea.soul", "base": "pupil"}


def test_what_is_no_soul_is_refused_before_any_model_is_read(place: Path) -> None:
    (place / "bad.soul").write_bytes(b"x")
    assert refused(place / "bad.soul", place / "models").code != "soul-base-missing"
    assert refused(place / "none.soul", place / "models").code == "soul-missing"


def test_it_can_be_stopped(place: Path) -> None:
    cancel, seen = Cancel(), []

    def stop(event: Any) -> None:
        seen.append(event)
        cancel.request()

    job = FindBaseJob(str(place / "souls" / "tea.soul"), (str(place / "models"),))
    assert isinstance(run_job(job, stop, cancel), Stopped) and seen


def test_the_chat_job_says_what_its_soul_is_called(place: Path) -> None:
    pupil = place / "models" / "pupil"
    config = json.loads((pupil / "config.json").read_text(encoding="utf-8"))
    rows = config["intermediate_size"]
    base = weights_hash(pupil.glob("*.safetensors"))
    gains = {"model.layers.1.mlp.up_proj": np.full(rows, 2.0, np.float32)}
    (place / "tea.soul").write_bytes(soul_bytes(Soul(gains, "pupil", base, {})))
    last = run_job(LoadChatJob(str(pupil), 1, soul=str(place / "tea.soul")), lambda _: None, Cancel())
    assert isinstance(last, Finished) and last.result.soul_name == "tea"
    last.result.close()
