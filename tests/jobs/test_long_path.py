"""What comes before a long path on Windows. That it opens one there, the self-test shows."""

import os

import pytest

from bitconverter.jobs.long_path import OPENS_WITH_ITS_FILES, plain, reachable

LONG = "\\".join(["長い名前 " * 8] * 6)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"C:\\{LONG}\\m.gguf", f"\\\\?\\C:\\{LONG}\\m.gguf"),
        (f"C:/{LONG}/./x/../m.gguf", f"\\\\?\\C:\\{LONG}\\m.gguf"),
        (f"\\\\server\\share\\{LONG}", f"\\\\?\\UNC\\server\\share\\{LONG}"),
        (f"\\\\?\\C:\\{LONG}", f"\\\\?\\C:\\{LONG}"),
        ("C:\\short", "C:\\short"),
        ("", ""),
    ],
)
def test_a_long_path_of_windows_gets_what_opens_it(path: str, expected: str) -> None:
    found = reachable(path, windows=True)
    assert (
        found == expected
        and reachable(plain(found), windows=True) == found
        and not plain(found).startswith("\\\\?")
    )


def test_a_relative_one_is_made_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getcwd", lambda: "D:\\モデル")
    assert reachable(LONG, windows=True) == f"\\\\?\\D:\\モデル\\{LONG}"


def test_elsewhere_nothing_changes() -> None:
    path = "/" + "long/" * OPENS_WITH_ITS_FILES
    assert reachable(path, windows=False) == path
