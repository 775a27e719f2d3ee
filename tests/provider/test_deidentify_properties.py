"""What holds of every operator on every input: it is total, and what it makes is what the card says."""

from __future__ import annotations

import datetime

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from cloister.contract.card import OTHER, Card, Column
from cloister.provider import hashed_keys, tables
from cloister.provider.deidentify import recipe as r
from cloister.provider.deidentify.run import Recipe, run

# Of each operator one step and the column it makes; what the card lists is what the step can make.
BANDS = ("<18", "[18,65)", ">=65")
LEVELS = {"icd.csv": {"I21": ("heart",), "S72": ("bone",)}}
STEPS: list[tuple[r.Step, Column]] = [
    (r.Mask(columns=("c",), keep_start=2, keep_end=1), Column("c", "string", 2, "c", domain=("ab****c",))),
    (r.Generalise(columns=("c",), width="10"), Column("c", "int", 2, "c", low="0", high="120", step="1")),
    (r.Generalise(columns=("c",), width="0.3"), Column("c", "decimal", 2, "c", low="0", high="1.2", step="0.1")),
    (r.Generalise(columns=("c",), width="10"), Column("c", "string", 2, "c", domain=("[0,10)", "[10,20)"))),
    (r.Generalise(columns=("c",), width="0.5"), Column("c", "string", 2, "c", domain=("[0,0.5)", "[0.5,1)"))),
    (r.Generalise(columns=("c",), edges=("18", "65")), Column("c", "string", 2, "c", domain=BANDS)),
    (r.Generalise(columns=("c",), date="month"), Column("c", "date", 2, "c", low="1900-01-01", high="2100-12-31")),
    (r.Generalise(columns=("c",), date="quarter"), Column("c", "string", 2, "c", domain=("2024-Q1",))),
    (r.Generalise(columns=("c",), date="year"), Column("c", "int", 2, "c", low="1900", high="2100", step="1")),
    (r.Generalise(columns=("c",), prefix=3), Column("c", "string", 2, "c", domain=("abc",))),
    (r.Generalise(columns=("c",), hierarchy="icd.csv"), Column("c", "string", 2, "c", domain=("heart", "bone"))),
    (r.Round(columns=("c",), to="5"), Column("c", "int", 2, "c", low="0", high="120", step="5")),
    (r.Round(columns=("c",), to="0.25"), Column("c", "decimal", 2, "c", low="0", high="100", step="0.25")),
    (r.TopBottomCode(columns=("c",), low="10", high="90"), Column("c", "int", 2, "c", low="0", high="120", step="1")),
    (r.TopBottomCode(columns=("c",), high="9"), Column("c", "decimal", 2, "c", low="0", high="10", step="0.5")),
    (
        r.TopBottomCode(columns=("c",), low="1930-01-01"),
        Column("c", "date", 2, "c", low="1900-01-01", high="2100-12-31"),
    ),
]
KINDS = {"int": pa.int64(), "decimal": pa.float64(), "date": pa.date32(), "string": pa.string(), "bool": pa.bool_()}

DATES = st.dates(datetime.date(1, 1, 1), datetime.date(9999, 12, 31))
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["", " ", "nan", "-inf", "1e400", "2024-02-30", "2024-02-29T1", "infinity", "'", "I21", "007"]),
    st.integers(-(10**30), 10**30).map(str),
)
ARRAYS = st.one_of(
    st.lists(st.none() | TEXTS, max_size=6).map(lambda values: pa.array(values, pa.string())),
    st.lists(st.none() | TEXTS, max_size=6).map(lambda values: pa.array(values, pa.string()).dictionary_encode()),
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=6).map(lambda values: pa.array(values, pa.int64())),
    st.lists(st.none() | st.floats(), max_size=6).map(lambda values: pa.array(values, pa.float64())),
    st.lists(st.none() | st.booleans(), max_size=6).map(lambda values: pa.array(values, pa.bool_())),
    st.lists(st.none() | DATES, max_size=6).map(lambda values: pa.array(values, pa.date32())),
    st.lists(st.none() | st.datetimes(), max_size=6).map(
        lambda values: pa.array([value and value.replace(tzinfo=None) for value in values], pa.timestamp("us"))
    ),
    st.lists(st.none() | st.binary(max_size=4), max_size=6).map(lambda values: pa.array(values, pa.binary())),
    st.lists(st.none() | st.lists(st.integers(0, 3), max_size=2), max_size=3).map(
        lambda values: pa.array(values, pa.list_(pa.int64()))
    ),
    st.integers(0, 3).map(pa.nulls),
)


def card(column: Column) -> Card:
    return Card(
        name="a.b", title="t", description="d", unit="none", key=(), normaliser="exact", population="a.p",
        rows_per_unit=1, row_limit=64, grade="demonstration", columns=(column,), source="s", retention="r",
        purposes=("p",),
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(range(len(STEPS))), ARRAYS)
def test_operators_are_total_and_make_what_the_card_says(which, values):
    """No error, as many rows, null for null, the card's type, and nothing left for sealing to change."""
    step, column = STEPS[which]
    declared, recipe = card(column), Recipe(r.Recipe(step=(step,), levels=LEVELS))
    done = run(declared, pa.table({"c": values}), recipe).table.column("c")
    assert done.type == KINDS[column.type]
    assert len(done) == len(values)
    assert all(
        made is None for made, given_ in zip(done.to_pylist(), values.to_pylist(), strict=True) if given_ is None
    )
    _, report = tables.prepare(declared, pa.table({"c": done}))
    assert report.columns["c"].unreadable == 0
    if isinstance(step, r.Mask):
        for made, given_ in zip(done.to_pylist(), values.to_pylist(), strict=True):
            assert made is None or "****" in made
            assert made is None or not isinstance(given_, str) or len(given_) > 3 or made == "****"
    if isinstance(step, r.Generalise) and step.hierarchy:
        assert set(done.to_pylist()) <= {None, "heart", "bone", OTHER}
    if isinstance(step, r.Generalise) and step.edges:
        assert set(done.to_pylist()) <= {None, *BANDS}
    if isinstance(step, r.TopBottomCode) and column.type == "int":
        assert all(made is None or 10 <= made <= 90 for made in done.to_pylist())


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.none() | TEXTS, max_size=8), st.binary(min_size=32, max_size=32), st.sampled_from(["exact", "lower"])
)
def test_pseudonyms_are_one_to_one_on_keys_and_follow_the_secret(keys, secret, how):
    normaliser = "exact" if how == "exact" else "ascii-lower-strip"
    column = Column("k", "string", 2, "k", personal=True)
    declared = card(column)
    declared = type(declared)(
        **{name: getattr(declared, name) for name in declared.__struct_fields__}
        | {"unit": "person", "key": ("k",), "normaliser": normaliser}
    )

    def made(of: list, with_secret: bytes) -> list:
        salt = hashed_keys.Salt(with_secret, hashed_keys.salt_id(with_secret))
        recipe = Recipe(r.Recipe(step=(r.Pseudonymise(columns=("k",)),)), salt)
        return run(declared, pa.table({"k": pa.array(of, pa.string())}), recipe).table.column("k").to_pylist()

    one, reverse = made(keys, secret), made(keys[::-1], secret)
    assert one == reverse[::-1]
    for first, key in zip(one, keys, strict=True):
        assert (first is None) == (key is None or not key.strip())
    fold = (lambda key: key) if normaliser == "exact" else (lambda key: key.strip(" \t\r\n\v\f").lower())
    pairs = [(fold(key), name) for key, name in zip(keys, one, strict=True) if name is not None]
    if all(key.isascii() for key, _ in pairs):
        assert len({key for key, _ in pairs}) == len({name for _, name in pairs}) == len(set(pairs))
    other = bytes([secret[0] ^ 1]) + secret[1:]
    assert not {name for name in made(keys, other) if name} & {name for name in one if name}
