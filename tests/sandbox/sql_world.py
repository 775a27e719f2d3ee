"""The clinic in two engines: the vault's own with the noise off, and DuckDB on the same rows."""

from __future__ import annotations

from typing import Any

import duckdb
import msgspec
import numpy as np
import pandas as pd
import sandbox_world as world

from cloister.contract.card import Card, Column
from cloister.contract.terms import TableTerms
from cloister.sandbox.session import Session
from cloister.vault.engine import Engine

LABS = Card(
    name="clinic.labs",
    title="Laboratory values",
    description="Invented.",
    unit="patient",
    key=("patient_id",),
    normaliser="exact",
    population="clinic.patients",
    rows_per_unit=2,
    row_limit=8_192,
    grade="demonstration",
    columns=(
        Column("patient_id", "string", 2, "Patient", personal=True),
        Column("level", "int", 2, "A level", low="0", high="100", step="1"),
        Column("age", "int", 2, "Age when it was taken", low="0", high="110", step="1"),
    ),
    source="mock",
    retention="none",
    purposes=("teaching",),
)
LABS_TOO = (world.VISITS, LABS)


class Clinic(world.Vault):
    """Two tables of the same patients; the noise is off."""

    def __init__(self) -> None:
        super().__init__(noise=False, epsilon="1000")
        cards = {card.name: card for card in LABS_TOO}
        tables = {name: TableTerms(name, "clinic", "broker", world.DIGEST, world.DIGEST) for name in cards}
        contract = msgspec.structs.replace(self.terms.contract, tables=tuple(tables.values()))
        self.terms = msgspec.structs.replace(self.terms, cards=cards, tables=tables, contract=contract)
        self._engine = Engine(1)
        for card in LABS_TOO:
            self._engine.load(card.name, card, world.table(card), bytes(32))


def joined_world() -> tuple[Session, Clinic]:
    """Return a session over two tables of the same patients, and its vault."""
    vault = Clinic()
    return Session(vault), vault


def duck(query: str, *cards: Card) -> pd.DataFrame:
    """Return what DuckDB answers; tables are called as in the contract, by full or short name."""
    engine = duckdb.connect()
    for card in cards or world.CARDS.values():
        schema, name = card.name.split(".")
        held = world.table(card)
        engine.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        engine.register(f"held_{name}", held)
        engine.execute(f"CREATE TABLE {schema}.{name} AS SELECT * FROM held_{name}")
        engine.execute(f"CREATE VIEW {name} AS SELECT * FROM {schema}.{name}")
    return engine.execute(query).df()


def compare(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    """Compare a released table with a result of DuckDB: same columns, same groups, same order of groups."""
    keys = [name for name in ours.index.names if name is not None]
    table = ours.reset_index() if keys else ours
    shown = [name for name in theirs.columns if name in table.columns]
    assert set(ours.columns) <= set(theirs.columns), (list(ours.columns), list(theirs.columns))
    if keys:
        # Groups nobody is in are public here, and absent there.
        there = {tuple(map(_plain, row)) for row in theirs[keys].itertuples(index=False)}
        present = [tuple(map(_plain, row)) in there for row in table[keys].itertuples(index=False)]
        empty = table.loc[[not one for one in present], list(ours.columns)]
        assert ((empty == 0) | empty.isna()).to_numpy().all(), empty
        table = table.loc[present].reset_index(drop=True)
    assert len(table) == len(theirs)
    for name in shown:
        mine, other = (list(map(_plain, frame[name])) for frame in (table, theirs))
        for x, y in zip(mine, other, strict=True):
            same = (
                x == y if isinstance(y, str) else np.isclose(float(x), float(y), rtol=1e-9, atol=1e-9, equal_nan=True)
            )
            assert same, (name, mine, other)


def _plain(value: Any) -> Any:
    if isinstance(value, pd.Timestamp):
        return str(value.date())
    if isinstance(value, bool | np.bool_):
        return float(value)
    return np.nan if value is None or value is pd.NA else value
