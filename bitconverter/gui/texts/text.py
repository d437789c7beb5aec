"""What a message is, and the list of all of them."""

# (English, Japanese), or with a plural (English for one, English for any other number, Japanese): the field
# `count` chooses. Japanese nouns have no plural.
Text = tuple[str, str] | tuple[str, str, str]
Texts = dict[str, Text]

LANGUAGES = ("en", "ja")


def join(*parts: Texts) -> Texts:
    """All messages in one table; a key belongs to one file."""
    result: Texts = {}
    for part in parts:
        twice = result.keys() & part.keys()
        if twice:
            raise ValueError(f"said in two files: {', '.join(sorted(twice))}")
        result.update(part)
    return result


def chosen(text: Text, language: str, count: object) -> str:
    """The sentence of `text` in `language` for a number of things."""
    if language == "ja":
        return text[-1]
    return text[0] if len(text) == 2 or count == 1 else text[1]
