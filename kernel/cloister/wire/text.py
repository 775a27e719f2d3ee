"""Characters that act on a display instead of being seen, in texts that other people wrote.

An escape sequence in a title could rewrite what a person is about to agree to; a line end could add a line to it; a
mark of writing direction could turn it around. Joiners, which some scripts need, are no such characters.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Any

import msgspec

_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
# Embeddings, overrides and isolates of writing direction.
_DIRECTIONS = frozenset({*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))})


def is_control(character: str) -> bool:
    """Say whether a character is a command to a display rather than something to see."""
    return character in _DIRECTIONS or unicodedata.category(character) in _CATEGORIES


def has_control(text: str) -> bool:
    """Say whether a text holds such a character; line ends and tabs are some."""
    return not (text.isascii() and text.isprintable()) and any(map(is_control, text))


def spelt_out(text: str) -> str:
    """Return the text with every command spelt out by its code, but for line ends and tabs."""
    if not has_control(text):
        return text
    return "".join(repr(c)[1:-1] if c not in "\n\t" and is_control(c) else c for c in text)


def fields_with_control(document: msgspec.Struct) -> Iterator[str]:
    """Yield the names of the document's fields (of the first level) in which some text holds such a character."""
    for name, value in msgspec.to_builtins(document).items():
        if any(map(has_control, _texts(value))):
            yield name


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from (*_texts(key), *_texts(item))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
