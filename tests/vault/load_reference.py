"""What canonical load must do to one value and to one table, written again in plain Python."""

from __future__ import annotations

import datetime
import math
import random
from collections import Counter, defaultdict
from fractions import Fraction

from vault_fuzzing import SECRET, TABLE, make_card, make_rows, to_arrow, unit_of

from cloister.plan.grid import of_column
from cloister.vault import load as load_module


def expected(column, grid, value):
    """The grid integer, None for null, or "drop"."""
    missing = value is None or (isinstance(value, float) and not math.isfinite(value))
    if grid.kind == "text":
        return value[:256] if value is not None else None if grid.nullable else ""
    if missing:
        return None if grid.nullable else ("drop" if grid.kind != "category" else grid.domain.index("(other)"))
    if grid.kind == "bool":
        return int(value)
    if grid.kind == "category":
        cut = value[:256]
        return grid.domain.index(cut) if cut in grid.domain else grid.domain.index("(other)")
    if grid.kind == "date":
        return min(max((value - datetime.date(1970, 1, 1)).days, grid.lo), grid.hi)
    low, high, step = Fraction(column.low), Fraction(column.high), Fraction(column.step)
    if isinstance(value, int):
        index = math.floor((min(max(value, low), high) - low) / step + Fraction(1, 2))
    else:
        index = round((min(max(value, float(low)), float(high)) - float(low)) / float(step))
    return int((low + min(index, int((high - low) / step)) * step) / grid.step)


def reference(card, rows) -> dict[str, Counter]:
    """The multiset of stored rows of each unit, before the cap on rows per unit."""
    units = defaultdict(Counter)
    for row in rows:
        unit = unit_of(card, row["id"])
        values = []
        for item in card.columns:
            grid = of_column(TABLE, item, is_key=item.name in card.key)
            if grid.kind != "opaque":
                values.append(expected(item, grid, row[item.name]))
        if unit is not None and "drop" not in values:
            units[unit][tuple(values)] += 1
    return units


def stored(store, name) -> list[Counter]:
    units = defaultdict(Counter)
    for unit, _uhash, _row, *values in store.cursor().execute(f"SELECT * FROM {store.tables[name]}").fetchall():
        units[unit][tuple(int(value) if isinstance(value, bool) else value for value in values)] += 1
    return sorted(units.values(), key=lambda counter: sorted(map(repr, counter.elements())))


def check_load(seeds: range) -> None:
    """Every unit holds its own rows, at most ``rows_per_unit`` of them, whatever the order and the neighbours."""
    for seed in seeds:
        rng = random.Random(seed)
        card = make_card(rng)
        rows = make_rows(card, rng, rng.choice([0, 3, 20, 80]))
        store = load_module.Store(rng.randint(1, 4))
        store.add("one", card, to_arrow(card, rows, rng), SECRET)
        store.add("two", card, to_arrow(card, rows, rng), SECRET)
        found, again, wanted = stored(store, "one"), stored(store, "two"), reference(card, rows)
        assert found == again, "the order of rows or parts changed what is stored"
        assert len(found) == len(wanted)
        assert sorted(unit.total() for unit in found) == sorted(
            min(unit.total(), card.rows_per_unit) for unit in wanted.values()
        )
        pool = list(wanted.values())
        for unit in sorted(found, key=Counter.total, reverse=True):
            home = next((whole for whole in pool if unit <= whole
                         and unit.total() == min(whole.total(), card.rows_per_unit)), None)  # fmt: skip
            assert home is not None, f"stored rows belong to no unit: {unit}"
        for target, whole in list(wanted.items())[:3]:
            own = [row for row in rows if unit_of(card, row["id"]) == target]
            store.add(f"own {target}", card, to_arrow(card, own, rng), SECRET)
            (alone,) = stored(store, f"own {target}")
            assert alone in found, "what is kept of a unit depends on other units"
            assert alone <= whole
        store.close()
