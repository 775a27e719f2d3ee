"""Row by row: what SQL computes for a scalar, what the interpreter computes, and the range the typing rules promise."""

from __future__ import annotations

import random

from fuzz_scalars import nodes_of
from vault_fuzzing import SECRET, TABLE, Planner, make_card, make_rows, to_arrow

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan import grid as grid_module
from cloister.plan import numbers
from cloister.plan.typing import scalar, table_schema
from cloister.vault import interpret_scalars, load, scalars_sql
from cloister.vault.load import stored_grids


class CurveFuzz(Planner):
    """Curves of what has no curve in it: their last step is the engine's, so each stands alone."""

    def number(self, depth: int) -> a.Scalar:
        inner = super().number(depth)
        if depth < 3:
            return inner
        return a.Curve(self.rng.choice(["log1p", "sqrt", "exp"]), a.Clip(inner, "-20", "16"))


def check_scalars(
    rounds: int, width: int = 12, drawn: set[type] | None = None, planner: type[Planner] = Planner
) -> int:
    """Compare ``rounds * width`` random scalars on every row of small tables; return the number of comparisons.

    ``drawn`` collects the types of the nodes that were compared.
    """
    compared = 0
    store = load.Store(2)
    for seed in range(rounds):
        rng = random.Random(seed)
        card = make_card(rng)
        check_columns(card)
        store.add(TABLE, card, to_arrow(card, make_rows(card, rng, 40), rng), SECRET)
        fuzz, schema = planner(card, rng), table_schema(a.Table(TABLE), {TABLE: card})
        fuzz.schema = schema
        kinds = [fuzz.number, fuzz.number, fuzz.bool, fuzz.bool, fuzz.category, fuzz.date, fuzz.text]
        terms = []
        while len(terms) < width:
            term = rng.choice(kinds)(3)
            try:
                terms.append((term, scalar(term, schema)))
            except PlanError:
                continue
            if drawn is not None:
                drawn |= nodes_of(term)
        compared += _compare(store, card, terms)
        store.drop(TABLE)
    store.close()
    return compared


def _compare(store, card, terms) -> int:
    grids = stored_grids(TABLE, card)
    scope = {card.columns[index].name: (f"c{index}", grid) for index, grid in grids.items()}
    bind = scalars_sql.Parameters()
    lowered = [scalars_sql.lower(term, scope, bind)[0] for term, _ in terms]
    columns = [f"c{index}" for index in grids]
    sql = f"SELECT {', '.join([*columns, *lowered])} FROM {store.tables[TABLE]}"
    rows = store.cursor().execute(sql, bind.used(sql)).fetchall()
    for row in rows:
        values = {
            card.columns[index].name: interpret_scalars.natural(code, grid)
            for (index, grid), code in zip(grids.items(), row, strict=False)
        }
        for (term, grid), code in zip(terms, row[len(columns) :], strict=True):
            wanted = interpret_scalars.evaluate(term, values)
            index = interpret_scalars.index_of(wanted, grid)
            assert index is not None or grid.nullable, f"null where the type says never: {term}"
            size = len(index) if isinstance(index, str) else index
            assert size is None or grid.lo <= size <= grid.hi, f"{wanted} leaves {grid.lo}..{grid.hi}: {term}"
            if isinstance(term, a.Curve) and code is not None and index is not None and abs(int(code) - index) == 1:
                assert grid.lo <= code <= grid.hi
                continue
            assert (code if code is None or isinstance(code, str) else int(code)) == index, (
                f"{code} is not {index} ({wanted}): {term} on {values}"
            )
    return len(rows) * len(terms)


def check_columns(card) -> None:
    """Stored grids start and end exactly at the declared bounds, and contain zero as a multiple of the step."""
    for column in card.columns:
        if column.low is None:
            continue
        grid = grid_module.of_column(TABLE, column, is_key=False)
        read = numbers.days if column.type == "date" else numbers.rational
        assert (grid.lo * grid.step, grid.hi * grid.step) == (read(column.low), read(column.high))
        if column.step is not None:
            assert (numbers.rational(column.step) / grid.step).denominator == 1
