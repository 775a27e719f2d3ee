"""Mutation tests of layout, norms, measures, quantiles, thresholds and shape: each bug is caught by a fast check."""

from __future__ import annotations

import pytest
from measure_checks import (
    check_flags,
    check_norms,
    check_quantile,
    check_quantile_shape,
    check_sharing,
    check_values,
)
from mutants import mutated
from test_coverage import check
from threshold_checks import check_claims, check_tail, check_threshold

from cloister.plan import components, gaussian, layout, moments, shape
from cloister.replay import perturb
from cloister.vault import measures_sql, noise, norms, price, thresholds


def covering() -> None:
    check("variance", "few", "1/100", 1000)
    check("covariance", "skewed", "1/100", 1000)
    check("correlation", "skewed", "1/10", 1000)
    check("variance", "extreme", "1/10", 1000)


MUTANTS = [
    (norms, 'changed = most if mode == "add"', "changed = most if True", check_norms),
    (norms, "min(2 * most, cells or 2 * most)", "2 * most", check_norms),
    (norms, "(2 if one_sign else 4)", "2", check_norms),
    (norms, "2 * added.l1, ", "added.l1, ", check_norms),
    (norms, "max(part.hi, 0) - min(part.lo, 0)", "max(part.hi, 0)", check_norms),
    (norms, "rows = min(rows, most * per_cell)", "rows = min(rows, most)", check_norms),
    (norms, "(rows, cells, groups) if number", "(rows, cells) if number", check_norms),
    (norms, "number**2 for number in each", "number for number in each", check_quantile),
    (norms, "max(place, part.parts - place)", "place", check_quantile),
    (components, "worst = max(max(place, parts - place) for place in at)", "worst = max(at)", check_quantile),
    (components, "MAX_CANDIDATES - 1)) or 1", "MAX_CANDIDATES)) or 1", check_quantile),
    (components, "place = positions[column] + 1", "place = positions[column]", check_flags),
    (components, "masks[table] |= 1 << bit", "masks[table] = 1 << bit", check_flags),
    (components, "part.weight * self._share + (", "part.weight * self._share + 0 * (", check_sharing),
    (components, "kept = (terms[0], *self._nullable(terms[1:]))", "kept = terms[:1]", check_values),
    (components, "return min(grid.hi - grid.lo, MOMENT_SCALE)", "return MOMENT_SCALE", check_sharing),
    (measures_sql, "count(DISTINCT unit)", "count(*)", check_values),
    (measures_sql, "if top < reach:", "if False:", check_values),
    (measures_sql, "bind.integer(stride)}) // ", "bind.integer(0)}) // ", check_quantile),
    (measures_sql, "moment_reach(part.grids[0]) ** 2 * found[1]", "moment_reach(part.grids[0]) * found[1]",
     check_values),
    (measures_sql, "<> 0", "= 0", check_flags),
    (measures_sql, "[limited, *present]", "[limited]", check_flags),
    (noise, "below = np.cumsum(counts) - counts", "below = np.cumsum(counts)", check_quantile),
    (noise, "parts * above - most_above", "above - most_above", check_quantile),
    (noise, "zero_concentrated_divergence(), scale=scale)", "zero_concentrated_divergence(), scale=scale / 2)",
     check_quantile),
    (gaussian, "(-(2 * t + 1) / square)", "(-(2 * t + 9) / square)", check_tail),
    (gaussian, "(-(t * t) / square)", "(-(t * t) / square - 1)", check_tail),
    (gaussian, "    return high\n", "    return low\n", check_tail),
    (price, "delta / analysis.bounds[0].l1", "delta", check_claims),
    (thresholds, "count > price.threshold", "count >= price.threshold", check_threshold),
    (thresholds, "if count > price.threshold", "if True", check_threshold),
    (layout, "a.Cap(source, 1, plan.keys, plan.groups)", "a.Cap(source, 1, plan.keys, None)", check_claims),
    (moments, "size / (size - ddof)\n\n\ndef _largest", "1.0\n\n\ndef _largest", check_values),
    (moments, "size = max(count.value - count.reach, 1.0 + ddof)", "size = max(count.value, 1.0 + ddof)", covering),
    (moments, "reach = math.hypot(*(part.reach * slope", "reach = 0.5 * math.hypot(*(part.reach * slope", covering),
    (moments, "(count, by_count))\n    value = factor", ")\n    value = factor", covering),
    (moments, "spread - mean**2, (0, 1))", "spread, (0, 1))", check_values),
    (shape, "zip(order, sorted(chosen), strict=True)", "zip(order, chosen, strict=True)", check_quantile_shape),
    (shape, 'other.role == "count" and', 'other.role == "sum" and', check_quantile_shape),
    (perturb, "(value + 1 + abs(", "(value + abs(", check_quantile_shape),
]  # fmt: skip


@pytest.mark.parametrize(
    ("module", "old", "new", "caught_by"),
    [pytest.param(*m, id=f"{m[0].__name__.split('.')[-1]}-{index}") for index, m in enumerate(MUTANTS)],
)
def test_the_mutant_is_caught(module, old, new, caught_by):
    with mutated(module, old, new), pytest.raises(Exception):  # noqa: B017 (a crash catches a mutant too)
        caught_by()


def test_coverage_holds_without_a_mutant():
    covering()
