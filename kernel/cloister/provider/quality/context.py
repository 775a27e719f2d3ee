"""What every measure looks at: the raw rows in DuckDB, the card, what sealing would make of them, and the rules."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import pyarrow as pa

from cloister.contract.card import Card, Column
from cloister.contract.findings import twice
from cloister.errors import MalformedError
from cloister.provider import tables
from cloister.provider.engine import Rows
from cloister.provider.quality.rules import Rules

MOST_EXAMPLES = 5
_SPACE = "' ' || chr(9) || chr(10) || chr(11) || chr(12) || chr(13)"


class Context(NamedTuple):
    """The table as it was read. ``sealing`` counts what the card would change, with the code that seals."""

    rows: Rows
    names: tuple[str, ...]
    card: Card | None
    sealing: tables.Report | None
    rules: Rules
    as_of: datetime.date
    show_examples: bool

    def declared(self) -> Iterator[Column]:
        """The columns of the card that the data have."""
        yield from (column for column in (self.card.columns if self.card else ()) if column.name in self.names)

    def dates(self) -> list[str]:
        """The columns that hold dates: as the card says, or as the file does."""
        if self.card is not None:
            return [column.name for column in self.declared() if column.type == "date"]
        return [name for name in self.names if pa.types.is_temporal(self.rows.types[name])]

    def filled(self, name: str) -> str:
        """SQL: whether a value is there (an empty text is none)."""
        return f"(trim({self.rows.text(name)}, {_SPACE}) <> '') IS TRUE"

    def key(self) -> str | None:
        """SQL of a row's unit as the vault tells units apart, null where a part is missing; None without a key."""
        if self.card is None or not self.card.key or any(name not in self.names for name in self.card.key):
            return None
        parts = []
        for name in self.card.key:
            text = self.rows.text(name)
            if self.card.normaliser == "ascii-lower-strip":
                upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                text = f"translate(trim({text}, {_SPACE}), '{upper}', '{upper.lower()}')"
            parts.append(text)
        whole = " AND ".join(self.filled(name) for name in self.card.key)
        return f"CASE WHEN {whole} THEN row({', '.join(parts)}) END"

    def unit(self) -> str | None:
        """SQL of a row's unit as one text, the same for the same unit in every table; None without a key."""
        key = self.key()
        return None if key is None else f"CAST({key} AS VARCHAR)"

    def spelling(self) -> str:
        """SQL of a row's key as it is written."""
        texts = [self.rows.text(name) for name in (self.card.key if self.card else ())]
        return texts[0] if len(texts) == 1 else f"CAST(row({', '.join(texts)}) AS VARCHAR)"

    def examples(self, sql: str) -> tuple[str, ...]:
        """The first column of a query as a few examples, if examples are to be shown."""
        if not self.show_examples:
            return ()
        found = self.rows.all(f"SELECT DISTINCT CAST(v AS VARCHAR) AS v FROM ({sql}) ORDER BY v LIMIT {MOST_EXAMPLES}")
        return tuple(str(value)[:80] for (value,) in found)


def context(
    table: pa.Table, card: Card | None, rules: Rules, *, as_of: datetime.date, show_examples: bool = False
) -> Context:
    """Return the context of a table.

    Raises:
        MalformedError: ``seal.format``; ``quality.column``: a rule is about a column that is not there.
    """
    if unknown := sorted(rules.names() - set(table.column_names)):
        raise MalformedError(
            "quality.column",
            f"the rules name {unknown[0]!r}, which the data do not have",
            next_step="correct the rules",
        )
    rows = Rows(table)
    return Context(rows, tuple(table.column_names), card, _sealing(card, table), rules, as_of, show_examples)


def _sealing(card: Card | None, table: pa.Table) -> tables.Report | None:
    """What sealing would count, for the columns that are there and whatever the number of rows."""
    if card is None or twice(table.column_names):
        return None
    present = tuple(column for column in card.columns if column.name in table.column_names)
    whole_key = all(name in table.column_names for name in card.key)
    if not present:
        return None
    partial = msgspec.structs.replace(
        card, columns=present, key=card.key if whole_key else (), row_limit=max(card.row_limit, table.num_rows)
    )
    return tables.prepare(partial, table)[1]
