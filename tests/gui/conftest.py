"""A window on real jobs and tiny models."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from model_folders import edit_config, write_byte_tokenizer
from PySide6.QtCore import QCoreApplication, QEvent
from pytestqt.qtbot import QtBot
from reference.converted import write_converted
from safetensors.numpy import save_file

from bitconverter.gui import pin_actions, taught_actions
from bitconverter.gui import train_page as train_page_module
from bitconverter.gui.appearance import prepare
from bitconverter.gui.chat_log import ChatLog
from bitconverter.gui.convert_page import ConvertPage
from bitconverter.gui.main_window import MainWindow
from bitconverter.gui.store_queue import StoreQueue
from bitconverter.gui.trash import Trashed
from bitconverter.gui.window_life import USUAL_SIZE
from bitconverter.settings import Settings

TEMPLATE = (
    "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The screenless Qt platform says so of every window with a least size; that is no fault of ours."""
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            # nor has it a tray or an order of windows
            texts = ("does not support (propagateSizeHints|raise)", "systemTrayWindowChanged")
            item.add_marker(pytest.mark.qt_log_ignore(*texts))


@pytest.fixture
def settings(tmp_path: Path, qapp, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """English, light, in a folder of the test's own, as are the chats; the application is prepared for them."""
    monkeypatch.setenv("BITCONVERTER_HOME", str(tmp_path / "home 設定"))
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)  # the windows of earlier tests
    result = Settings(tmp_path / "home 設定" / "settings.json")
    result["language"], result["theme"], result["page"] = "en", "light", "chat"
    monkeypatch.setattr(ConvertPage, "PLANS", False)
    result["method"], result["report"] = "fast", False  # they take their time, and have a test of their own
    prepare(qapp, result)
    return result


@pytest.fixture
def window(settings: Settings, qtbot: QtBot) -> Iterator[MainWindow]:
    """The whole window, shown; its jobs are over when the test is."""
    result = MainWindow(settings)
    qtbot.addWidget(result)
    result.resize(*USUAL_SIZE)  # the screenless platform is smaller
    result.show()
    yield result
    result.stop_and_wait()


@pytest.fixture
def chat_log(settings: Settings, tmp_path: Path) -> Iterator[ChatLog]:
    """A conversation without a page, in a store of its own."""
    store = StoreQueue(tmp_path / "a log" / "chats.sqlite3")
    yield ChatLog(store)
    store.close()


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """The tiny model with a chat template and a context of 4,096 tokens, in a folder with a Japanese name."""
    folder = tmp_path_factory.mktemp("chat") / "小さな モデル 🙂"
    shutil.copytree(tiny_model, folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["max_position_embeddings"] = 4096
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def larger_model(tmp_path_factory: pytest.TempPathFactory, chat_model: Path) -> Path:
    """17 million random weights: a conversion long enough to be stopped. Do not change it."""
    folder = tmp_path_factory.mktemp("larger") / "larger model 大"
    shutil.copytree(chat_model, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.npy"))
    hidden, inner, layers = 512, 2048, 4
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {
        "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers, "head_dim": 64,
        "num_attention_heads": 8, "num_key_value_heads": 8, "tie_word_embeddings": True,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    random = np.random.default_rng(1)

    def weights(*shape: int) -> np.ndarray:
        return (random.standard_normal(shape, dtype=np.float32) * 0.02).astype(np.float16)

    tensors = {"model.embed_tokens.weight": weights(config["vocab_size"], hidden)}
    tensors["model.norm.weight"] = np.ones(hidden, np.float16)
    for layer in range(layers):
        at = f"model.layers.{layer}"
        for name in "qkvo":
            tensors[f"{at}.self_attn.{name}_proj.weight"] = weights(hidden, hidden)
        for name, shape in (("gate", (inner, hidden)), ("up", (inner, hidden)), ("down", (hidden, inner))):
            tensors[f"{at}.mlp.{name}_proj.weight"] = weights(*shape)
        for name in ("input", "post_attention"):
            tensors[f"{at}.{name}_layernorm.weight"] = np.ones(hidden, np.float16)
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def converted(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A converted model with a chat template, long enough for windows of 512 tokens."""
    source = tmp_path_factory.mktemp("teach") / "source"
    shutil.copytree(tiny_model, source)
    edit_config(source, max_position_embeddings=4096)
    folder = source.parent / "小さな 生徒 🙂"
    write_converted(source, folder, 2, seed=3)
    write_byte_tokenizer(
        folder, json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    )
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return folder


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bin of the test's own; take_back() finds things there."""
    place = tmp_path / "bin"
    place.mkdir()

    def move(path: str) -> Trashed:
        target = place / Path(path).name
        shutil.move(path, target)
        return Trashed(path, str(target))

    for module in (train_page_module, taught_actions, pin_actions):
        monkeypatch.setattr(module, "move_to_trash", move)
    return place
