"""Paths of more than 320 characters with Japanese in them: a model is converted there, verified, and talked to."""

import shutil
from pathlib import Path

from model_folders import golden_copy

from bitconverter.jobs.chat import AnswerJob, LoadChatJob, Message, Sampling
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.inspect import InspectJob
from bitconverter.jobs.job import Cancel, Event, Finished, run_job


def result(job: object) -> object:
    last: Event = run_job(job, lambda event: None, Cancel())  # type: ignore[arg-type]
    assert isinstance(last, Finished), last
    return last.result


def test_a_model_lives_in_a_path_of_320_characters(tmp_path: Path) -> None:
    deep = tmp_path
    while len(str(deep)) < 320:
        deep = deep / "長い名前の フォルダー 😀 é"
    source = golden_copy("llama2", deep / "source")
    (source / "chat_template.jinja").write_text("{{ messages[-1].content }}", encoding="utf-8")
    out = deep / "out"
    result(ConvertJob(source=str(source), out=str(out), method="fast", report=False))
    verified = result(InspectJob(str(out), verify=True))
    assert verified
    chat = result(LoadChatJob(str(out), threads=1))
    try:
        answer = result(
            AnswerJob(chat, (Message("user", "hi"),), Sampling(temperature=0, max_tokens=3, seed=0))
        )
        assert answer.tokens >= 1  # type: ignore[attr-defined]
    finally:
        chat.close()  # type: ignore[attr-defined]
    shutil.rmtree(deep)
