r"""Paths that Windows opens whatever their length.

Without a switch in the registry, 260 characters are the most that Windows lets a program open (248 for a folder),
unless \\?\ stands before the path, which then has to be absolute and written with backslashes:
https://learn.microsoft.com/windows/win32/fileio/maximum-file-path-limitation. What is joined to such a path keeps it.
"""

import ntpath
import os
import sys

OPENS_WITH_ITS_FILES = 150  # characters that leave room for what we make beside it or below it
_PREFIX, _SHARE = "\\\\?\\", "\\\\?\\UNC\\"


def reachable(path: str, windows: bool = sys.platform == "win32") -> str:
    """`path` as it is if it is short or not of Windows; else the same place in a form of any length."""
    if not windows or len(path) < OPENS_WITH_ITS_FILES or path.startswith(_PREFIX):
        return path
    whole = ntpath.normpath(path if ntpath.isabs(path) else ntpath.join(os.getcwd(), path))
    return _SHARE + whole[2:] if whole.startswith("\\\\") else _PREFIX + whole


def plain(path: str) -> str:
    """`path` without what reachable() puts before it."""
    if path.startswith(_SHARE):
        return "\\\\" + path.removeprefix(_SHARE)
    return path.removeprefix(_PREFIX)
