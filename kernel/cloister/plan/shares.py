"""Shares: how the price of a release is split among its measures.

Beside other measures all clipped shares together get 2 % of the price, and so do capped shares: the errors of the
others grow by at most 2.1 % (1 / sqrt(.96)). Beside quantiles alone counts get a tenth together: they only say which
cells have too few rows, and their noise is small against that of a rank. The rest is split evenly. Nothing of this
depends on data.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from cloister.plan import algebra as a

COMPANION = Fraction(1, 50)
COUNTS_BESIDE_QUANTILES = Fraction(1, 10)


def shares(measures: Sequence[a.Measure]) -> list[Fraction]:
    """Return each measure's part of the price; all parts add up to 1."""
    asked = [item for item in measures if not isinstance(item, a.Clipped | a.Capped)]
    fixed: list[tuple[type[a.Measure], Fraction]] = []
    if asked:
        fixed = [(a.Clipped, COMPANION), (a.Capped, COMPANION)]
    if {type(item) for item in asked} == {a.Count, a.Quantile}:
        fixed.append((a.Count, COUNTS_BESIDE_QUANTILES))
    sizes = {kind: sum(isinstance(item, kind) for item in measures) for kind, _ in fixed}
    parts = {kind: part for kind, part in fixed if sizes[kind]}
    others = len(measures) - sum(sizes.values())
    rest = (1 - sum(parts.values(), Fraction(0))) / max(others, 1)
    return [parts[type(item)] / sizes[type(item)] if type(item) in parts else rest for item in measures]
