"""k-anonymity, l-diversity and t-closeness of a table, counted in units.

A class is the units that agree in every quasi-identifier; null is a value like any other there. A unit with rows in
several classes counts in each. Rows without a unit key belong to nobody (the vault drops them) and do not count.

l: the least number of distinct values (null is none) of a sensitive column in a class (distinct l-diversity).
t: the largest distance between the column's distribution over the rows of a class and of the table: for numbers and
dates the ordered earth mover's distance of Li et al. (2007) over at most 64 ranks, otherwise the total variation.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pyarrow as pa

from cloister.contract.card import Card
from cloister.provider.engine import Rows

MOST_RANKS = 64
_SPACE = "' ' || chr(9) || chr(10) || chr(11) || chr(12) || chr(13)"


class Classes(msgspec.Struct, frozen=True):
    """What the classes of a table are like. It describes the data: for the provider's eyes only.

    ``smallest`` is the k that holds (0: no class). ``below``: units in classes of fewer than the k asked for.
    ``unique``: units alone in their class. ``sizes``: number of classes by size (1, 2, 3-4, 5-9, 10-19, 20+).
    """

    units: int
    rows: int
    classes: int
    smallest: int
    below: int
    unique: int
    sizes: dict[str, int]
    diversity: dict[str, int]
    closeness: dict[str, float]

    @property
    def share_below(self) -> float:
        """The share of units in classes that are too small."""
        return self.below / self.units if self.units else 0.0


_SIZES = (("1", 1, 1), ("2", 2, 2), ("3-4", 3, 4), ("5-9", 5, 9), ("10-19", 10, 19), ("20+", 20, 1 << 62))


def classes(table: pa.Table, card: Card, quasi: Sequence[str], sensitive: Sequence[str], k: int) -> Classes:
    """Return what the classes of a table are like."""
    with Rows(table) as rows:
        grouped = _grouped(rows, card, quasi)
        with_unit = f"WITH g AS ({grouped}) "
        sizes = f"{with_unit}, s AS (SELECT c, count(DISTINCT u) AS n FROM g GROUP BY c) "
        number, smallest = rows.one(f"{sizes} SELECT count(*), coalesce(min(n), 0) FROM s")
        units, counted = rows.one(f"{with_unit} SELECT count(DISTINCT u), count(*) FROM g")
        below, unique = rows.one(
            f"{sizes} SELECT count(DISTINCT u) FILTER (n < ?), count(DISTINCT u) FILTER (n = 1) "
            "FROM g JOIN s USING (c)",
            [k],
        )
        found = rows.all(f"{sizes} SELECT n, count(*) FROM s GROUP BY n")
        return Classes(
            units, counted, number, smallest, below, unique,
            {name: sum(many for n, many in found if low <= n <= high) for name, low, high in _SIZES},
            {name: _diversity(rows, with_unit, name) for name in sensitive},
            {name: _closeness(rows, with_unit, name) for name in sensitive},
        )  # fmt: skip


def failing(
    table: pa.Table, card: Card, quasi: Sequence[str], sensitive: Sequence[str], *, units: int, values: int
) -> pa.Array:
    """Return for every row whether it is in a class of fewer than ``units`` units (k) or ``values`` values (l)."""
    with Rows(table) as rows:
        diverse = "".join(f" OR count(DISTINCT {rows.text(name)}) < {values:d}" for name in sensitive)
        bad = f"SELECT c FROM g JOIN t USING (i) GROUP BY c HAVING count(DISTINCT u) < {units:d}{diverse}"
        sql = f"i IN (WITH g AS ({_grouped(rows, card, quasi)}) SELECT i FROM g WHERE c IN ({bad}))"
        return rows.column(sql)


def _grouped(rows: Rows, card: Card, quasi: Sequence[str]) -> str:
    """SQL of (row, class, unit) for the rows that have a unit."""
    group = ", ".join(rows.text(name) for name in quasi)
    numbered = f"dense_rank() OVER (ORDER BY {group})"
    if card.unit == "none" or not card.key:
        return f"SELECT i, {numbered} AS c, i AS u FROM t"
    keys = [_key(rows, name, card.normaliser) for name in card.key]
    whole = " AND ".join(f"trim({key}, {_SPACE}) <> ''" for key in keys)
    unit = f"row({', '.join(keys)})"
    return f"SELECT i, {numbered} AS c, {unit} AS u FROM t WHERE {whole}"


def _key(rows: Rows, name: str, normaliser: str) -> str:
    text = rows.text(name)
    if normaliser != "ascii-lower-strip":
        return text
    upper, lower = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
    return f"translate(trim({text}, {_SPACE}), '{upper}', '{lower}')"


def _diversity(rows: Rows, grouped: str, name: str) -> int:
    sql = f"SELECT count(DISTINCT {rows.text(name)}) AS l FROM g JOIN t USING (i) GROUP BY c"
    return int(rows.one(f"{grouped} SELECT coalesce(min(l), 0) FROM ({sql})")[0])


def _closeness(rows: Rows, grouped: str, name: str) -> float:
    kind = rows.types[name]
    ordered = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_temporal(kind)
    value = rows.ref(name) if ordered else rows.text(name)
    if ordered:
        value = f"ntile({MOST_RANKS}) OVER (ORDER BY v)"
        distinct = f"SELECT DISTINCT {rows.ref(name)} AS v FROM g JOIN t USING (i) WHERE {rows.ref(name)} IS NOT NULL"
        ranks = f"SELECT v, {value} AS r FROM ({distinct})"
        joined = f"SELECT c, r FROM g JOIN t USING (i) JOIN ({ranks}) AS q ON q.v = {rows.ref(name)}"
    else:
        joined = (
            f"SELECT c, dense_rank() OVER (ORDER BY {value}) AS r FROM g JOIN t USING (i) WHERE {value} IS NOT NULL"
        )
    counts = rows.all(f"{grouped} SELECT c, r, count(*) FROM ({joined}) GROUP BY c, r")
    if not counts:
        return 0.0
    ranks_seen = {rank: index for index, rank in enumerate(sorted({row[1] for row in counts}))}
    whole = np.zeros(len(ranks_seen))
    by_class: dict[int, list[tuple[int, int]]] = {}
    for group, rank, many in counts:
        whole[ranks_seen[rank]] += many
        by_class.setdefault(group, []).append((ranks_seen[rank], many))
    whole /= whole.sum()
    return max(_distance(part, whole, ordered=ordered) for part in by_class.values())


def _distance(part: list[tuple[int, int]], whole: np.ndarray, *, ordered: bool) -> float:
    own = np.zeros_like(whole)
    for rank, many in part:
        own[rank] += many
    difference = own / own.sum() - whole
    if not ordered:
        return float(np.abs(difference).sum() / 2)
    return float(np.abs(np.cumsum(difference)).sum() / max(len(whole) - 1, 1))
