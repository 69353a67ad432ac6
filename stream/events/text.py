"""Text from outside as it can be shown: names and details on a terminal, in the log, in HTML and in topics (pure).

Names are any text that people use, in any script. Control characters (with them a terminal's escape sequences), marks
that change the direction of text, invisible characters and lone surrogates are none: they could forge what a reader
sees. New names with them are refused; where one is stored or received already, it is shown with escapes.
"""

from __future__ import annotations

import unicodedata

MAX_NAME_CHARACTERS = 64

_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Control characters, format characters, surrogates, separators of lines and of paragraphs."""

_JOINERS = "\u200c\u200d"
"""Format characters that scripts and emoji need; they change nothing but the shape of letters."""


def printable(text: str, *, keep: str = "") -> str:
    r"""Return the text with hidden characters as escapes (`\x1b`, `\u202e`), except those in `keep`."""
    if text.isprintable():
        return text
    return "".join(
        character if character in keep or not _is_hidden(character) else character.encode("unicode_escape").decode()
        for character in text
    )


def checked_name(name: str) -> str:
    """Return a name in composed form (NFC), without surrounding spaces. Raises `ValueError` with the reason."""
    name = unicodedata.normalize("NFC", name).strip()
    if not 0 < len(name) <= MAX_NAME_CHARACTERS or any(map(_is_hidden, name)):
        raise ValueError(
            f"invalid name {name!r}; use 1 to {MAX_NAME_CHARACTERS} letters, no control or invisible characters"
        )
    return name


def identifier(text: str) -> str:
    """Return a text as the name of a stream: letters, digits and `-_.`, in composed form (NFC)."""
    composed = unicodedata.normalize("NFC", text)
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in composed)


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in _HIDDEN_CATEGORIES and character not in _JOINERS
