"""What changed between two contracts: clause by clause, and in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from cloister.contract.terms import Contract


def difference(before: Contract, after: Contract) -> tuple[str, ...]:
    """Return what changed between two contracts, one clause a line (``clause: old -> new``)."""
    return tuple(_differences("", msgspec.to_builtins(before), msgspec.to_builtins(after)))


def changes(before: str, after: str) -> tuple[str, ...]:
    """Return which sentences of a contract's words are gone (``- ``) and which are new (``+ ``), in their order."""
    old, new = before.splitlines(), after.splitlines()
    gone, added = Counter(old) - Counter(new), Counter(new) - Counter(old)
    return (
        *(f"- {line.strip()}" for line in dict.fromkeys(old) if gone[line]),
        *(f"+ {line.strip()}" for line in dict.fromkeys(new) if added[line]),
    )


def _differences(path: str, before: object, after: object) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            yield from _differences(f"{path}.{key}" if path else str(key), before.get(key), after.get(key))
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple):
        for index in range(max(len(before), len(after))):
            pair = [items[index] if index < len(items) else None for items in (before, after)]
            yield from _differences(f"{path}[{index}]", *pair)
    elif before != after:
        yield f"{path}: {_shown(before)} -> {_shown(after)}"


def _shown(value: object) -> str:
    if isinstance(value, tuple | list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return "(none)" if value is None else str(value)
