"""The settings: one typed list, one JSON file, saved whole or not at all."""

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitconverter.format.atomic import write_json
from bitconverter.jobs.device_word import is_device_word


@dataclass(frozen=True)
class Setting:
    """One setting: `choices` lists the allowed values, empty for any value of `type`, or any that `valid` accepts; a
    number lies in `bounds`, which keep what a file may hold (NaN, 1e300) away from the fields that show it. `group`:
    where the settings page shows it, "" for what is set elsewhere."""

    key: str
    type: type
    default: Any
    text: str
    choices: tuple[Any, ...] = ()
    bounds: tuple[float, float] | None = None
    group: str = ""
    valid: Callable[[object], bool] | None = None

    @property
    def private(self) -> bool:
        """Whether it may hold what the user has named or typed, which no report may tell."""
        return self.type in (str, list) and not self.choices and self.valid is None

    def accepts(self, value: Any) -> bool:
        """Whether `value` may be stored: the exact type (an int passes as a float), one of the choices,
        within the bounds, and text that UTF-8 can hold."""
        if type(value) is not self.type and not (self.type is float and type(value) is int):
            return False
        if isinstance(value, list) and not all(type(item) is str and storable(item) for item in value):
            return False
        if isinstance(value, str) and not storable(value):
            return False
        if isinstance(value, int | float) and self.bounds is not None:
            return self.bounds[0] <= value <= self.bounds[1]
        if self.valid is not None:
            return self.valid(value)
        return not self.choices or value in self.choices


def storable(text: str) -> bool:
    """Whether the settings file can hold `text`: not half of a surrogate pair, as in the name of a file
    that is not UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


SETTINGS: tuple[Setting, ...] = (
    Setting("language", str, "auto", "Language of the window", ("auto", "en", "ja"), group="look"),
    Setting(
        "theme",
        str,
        "auto",
        "Light, dark or high contrast",
        ("auto", "light", "dark", "contrast"),
        group="look",
    ),
    Setting(
        "text_scale", int, 100, "Text size in percent", (80, 90, 100, 110, 125, 150, 175, 200), group="look"
    ),
    Setting("device", str, "auto", "What chats and trainings run on", group="engine", valid=is_device_word),
    Setting("threads", int, 0, "Engine threads, 0 for all cores", bounds=(0, 256), group="engine"),
    Setting(
        "kv_cache",
        str,
        "f16",
        "Precision of the attention cache",
        ("f16", "int8", "int4", "f32"),
        group="engine",
    ),
    Setting("keep_awake", bool, True, "No sleep while a job runs", group="jobs"),
    Setting(
        "when_finished",
        str,
        "nothing",
        "After the last conversion or training",
        ("nothing", "sleep", "shutdown"),
        group="jobs",
    ),
    Setting(
        "train_eco",
        bool,
        True,
        "Training gives way to the user, rests on battery and in the heat",
        group="jobs",
    ),
    Setting(
        "train_away",
        int,
        0,
        "Minutes without a key before training works, 0: no matter",
        (0, 3, 10, 30),
        group="jobs",
    ),
    Setting("train_cores", int, 0, "Cores that training may use, 0 for all", bounds=(0, 1024), group="jobs"),
    Setting("close_action", str, "ask", "Closing while a job runs", ("ask", "tray", "quit"), group="jobs"),
    Setting(
        "output_folder", str, "", "Where converted models go, empty for beside the source", group="folders"
    ),
    Setting("model_folders", list, [], "Folders that the shelf shows"),
    Setting("shelf_models", list, [], "Single models on the shelf: converted, or made by that"),
    Setting("shelf_order", str, "recent", "Order of the shelf", ("recent", "name", "size")),
    Setting("window_geometry", str, "", "Size and place of the window (base64)"),
    Setting("page", str, "welcome", "The page shown at start"),
    Setting("drawer_open", bool, False, "Chat settings beside the chat are shown"),
    Setting("history_open", bool, True, "The chats of before beside the chat are shown"),
    Setting("recent_models", list, [], "Models opened or converted, newest first"),
    Setting("chat_souls", list, [], "The soul that each model was opened with last, as JSON"),
    Setting("chat_templates", list, [], "The chat template that was chosen for each model, as JSON"),
    Setting("train_model", str, "", "The model that was taught last"),
    Setting("train_strength", str, "short", "How thoroughly it was taught", ("short", "night", "custom")),
    Setting("train_steps", int, 100, "The user's own number of steps", bounds=(1, 1_000_000)),
    Setting("last_training", str, "", "The training under way, as JSON"),
    Setting("last_output", str, "", "The output folder of the last conversion"),
    Setting("last_folder", str, "", "Where the last model was picked"),
    Setting("method", str, "full", "Calibrated or fast conversion", ("full", "fast"), group="jobs"),
    Setting("report", bool, True, "Measure each conversion against its source", group="jobs"),
    Setting("preset", str, "4gb", "Size offered for a conversion", ("tiny", "4gb", "8gb", "best")),
    Setting("system_prompt", str, "", "Instruction placed before every chat"),
    Setting("temperature", float, 0.7, "Sampling temperature", bounds=(0, 2)),
    Setting("top_p", float, 0.95, "Nucleus sampling", bounds=(0, 1)),
    Setting("top_k", int, 40, "Candidates kept, 0 for all", bounds=(0, 200)),
    Setting("min_p", float, 0.05, "Least probability relative to the best", bounds=(0, 1)),
    Setting("repeat_penalty", float, 1.0, "Penalty on repeated tokens", bounds=(0.5, 2)),
    Setting("seed", int, 0, "The seed when it is fixed", bounds=(0, 2**31 - 1)),
    Setting("seed_random", bool, True, "A fresh seed for every answer"),
    Setting("max_tokens", int, 1024, "Longest answer", bounds=(1, 8192)),
)
_BY_KEY = {setting.key: setting for setting in SETTINGS}
RECENT_MODELS, SHELF_MODELS = 8, 100


class Settings:
    """Values by key. A value of the wrong type in the file counts as not set (see `problems`)."""

    def __init__(self, path: Path) -> None:
        """Read `path` if it is there. A file that is no JSON object is kept beside it as `.bad`."""
        self.path = path
        self.problems: list[str] = []
        self._values: dict[str, Any] = {}
        for key, value in self._read().items():
            setting = _BY_KEY.get(key)
            if setting is None:
                continue  # written by a newer version
            if setting.accepts(value):
                self._values[key] = value
            else:
                self.problems.append(key)

    def _read(self) -> dict[str, Any]:
        try:
            value = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except OSError:  # not ours to read: the program starts all the same, and says so
            self.problems.append(self.path.name)
            return {}
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            return value
        self.problems.append(self.path.name)
        with contextlib.suppress(OSError):  # a folder nobody may write to; saving says it again
            self.path.replace(self.path.with_name(self.path.name + ".bad"))
        return {}

    def __getitem__(self, key: str) -> Any:
        setting = _BY_KEY[key]
        value = self._values.get(key, setting.default)
        return list(value) if setting.type is list else value

    def __setitem__(self, key: str, value: Any) -> None:
        if not _BY_KEY[key].accepts(value):
            raise ValueError(f"{value!r} is no value for the setting {key}")
        self._values[key] = value

    def add_recent_model(self, folder: str) -> None:
        """Put `folder` first in the list of recent models; a name that no file can hold is left out."""
        if not storable(folder):
            return
        rest = [model for model in self["recent_models"] if model != folder]
        self["recent_models"] = [folder, *rest][:RECENT_MODELS]

    def add_shelf_models(self, *paths: str) -> None:
        """Remember models for the shelf, the newest first; names that no file can hold are left out."""
        new = [path for path in paths if storable(path)]
        rest = [path for path in self["shelf_models"] if path not in new]
        self["shelf_models"] = [*new, *rest][:SHELF_MODELS]

    def set_aside(self) -> Path | None:
        """Start again with the usual values; the old file stays beside the new one, and is returned."""
        kept = None
        if self.path.exists():
            kept = next(
                path for number in range(1, 10_000)
                if not (path := self.path.with_name(f"{self.path.stem}.old{number}.json")).exists()
            )  # fmt: skip
            self.path.replace(kept)
        self._values.clear()
        return kept

    def restore(self, kept: Path) -> None:
        """Take back what set_aside() put away."""
        kept.replace(self.path)
        self.__init__(self.path)  # type: ignore[misc]

    def save(self) -> None:
        """Write the file; after a crash it is the old one or the new one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, dict(sorted(self._values.items())))
