"""What a plan is planned to cost: look-ups, distinct values and what is held in memory count."""

from __future__ import annotations

import msgspec
import pytest
from price_checks import CARD, ROWS, analysed

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.vault.costs import MAX_HELD, Cost
from cloister.vault.lookup import lookup_ms
from cloister.vault.price import deadline_ms

LIMIT = CARD.row_limit
PUBLIC = a.PublicRows(((a.Text("red"), a.Number("1")), (a.Text("blue"), a.Number("2"))))


def looked_up(times: int, rows: a.PublicRows = PUBLIC) -> a.Relation:
    """The rows with as many columns looked up by a category."""
    found: a.Relation = ROWS
    for number in range(times):
        found = a.Lookup(found, ("c",), rows, (f"found{number}",))
    return found


def test_look_ups_in_public_rows_are_planned_for() -> None:
    plain, once, often = (analysed(source=looked_up(times)).cost for times in (0, 1, 60))
    assert once.sorted_rows - plain.sorted_rows == LIMIT // 8 + 2
    assert (once.tables, once.literals) == (plain.tables + 1, 4)
    assert often.sorted_rows - plain.sorted_rows == 60 * (LIMIT // 8 + 2)
    # Planning 60 look-ups takes an engine up to 300 ms, and looking ten thousand rows up in each of them 11 ms.
    assert deadline_ms(often) > 2 * (300 + 11)
    assert deadline_ms(once) == deadline_ms(plain)


def test_too_many_look_ups_are_refused() -> None:
    analysed(source=looked_up(MAX_HELD))
    with pytest.raises(PlanError, match="too large"):
        analysed(source=looked_up(MAX_HELD + 1))


def test_every_literal_of_public_rows_takes_time() -> None:
    assert deadline_ms(Cost(1, 1, 0, 1, literals=100_000)) > deadline_ms(Cost(1, 1, 0, 1))


def test_distinct_values_take_half_a_pass_of_ordering() -> None:
    def per_unit(*kinds: str) -> Cost:
        measures = tuple(a.UnitMeasure(f"m{place}", kind, a.Col("c")) for place, kind in enumerate(kinds))
        return analysed(source=a.PerUnit(ROWS, measures)).cost

    assert per_unit("count", "count").sorted_rows == LIMIT
    assert per_unit("distinct", "count").sorted_rows == LIMIT + LIMIT // 2
    assert per_unit("distinct", "distinct").sorted_rows == 2 * LIMIT
    assert analysed(a.Units("units")).cost.sorted_rows == LIMIT // 2
    assert analysed(a.Count("rows")).cost.sorted_rows == 0


def test_one_target_of_a_match_reads_the_rows_of_its_unit() -> None:
    assert lookup_ms(1, 10_000_000, 1) == lookup_ms(1, 10_000_000, 4) < 20
    assert lookup_ms(1, 10_000_000, 1_000_000) > 2 * 1_000_000 * 1.2e-5
    assert lookup_ms(1, 1_000, 1_000_000) == lookup_ms(1, 1_000, 1)
    assert lookup_ms(2, 10_000_000, 1) == lookup_ms(2, 10_000_000, 1_000_000)


HOLDING = {
    "cap": a.Cap(ROWS, 1),
    "per unit": a.PerUnit(ROWS, tuple(a.UnitMeasure(f"m{n}", "count") for n in range(4)), ("c",)),
    "distinct": a.PerUnit(ROWS, tuple(a.UnitMeasure(f"m{n}", "distinct", a.Col("c")) for n in range(2))),
}


@pytest.mark.parametrize("source", HOLDING.values(), ids=list(HOLDING))
def test_what_is_held_in_memory_is_bounded(source: a.Relation) -> None:
    analysed(source=source, card=msgspec.structs.replace(CARD, row_limit=500_000_000))
    with pytest.raises(PlanError, match="memory"):
        analysed(source=source, card=msgspec.structs.replace(CARD, row_limit=1_000_000_000))


def test_units_of_a_release_are_held_too() -> None:
    analysed(a.Units("units"), card=msgspec.structs.replace(CARD, row_limit=2_000_000_000))
    with pytest.raises(PlanError, match="memory"):
        analysed(a.Units("units"), card=msgspec.structs.replace(CARD, row_limit=3_000_000_000))
