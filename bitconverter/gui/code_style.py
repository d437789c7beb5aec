"""The colours of code on a light ground: Pygments' "friendly", with what is too pale there made darker."""

from typing import ClassVar

from pygments.styles.friendly import FriendlyStyle

DARKER = {  # the same hue with a contrast of 4.5 to the ground of code (gui/tokens.py)
    "60a0b0": "436f7b", "0e84b5": "0b7099", "bb60d5": "934ba8", "60add5": "3d6e88", "d55537": "b2472e",
    "4070a0": "3e6c9b", "70a0d0": "4c6c8d", "517918": "4d7417", "c65d09": "aa4f07", "40a070": "2f7652",
    "00a000": "007b00", "ff0000": "d30000", "888": "686868",
}  # fmt: skip


def _darker(words: str) -> str:
    """A style's words ("bold #40a070") with the darker colour."""
    return " ".join(
        f"#{DARKER.get(word[1:].lower(), word[1:])}" if word[0] == "#" else word for word in words.split()
    )


class LightCode(FriendlyStyle):
    """What is bold or italic there is so here."""

    styles: ClassVar = {token: _darker(words) for token, words in FriendlyStyle.styles.items()}
