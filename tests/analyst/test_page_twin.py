"""Page and proxy are written in two languages: every message has the same name, fields and types in both."""

from __future__ import annotations

import re
import types
import typing
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import pytest

from cloister.analyst import page

TWIN = Path(__file__).parents[2] / "extension" / "src" / "protocol.ts"
FIELD = re.compile(r"^\s*(?:readonly\s+)?(\w+)(\??):\s*(.+);$")
ALIASES = {"str": "string", "int": "number", "bool": "boolean", "NoneType": "null"}
Fields = dict[str, tuple[bool, str]]


def in_typescript(text: str) -> dict[str, Fields]:
    """Return the interfaces of the twin: by name, each field with whether it may be missing and its type."""
    found: dict[str, Fields] = {}
    current: Fields | None = None
    for line in re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).splitlines():
        opening = re.match(r"^export interface (\w+) \{$", line)
        if opening:
            current = found.setdefault(opening[1], {})
        elif line.strip() == "}":
            current = None
        elif current is not None and line.strip():
            field = FIELD.match(line)
            assert field, f"not a plain field on a line of its own: {line!r}"
            current[field[1]] = (bool(field[2]), union(field[3].split("|")))
    return found


def union(parts: typing.Iterable[str]) -> str:
    """Return a union in one order; brackets around the parts of an array are its own."""
    text = "|".join(part.strip() for part in parts)
    array = re.fullmatch(r"\(([^()]*)\)\[\]", text)
    if array:
        return f"({union(array[1].split('|'))})[]"
    return "|".join(sorted(text.split("|")))


def in_python() -> dict[str, Fields]:
    """Return the TypedDicts of ``page.py`` in the words of TypeScript."""
    found = {}
    for name, kind in vars(page).items():
        if typing.is_typeddict(kind) and kind.__module__ == page.__name__:
            hints = get_type_hints(kind)
            found[name] = {field: (field in kind.__optional_keys__, spelt(hints[field])) for field in hints}
    return found


def spelt(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return union(f"'{value}'" for value in get_args(kind))
    if get_origin(kind) in (types.UnionType, typing.Union):
        return union(map(spelt, get_args(kind)))
    if get_origin(kind) is list:
        (item,) = map(spelt, get_args(kind))
        return f"({item})[]" if "|" in item else f"{item}[]"
    if get_origin(kind) is dict:
        return "Record<string, unknown>"
    return ALIASES.get(kind.__name__, kind.__name__)


def test_the_two_sides_say_the_same() -> None:
    theirs, ours = in_typescript(TWIN.read_text(encoding="utf-8")), in_python()
    assert set(theirs) == set(ours)
    for name, fields in ours.items():
        assert theirs[name] == fields, name


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("readonly kernel_started: boolean;", "readonly kernel_started: string;"),
        ("readonly kernel_started: boolean;", "readonly kernel_started?: boolean;"),
        ("readonly kernel_started: boolean;", ""),
        ("readonly kernel_started: boolean;", "readonly kernelStarted: boolean;"),
        ("'green' | 'amber' | 'red' | 'grey'", "'green' | 'amber' | 'red'"),
        ("readonly cells: string[];", "readonly cells: string;"),
        ("export interface VerifyAsk {", "export interface VerifyRequest {"),
    ],
)
def test_a_change_of_one_side_is_noticed(before: str, after: str) -> None:
    text = TWIN.read_text(encoding="utf-8")
    assert before in text
    assert in_typescript(text.replace(before, after)) != in_python()


def test_the_comm_target_is_the_same() -> None:
    assert f"'{page.TARGET}'" in TWIN.read_text(encoding="utf-8")


def test_notebooks_are_read_as_bytes_and_otherwise_as_their_message_says() -> None:
    names = {field.name for field in msgspec.structs.fields(page.NotebookAsk)}
    assert names == set(page.VerifyAsk.__annotations__) == set(page.BundleAsk.__annotations__)
