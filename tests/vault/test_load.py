"""Canonical load: the data card's promises as facts of storage."""

from __future__ import annotations

import datetime
import decimal
import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from load_reference import check_load, stored
from order_checks import check_order
from vault_fuzzing import make_card, make_rows, to_arrow

from cloister.contract.card import Card, Column
from cloister.errors import MalformedError
from cloister.plan.components import LAST_BIT, clipped_bit
from cloister.vault import stage
from cloister.vault.load import Store


def card(*columns: Column, **changes) -> Card:
    settings = {"key": ("id",), "normaliser": "exact", "rows_per_unit": 100, **changes}
    return Card(
        "t", "T", "", "person", settings["key"], settings["normaliser"], "people", settings["rows_per_unit"], 1000,
        "demonstration", (Column("id", "string", 3, "key"), *columns), "s", "r", ("testing",),
    )  # fmt: skip


def values(public: Card, **data) -> list:
    store = Store()
    store.add("t", public, [pa.table(data)], b"k")
    found = store.cursor().execute(f"SELECT * EXCLUDE (unit, flags, row) FROM {store.tables['t']}").fetchall()
    return sorted((row[0] if len(row) == 1 else row for row in found), key=repr)


def test_storage_equals_a_plain_python_reference():
    check_load(range(30))


def test_rows_are_ordered_and_capped_by_everything_that_tells_them_apart():
    check_order(range(200))


def test_no_two_columns_share_a_flag():
    """A shared bit would tell of a column that the plan does not use: beyond the last bit there is none."""
    wide = card(*(Column(f"x{place}", "int", 1, "", low="0", high="9", step="1") for place in range(1, 70)))
    bits = [bit for item in wide.columns if (bit := clipped_bit(wide, item.name)) is not None]
    assert len(set(bits)) == len(bits) == LAST_BIT
    for far, flagged in ((LAST_BIT - 1, 1 << LAST_BIT), (LAST_BIT, 0), (69, 0)):
        content = {f"x{place}": [99 if place == far else 5] for place in range(1, 70)}
        store = Store()
        store.add("t", wide, [pa.table({"id": ["a"], **content})], b"k")
        assert store.cursor().execute(f"SELECT flags FROM {store.tables['t']}").fetchone() == (flagged,)


def test_rows_are_staged_the_same_in_blocks_of_any_size(monkeypatch):
    rng = random.Random(4)
    public = make_card(rng)
    rows = make_rows(public, rng, 80)
    found = []
    for block in (1, 7, 1000):
        monkeypatch.setattr(stage, "_BLOCK", block)
        store = Store(3)
        store.add("t", public, to_arrow(public, rows, rng), b"k")
        found.append(store.cursor().execute(f"SELECT * FROM {store.tables['t']}").fetchall())
    assert found[0] == found[1] == found[2]


def test_parts_of_different_types_are_refused():
    public = card(Column("v", "int", 1, "", nullable=True, low="0", high="9", step="1"))
    parts = [pa.table({"id": ["a"], "v": pa.array([1], kind)}) for kind in (pa.int32(), pa.int64())]
    with pytest.raises(MalformedError) as refused:
        Store().add("t", public, parts, b"k")
    assert refused.value.code == "capsule.schema"


def test_number_types_of_a_capsule_all_reach_the_same_grid():
    public = card(Column("v", "decimal", 1, "", nullable=True, low="-1", high="1", step="0.5"))
    for kind in (pa.float32(), pa.float64(), pa.decimal128(10, 2)):
        raw = [
            decimal.Decimal(text) if pa.types.is_decimal(kind) else float(text) for text in ("-9", "-0.5", "0.3", "7")
        ]
        assert values(public, id=list("abcd"), v=pa.array(raw, kind)) == [-1, -2, 1, 2]
    for kind in (pa.int8(), pa.int64(), pa.uint64()):
        assert values(public, id=list("ab"), v=pa.array([0, 1], kind)) == [0, 2]


def test_unsigned_and_extreme_integers_are_clipped_not_wrapped():
    public = card(Column("v", "int", 1, "", low="-5", high="5", step="1"))
    assert values(public, id=list("ab"), v=pa.array([2**64 - 1, 0], pa.uint64())) == [0, 5]
    assert values(public, id=list("ab"), v=pa.array([2**63 - 1, -(2**63)], pa.int64())) == [-5, 5]


def test_nan_and_infinities_are_null_and_undeclared_nulls_drop_the_row():
    raw = pa.array([float("nan"), float("inf"), float("-inf"), 1.0, None])
    nullable = card(Column("v", "decimal", 1, "", nullable=True, low="0", high="2", step="1"))
    strict = card(Column("v", "decimal", 1, "", low="0", high="2", step="1"))
    assert Counter(values(nullable, id=list("abcde"), v=raw)) == Counter([None, None, None, None, 1])
    assert values(strict, id=list("abcde"), v=raw) == [1]


def test_timestamps_become_days_and_are_clipped():
    public = card(Column("d", "date", 1, "", low="2024-01-01", high="2024-01-31"))
    moments = [datetime.datetime(1950, 1, 1, 23), datetime.datetime(2024, 1, 2, 23, 59), datetime.datetime(2030, 1, 1)]
    first = (datetime.date(2024, 1, 1) - datetime.date(1970, 1, 1)).days
    for kind in (pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("ns"), pa.date64()):
        assert values(public, id=list("abc"), d=pa.array(moments, kind)) == [first, first + 1, first + 30]


def test_categories_are_cut_coded_and_closed():
    public = card(Column("c", "string", 1, "", domain=("a" * 256, "b"), nullable=True))
    text = pa.array(["a" * 300, "b", "B", None]).dictionary_encode()
    assert Counter(values(public, id=list("wxyz"), c=text)) == Counter([0, 1, 2, None])


def test_text_that_is_not_unicode_is_other():
    public = card(Column("c", "string", 1, "", domain=("b",)))
    broken = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff\xfe"], pa.binary()).buffers())
    assert values(public, id=["x"], c=broken) == [1]


@pytest.mark.parametrize(("normaliser", "units"), [("exact", 4), ("ascii-lower-strip", 2)])
def test_unit_keys_are_normalised_as_declared_and_null_keys_dropped(normaliser, units):
    public = card(Column("b", "bool", 1, ""), normaliser=normaliser)
    store = Store()
    raw = pa.table({"id": ["Ann", " ann\t", "ANN", "bob", None], "b": [True] * 5})
    store.add("t", public, [raw], b"k")
    assert len(stored(store, "t")) == units
    assert sum(unit.total() for unit in stored(store, "t")) == 4


def test_composite_keys_do_not_run_together():
    public = card(Column("k", "string", 1, ""), Column("b", "bool", 1, ""), key=("id", "k"))
    store = Store()
    store.add("t", public, [pa.table({"id": ["a", "ab", "a"], "k": ["bc", "c", None], "b": [True] * 3})], b"k")
    assert len(stored(store, "t")) == 2


def test_the_kept_rows_depend_on_the_secret_and_not_on_values_alone():
    public = card(Column("v", "int", 1, "", low="0", high="9", step="1"), rows_per_unit=1)
    kept = []
    for secret in (b"1", b"2"):
        store = Store()
        ids = np.repeat(np.arange(200), 10).astype(str)
        store.add("t", public, [pa.table({"id": ids, "v": np.tile(np.arange(10), 200)})], secret)
        rows = store.cursor().execute(f"SELECT c1 FROM {store.tables['t']} ORDER BY unit").fetchall()
        kept.append([row[0] for row in rows])
        share = Counter(kept[-1])
        assert max(share.values()) < 50, "the cap prefers some values over others"
    assert kept[0] != kept[1]


def test_a_capsule_that_does_not_fit_its_card_is_refused_by_schema_only():
    public = card(Column("v", "int", 1, "", low="0", high="9", step="1"))
    for table in (
        pa.table({"id": ["a"]}),
        pa.table({"id": ["a"], "v": ["text"]}),
        pa.table({"id": [b"a"], "v": [[1]]}),
    ):
        with pytest.raises(MalformedError) as refused:
            Store().add("t", public, [table], b"k")
        assert refused.value.code == "capsule.schema"
        assert "text" not in str(refused.value).replace("free text", "")
    store = Store()
    store.add("t", public, [], b"k")
    with pytest.raises(MalformedError):
        store.add("t", public, [], b"k")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "COPY (SELECT 1) TO '/tmp/cloister-out'",
        "ATTACH '/tmp/cloister.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET temp_directory = '/tmp'",
        "SET threads = 8",
        "PRAGMA enable_profiling = 'json'",
        "EXPORT DATABASE '/tmp/cloister-out'",
        "SELECT * FROM outside",
        "SELECT getenv('HOME')",
    ],
)
def test_the_engine_reaches_nothing_outside(statement):
    import duckdb

    outside = pa.table({"x": [1]})
    assert outside.num_rows == 1
    store = Store()
    with pytest.raises(duckdb.Error):
        store.cursor().execute(statement).fetchall()


def test_a_large_table_loads_the_same_from_any_order():
    rng = random.Random(5)
    public = make_card(rng)
    rows = [
        {item.name: f"u{index % 999}" if item.name == "id" else None for item in public.columns}
        for index in range(3000)
    ]
    for row in rows:
        row.update(x=rng.randrange(5), y=rng.random(), z=1.5, w=rng.randrange(9999), b=True)
    store = Store(4)
    store.add("one", public, to_arrow(public, rows, rng), b"k")
    store.add("two", public, to_arrow(public, rows, rng), b"k")
    query = "SELECT * FROM {} ORDER BY ALL"
    one, two = (store.cursor().execute(query.format(store.tables[name])).fetchall() for name in ("one", "two"))
    assert one == two


def test_rows_that_differ_in_free_text_alone_have_hashes_of_their_own():
    """Which rows are kept is decided by the hash, so text must be in it; the same text gives the same hash."""
    public = card(Column("note", "string", 2, "free text"))
    rows = [{"id": f"u{index % 50}", "note": f"text {index // 50}"} for index in range(200)]
    store = Store()
    for name, seed in (("one", 2), ("two", 3)):
        store.add(name, public, to_arrow(public, rows, random.Random(seed)), b"k")
    hashes = [sorted(store.cursor().execute(f'SELECT "row" FROM {store.tables[name]}').fetchall())
              for name in ("one", "two")]  # fmt: skip
    assert len(set(hashes[0])) == 200
    assert hashes[0] == hashes[1]
