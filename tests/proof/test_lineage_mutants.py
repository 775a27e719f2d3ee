"""Mutants of unit lineage and of the relations' bounds: each is caught by the attacks on lineage.

``tests/vault/test_mutants.py`` holds the mutants of loading, norms, compiler, noise, price and shape.
"""

from __future__ import annotations

import pytest
import test_lineage_attacks as attacks
from lineage_checks import SHAPES, check_shapes
from mutants import mutated

from cloister.plan import algebra as a
from cloister.plan import lookups, relations
from cloister.vault import lineage, norms, relations_sql


def shapes(*words: str):
    """Check the shapes whose names hold one of the words, on ten pairs of neighbours, with all their plans."""
    chosen = [name for name in SHAPES if any(word in name for word in words)]
    assert chosen

    def check() -> None:
        check_shapes(range(10), chosen, each=12)

    return check


def looked_up() -> None:
    attacks.test_a_lookup_finds_each_key_once((a.Number("1"), a.Boolean(True)))


fan_out = attacks.test_fan_out_is_in_the_norms
left = attacks.test_a_left_align_replaces_rows_of_the_right_account
capped = attacks.test_a_cap_of_rows_chosen_among_two_accounts_replaces
renamed = attacks.test_a_cap_does_not_follow_a_name_across_an_align
units = attacks.test_units_of_another_kind_or_spelling_are_never_paired

MUTANTS = [
    # How the rows of a unit change, by account.
    (lineage, "Influence(rows, \"replace\", essential=False)", "Influence(rows, \"add\", essential=False)", capped),
    (lineage, "return Influence(rows) if found.essential else", "return Influence(rows) if True else", capped),
    (lineage, "mine.rows * max(most[\"right\"], 1)", "mine.rows", fan_out),
    (lineage, "(other.rows * most[\"left\"] if other else 0)", "(other.rows if other else 0)",
     shapes("fan-out", "left align")),
    (lineage, "bool(not outer and other and other.essential)", "bool(other and other.essential)", left),
    (lineage, " and not (outer and other)", "", left),
    (lineage, "Influence(sum(part.rows for part in present),", "Influence(max(part.rows for part in present),",
     shapes("one table twice")),
    (lineage, "len(present) == len(parts) and all(", "all(", capped),
    (lineage, "mode: Mode = \"replace\" if any(", "mode: Mode = \"add\" if any(",
     attacks.test_a_stack_keeps_the_mode_of_its_parts),
    # How many rows and values a unit has.
    (relations, "rows=left.rows * partners,", "rows=left.rows,", fan_out),
    (relations, "*_scaled(left.caps, partners)", "*left.caps",
     attacks.test_a_cap_of_one_side_is_multiplied_by_the_other),
    (relations, "*_scaled(_renamed(right.caps, renamed), left.rows)", "*_renamed(right.caps, renamed)",
     attacks.test_a_cap_of_one_side_is_multiplied_by_the_other),
    (relations, "renamed[right.tokens[name]] = f\"{mine}\\x00{right.tokens[name]}\"",
     "renamed[right.tokens[name]] = right.tokens[name]", renamed),
    (relations, "rows=sum(part.rows for part in parts),", "rows=max(part.rows for part in parts),",
     shapes("stack of one table twice", "stack across")),
    (relations, "max(part.rows for part in parts)),)", "min(part.rows for part in parts)),)", shapes("stack across")),
    (relations, "        rows=min(source.rows, values),", "        rows=1,", shapes("one row per unit and value")),
    (relations, "Bound(frozenset(tokens[name] for name in node.by), 1)", "Bound(frozenset(), 1)",
     shapes("one row per unit and value")),
    (lookups, "grid.lo * grid.step\n\n\ndef joined", "(grid.kind, grid.lo * grid.step)\n\n\ndef joined", looked_up),
    (relations, "    if left.unit != right.unit:", "    if False:", units),
    # What the engine does: rows of one unit only, in a total order.
    (relations_sql, "ON l.unit = r.unit", "ON l.unit <= r.unit", shapes("fan-out")),
    (relations_sql, "partition = [\"unit\", *", "partition = [*(['1']), *", shapes("along the rows")),
    (relations_sql, "[\"unit\", *names], [f\"{sql}", "[*(names or ['1'])], [f\"{sql}",
     attacks.test_a_cap_keeps_rows_of_every_person),
    # Norms of replaced rows.
    (norms, "l1, l2_squared = 2 * added.l1,", "l1, l2_squared = added.l1,", shapes("one row per unit", "along")),
    (norms, "(2 if one_sign else 4)", "1", shapes("one row per unit", "along", "left align")),
]  # fmt: skip

EVERY_RUN = (0, 2, 4, 7, 12, 17)


def _cases() -> list:
    return [
        pytest.param(*mutant, id=f"{mutant[0].__name__.split('.')[-1]}-{index}",
                     marks=() if index in EVERY_RUN else pytest.mark.slow)
        for index, mutant in enumerate(MUTANTS)
    ]  # fmt: skip


@pytest.mark.parametrize(("module", "old", "new", "check"), _cases())
def test_the_mutant_of_lineage_is_caught(module, old, new, check):
    with mutated(module, old, new), pytest.raises((Exception, pytest.fail.Exception)) as caught:
        check()
    assert caught.type is not LookupError
