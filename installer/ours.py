"""What on a desktop that is in use can be of this program: everything else there is other programs' business."""

import re
from pathlib import PurePath

# A type of ours, our folder, our keys; Qt's file dialog notes under QtProject what is opened with it.
_WORDS = re.compile(r"bitconverter|qtproject|\.(soul|u32)\b", re.IGNORECASE)
# Scratch folders of ours, what PyInstaller unpacks, what an NSIS installer and its uninstaller make
_TEMPORARY = re.compile(r"bitconverter|_mei\d+|~?ns[a-z0-9]{1,6}\.tmp|~nsu", re.IGNORECASE)


def can_be(text: str | PurePath) -> bool:
    """A path, or a line of the registry with its key."""
    return _WORDS.search(text.as_posix() if isinstance(text, PurePath) else text) is not None


def can_be_temporary(path: PurePath) -> bool:
    """A path from the folder for temporary files: by the names of kinds that we, PyInstaller and NSIS make."""
    return _TEMPORARY.match(path.parts[0]) is not None
