"""Padding: sizes tell nothing from tier 3 on, and no plan ever counts a row that only fills up the size class."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from vault_fuzzing import SECRET, TABLE, Planner, make_card, make_rows, to_arrow
from vault_world import all_keys, every

from cloister.contract.card import Card, Column
from cloister.contract.terms import TableTerms
from cloister.plan import algebra as a
from cloister.provider import seal as sealing
from cloister.vault.analyse import analyse
from cloister.vault.capsules import open_capsule
from cloister.vault.engine import Engine
from cloister.wire.identity import SigningKey

KEY = SigningKey.generate()


def opened(card: Card, data: pa.Table, folder: Path) -> tuple[sealing.Sealed, pa.Table]:
    """Seal a table and open it again as a vault does, padding included."""
    sealed = sealing.seal(card, data, folder, KEY)
    terms = TableTerms(card.name, "p", "b", sealed.card_digest, sealed.manifest_digest)
    table = open_capsule(sealed.directory, terms, KEY.did, card, all_keys(sealed, card.name), columns=every(card))
    return sealed, table


def sealable(rng: random.Random) -> Card:
    """Return a random card that lints: free text and a grid off zero are left out."""
    card = make_card(rng)
    return msgspec.structs.replace(
        card,
        name=TABLE,
        columns=tuple(column for column in card.columns if column.name not in {"note", "z"}),
        row_limit=64,
    )


def test_sizes_are_those_of_the_class_whatever_is_in_the_table(tmp_path: Path) -> None:
    """From tier 3, as in every tier: two tables of one size class are as long as each other, part by part."""
    rng = random.Random(3)
    card = sealable(rng)
    card = msgspec.structs.replace(
        card, columns=tuple(msgspec.structs.replace(column, tier=3 + at % 3) for at, column in enumerate(card.columns))
    )
    sizes: list[list[tuple[str, int]]] = []
    for number, rows in enumerate((0, 1, 33, 64)):
        data = pa.concat_tables(to_arrow(card, make_rows(card, rng, rows), rng)) if rows else None
        data = data if data is not None else pa.table({one.name: pa.nulls(0, pa.string()) for one in card.columns})
        sealed, _ = opened(card, _readable(card, data), tmp_path / str(number))
        sizes.append(sorted((path.name, path.stat().st_size) for path in sealed.directory.glob("*.parquet")))
    assert len(sizes[0]) == 4  # the key, and tiers 3 to 5
    assert sizes[0] == sizes[1] == sizes[2] == sizes[3]


@pytest.mark.parametrize("seed", range(3))
def test_no_plan_counts_a_row_of_padding(tmp_path: Path, seed: int) -> None:
    """The same rows without padding, in a class of 64 and in one of 1,024: every plan computes the same integers."""
    rng = random.Random(seed)
    card = sealable(rng)
    data = _readable(card, pa.concat_tables(to_arrow(card, make_rows(card, rng, 40), rng)))
    wide = msgspec.structs.replace(card, row_limit=1024)
    _, few = opened(card, data, tmp_path / "few")
    _, many = opened(wide, data, tmp_path / "many")
    bare = few.filter(pa.compute.is_valid(few["id"]))
    assert (few.num_rows, many.num_rows) == (64, 1024)
    engines = []
    for public, table in ((card, bare), (card, few), (wide, many)):
        engine = Engine(1)
        engine.load(TABLE, public, table, SECRET)
        engines.append((engine, public))
    planner = Planner(card, rng)
    for _ in range(15):
        plan, _ = planner.plan()
        found = [engine.run(analyse(plan, {TABLE: public})).values for engine, public in engines]
        assert found[0] == found[1] == found[2], plan
    for plan in _counting(card):
        found = [engine.run(analyse(plan, {TABLE: public})) for engine, public in engines]
        assert found[0] == found[1] == found[2], plan
        assert sum(found[0].values) <= 40 * len(found[0].values)
    for engine, _ in engines:
        engine.close()


def test_a_reference_table_has_no_row_of_padding_to_look_up(tmp_path: Path) -> None:
    card = Card(
        "codes", "Codes", "d", "none", ("code",), "exact", "p", 1, 64, "demonstration",
        (Column("code", "string", 1, "c", domain=("a", "b")),
         Column("weight", "int", 1, "w", low="0", high="9", step="1")),
        "s", "r", ("testing",),
    )  # fmt: skip
    _, table = opened(card, pa.table({"code": ["a", "b"], "weight": [1, 2]}), tmp_path / "codes")
    engine = Engine(1)
    engine.load("codes", card, table, SECRET)
    assert table.num_rows == 64
    assert engine.rows(lambda names: (f"SELECT count(*) FROM {names['codes']}", {})) == [(2,)]
    engine.close()


def _counting(card: Card) -> list[a.Plan]:
    """Return plans that count rows, units, nulls and keys: what a row of padding would show in first."""
    table = a.Table(TABLE)
    plans: list[a.Plan] = [
        a.VectorSum(table, (a.Count("n"), a.Units("units")), "1/100"),
        a.VectorSum(table, (a.Count("n"),), "1/100", ("c",)),
        a.ThresholdKeys(table, ("e",), 1, "1/10", "1/10000000"),
    ]
    for column in card.columns:
        if column.nullable and column.name != "id":
            missing = a.Filter(table, a.IsNull(a.Col(column.name)))
            plans.append(a.VectorSum(missing, (a.Count("n"),), "1/100"))
    return plans


def _readable(card: Card, data: pa.Table) -> pa.Table:
    """Return the rows in the columns of the card (the fuzz also makes others)."""
    return data.select([column.name for column in card.columns])
