"""The self-test on the real engine, and what the support file holds."""

import getpass
import json
import zipfile
from pathlib import Path

import pytest
from PySide6.QtWidgets import QLabel

from bitconverter import paths
from bitconverter.engine import UnsupportedError
from bitconverter.gui.support import contents, redactor
from bitconverter.gui.texts.reasons import REASONS_JA
from bitconverter.jobs import self_test
from bitconverter.jobs.job import Cancel, Context
from bitconverter.jobs.self_test_job import Check, SelfTestJob, SelfTestResult
from bitconverter.settings import SETTINGS

LONG = 60_000
NO_DRIVER = "there is no NVIDIA driver on this computer"
CODES = ["files", "memory", "engine", "cards", "conversion", "chat", "database", "documents", "paths"]


@pytest.fixture(autouse=True)
def _no_driver(monkeypatch):
    """As on most PCs: the library for graphics cards is there, and nothing that it could use."""

    def refuse(_: object) -> None:
        raise UnsupportedError(NO_DRIVER, -3)

    monkeypatch.setattr(self_test, "devices", refuse)


def _run(folder: Path) -> SelfTestResult:
    return SelfTestJob(folder=str(folder)).run(Context(lambda _: None, Cancel()))


def test_a_sound_installation_passes_and_leaves_nothing(tmp_path):
    result = _run(tmp_path / "models 場所")
    assert result.ok, result
    assert [c.code for c in result.checks] == CODES
    assert list((tmp_path / "models 場所").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_said_and_the_rest_goes_on(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    result = _run(tmp_path / "file" / "below")
    assert not result.ok and result.checks[0].problem
    assert not any(check.problem for check in result.checks[1:])


def test_a_wrong_answer_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(self_test, "SENTENCE", "別の文")
    codes = [check.code for check in _run(tmp_path).checks if check.problem]
    assert "chat" in codes and "files" not in codes


def test_closing_during_another_job_does_not_speak_of_a_conversion_that_runs(window, qtbot):
    window.show_page("diagnostics")
    window.pages["diagnostics"].start_button.click()
    window.close()
    dialog = window.close_dialog
    assert dialog is not None and dialog.windowTitle() == "A job is running"
    dialog.stay_button.click()
    qtbot.waitUntil(lambda: not window.busy, timeout=LONG)


def test_the_page_shows_the_result_in_both_languages(window, qtbot, settings):
    window.show_page("diagnostics")
    page = window.pages["diagnostics"]
    page.start_button.click()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert page.result.ok and page.lines.count() == len(CODES)
    settings["language"] = "ja"
    window.apply_setting("language")
    assert page.lines.count() == len(CODES)
    assert "chat: ok" in page.report()


def test_the_page_names_the_graphics_cards_or_says_why_there_are_none(window, settings):
    window.show_page("diagnostics")
    page, why = window.pages["diagnostics"], NO_DRIVER
    expected = {
        "en": [
            "Graphics cards: NVIDIA A, NVIDIA B can be used",
            f"Graphics cards: none is used ({why}); the processor does everything",
            "Graphics cards: the reason",
            "Chat: every instruction set, and every graphics card that can be used, says the right Japanese sentence, "
            "letter by letter",
            "Chat: every instruction set says the right Japanese sentence, letter by letter. cuda:0 is too old.",
        ],
        "ja": [
            "グラフィックスカード: NVIDIA A, NVIDIA B を使えます",
            f"グラフィックスカード: 使えるカードはありません（{REASONS_JA[why]}）。プロセッサーで動作します",
            "グラフィックスカード: the reason",
            "会話: どの命令セットと、使えるどのグラフィックスカードでも、正しい日本語の文が一文字も欠けずに出ました",
            "会話: どの命令セットでも、正しい日本語の文が一文字も欠けずに出ました。cuda:0 is too old.",
        ],
    }
    checks = (
        Check("cards", {"cards": ["NVIDIA A", "NVIDIA B"], "why": ""}),
        Check("cards", {"cards": [], "why": why}), Check("cards", {}, "the reason"),
        Check("chat", {"why": ""}), Check("chat", {"why": "cuda:0 is too old."}),
    )  # fmt: skip
    for language, lines in expected.items():
        settings["language"] = language
        window.apply_setting("language")
        page.result = SelfTestResult(checks, 1.0)
        page.retranslate()
        shown = [page.lines.itemAt(k).widget().findChildren(QLabel) for k in range(page.lines.count())]
        assert [next(part.text() for part in parts if part.text()) for parts in shown] == lines


def test_the_support_file_is_seen_first_and_holds_no_name(window, tmp_path, settings):
    home, user = str(Path.home()), getpass.getuser()
    settings.add_recent_model(f"{home}/secret model")
    paths.log_folder().mkdir(parents=True, exist_ok=True)
    (paths.log_folder() / "native-crash.log").write_text(
        f"crash in {home}/x by {user}, taro@example.org, hf_abcdefghijklmnopqrst", encoding="utf-8"
    )
    window.show_page("diagnostics")
    page = window.pages["diagnostics"]
    assert not page.save_button.isEnabled()
    page.preview_button.click()
    assert page.save_button.isEnabled() and page.names.count() == len(page.files) >= 3
    page.save(str(tmp_path / "support.zip"))
    with zipfile.ZipFile(tmp_path / "support.zip") as archive:
        written = {name: archive.read(name).decode("utf-8") for name in archive.namelist()}
    assert written == page.files and set(written) == set(contents(settings))
    everything = "\n".join(written.values())
    assert "secret model" not in everything and home not in everything
    assert "taro@" not in everything and "abcdefghij" not in everything
    (paths.log_folder() / "native-crash.log").unlink()


def test_no_setting_that_may_hold_a_name_is_in_the_support_file(settings):
    """Whatever the settings hold that a user has typed, named or picked."""
    free = [s for s in SETTINGS if s.type in (str, list) and not s.choices and s.valid is None]
    assert {"chat_souls", "chat_templates", "model_folders", "system_prompt"} <= {s.key for s in free}
    for setting in free:
        settings[setting.key] = "秘密 D:/secret" if setting.type is str else ["秘密 D:/secret"]
    written = json.loads(contents(settings)["settings.json"])
    assert "secret" not in json.dumps(written)
    assert written["theme"] == settings["theme"] and written["threads"] == 0 and written["device"] == "auto"


def test_a_name_of_two_characters_is_taken_out_where_it_is_a_name(monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "田中")
    assert redactor()("田中のモデル, model of 田中") == "<user>のモデル, model of <user>"
    monkeypatch.setattr(getpass, "getuser", lambda: "al")
    assert redactor()("also calibrated") == "also calibrated"


def test_names_of_windows_and_other_users_are_taken_out():
    redact = redactor()
    assert redact(r"File 'C:\\Users\\hanako\\x.py'") == r"File 'C:\\Users\\<user>\\x.py'"
    assert redact(r"C:\Users\田中　太郎\x.py") == r"C:\Users\<user>\x.py"
    assert redact("/home/hanako/models") == "/home/<user>/models"
    assert redact("perplexity 8.61 of model-00001") == "perplexity 8.61 of model-00001"


def test_a_file_that_cannot_be_written_is_said(window, tmp_path):
    window.show_page("diagnostics")
    page = window.pages["diagnostics"]
    page.preview_button.click()
    page.save(str(tmp_path / "no such folder" / "support.zip"))
    assert page.notice.isVisible()
