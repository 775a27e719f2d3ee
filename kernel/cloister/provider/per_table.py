"""Options that are about one table each: ``FILE`` for a single table, ``TABLE=FILE`` for one of several."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cloister.errors import RefusedError


def files(option: str, texts: Iterable[str], tables: Sequence[str]) -> dict[str, Path]:
    """Return the file of every table that an option names.

    Args:
        option: What the option is called, for messages.
        texts: Its values as they were typed.
        tables: The names of the tables there are.

    Raises:
        RefusedError: ``option.table``: a table that is not there, or named twice, or a file of no table in particular.
    """
    found: dict[str, Path] = {}
    for text in texts:
        name, _, file = text.partition("=")
        if name not in tables or not file:
            if len(tables) > 1:
                raise _refused(option, f"{text!r} is for none of {', '.join(tables)}", tables)
            # A path may hold the sign; of a single table nobody has to say which.
            name, file = tables[0], text
        if name in found:
            raise _refused(option, f"two files are named for {name}", tables)
        found[name] = Path(file)
    return found


def _refused(option: str, reason: str, tables: Sequence[str]) -> RefusedError:
    return RefusedError(
        "option.table", f"{option}: {reason}", clause=option, nearest=tuple(tables),
        next_step=f"name each table once, as in {option} {tables[0]}=FILE",
    )  # fmt: skip
