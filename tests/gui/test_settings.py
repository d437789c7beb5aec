"""The settings file: typed, whole or not there, and forgiving without being silent."""

import json

import pytest

from bitconverter import paths
from bitconverter.settings import RECENT_MODELS, SETTINGS, Settings


def test_every_default_is_accepted_by_its_own_setting():
    for setting in SETTINGS:
        assert setting.accepts(setting.default), setting.key
        assert setting.text
    assert len({setting.key for setting in SETTINGS}) == len(SETTINGS)


def test_values_survive_saving_and_reading(tmp_path):
    path = tmp_path / "設定 folder" / "settings.json"
    settings = Settings(path)
    settings["system_prompt"] = "丁寧に。\n🙂"
    settings["temperature"] = 0
    settings.add_recent_model("C:/モデル")
    settings.save()
    again = Settings(path)
    assert again["system_prompt"] == "丁寧に。\n🙂"
    assert again["temperature"] == 0
    assert again["recent_models"] == ["C:/モデル"]
    assert not again.problems
    assert [file.name for file in path.parent.iterdir()] == ["settings.json"]


def test_values_of_the_wrong_type_are_refused_when_set(tmp_path):
    settings = Settings(tmp_path / "s.json")
    for key, value in (("threads", "2"), ("theme", "pink"), ("recent_models", [1]), ("drawer_open", 1)):
        with pytest.raises(ValueError, match=key):
            settings[key] = value
    with pytest.raises(KeyError):
        settings["no_such_setting"] = 1


def test_wrong_values_in_the_file_fall_back_and_are_named(tmp_path):
    path = tmp_path / "s.json"
    path.write_text(json.dumps({"threads": "many", "theme": "dark", "future": 1}), encoding="utf-8")
    settings = Settings(path)
    assert settings["threads"] == 0 and settings["theme"] == "dark"
    assert settings.problems == ["threads"]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe\x00"])
def test_a_broken_file_is_set_aside_and_named(tmp_path, content):
    path = tmp_path / "s.json"
    path.write_bytes(content)
    settings = Settings(path)
    assert settings["theme"] == "auto" and settings.problems == ["s.json"]
    assert (tmp_path / "s.json.bad").read_bytes() == content


def test_recent_models_are_few_and_newest_first(tmp_path):
    settings = Settings(tmp_path / "s.json")
    for number in range(20):
        settings.add_recent_model(f"m{number}")
    settings.add_recent_model("m15")
    assert len(settings["recent_models"]) == RECENT_MODELS
    assert settings["recent_models"][:3] == ["m15", "m19", "m18"]


def test_one_variable_moves_all_files(monkeypatch, tmp_path):
    monkeypatch.setenv("BITCONVERTER_HOME", str(tmp_path))
    assert paths.settings_file() == tmp_path / "settings.json"
    assert paths.log_folder() == tmp_path / "logs"
    monkeypatch.delenv("BITCONVERTER_HOME")
    assert paths.settings_file() != tmp_path / "settings.json"
    assert "BitConverter" in str(paths.log_folder())


@pytest.mark.parametrize(
    "content",
    [
        '{"temperature": NaN}', '{"temperature": 1e300}', '{"top_k": 99999999999999999999}', '{"seed": -1}',
        '{"threads": 1000000000000}', '{"max_tokens": -5}', '{"system_prompt": "\\ud800"}',
        '{"recent_models": ["\\udcff"]}',
    ],
)  # fmt: skip
def test_numbers_and_texts_that_no_field_can_show_are_named_and_left_out(tmp_path, content):
    path = tmp_path / "s.json"
    path.write_text(content, encoding="utf-8")
    settings = Settings(path)
    (key,) = json.loads(content)
    assert settings.problems == [key]
    assert settings[key] == next(setting.default for setting in SETTINGS if setting.key == key)
    settings.save()
    assert not Settings(path).problems


def test_a_settings_file_that_cannot_be_read_does_not_keep_the_program_from_starting(tmp_path):
    path = tmp_path / "s.json"
    path.mkdir()
    settings = Settings(path)
    assert settings["theme"] == "auto" and settings.problems == ["s.json"]
    assert path.is_dir()


def test_a_name_that_is_no_text_is_not_remembered(tmp_path):
    settings = Settings(tmp_path / "s.json")
    settings.add_recent_model("model \udcff")
    assert settings["recent_models"] == []
    settings.save()
