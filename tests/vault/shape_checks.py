"""Checks of shaping, used against mutants (the story tests are in tests/plan/test_shape.py)."""

from __future__ import annotations

import math

from price_checks import CARD, ROWS
from vault_fuzzing import TABLE

from cloister.plan import algebra as a
from cloister.plan import gaussian, layout, shape


def shaped(measure, raw, sigmas):
    return shape.shape(a.VectorSum(ROWS, (measure,), "1/10"), {TABLE: CARD}, raw, sigmas).measures[0]


def check_shape() -> None:
    x = a.Col("x")
    (centred, _) = layout.layout(a.VectorSum(ROWS, (a.Mean("m", x),), "1/10"), {TABLE: CARD}).components
    assert (centred.lo, centred.hi, centred.offset) == (-10, 10, -2)
    known = layout.layout(a.VectorSum(ROWS, (a.Count("n"), a.Count("k", a.Col("y"))), "1/10"), {TABLE: CARD})
    assert [part.terms for part in known.components] == [(), (a.Col("y"),)]
    count = shaped(a.Count("n"), [-9], [2.0])
    assert (count.values, count.low) == ((0,), (0,))
    total = shaped(a.Sum("s", x), [-50], [2.0])
    q = gaussian.half_width(2.0)
    assert (total.values[0], total.low[0], total.high[0]) == (-50, -50 - q, -50 + q)
    for sigma in (0.7, 3.0, 50.0, 5000.0):
        q = gaussian.half_width(sigma)
        assert gaussian.coverage(sigma, q) >= 0.95 > gaussian.coverage(sigma, q - 1) - 1e-6
    for raw in ([900, 8], [900, 20], [-900, 20], [4, 1], [7, 0], [7, -20]):
        mean = shaped(a.Mean("m", x), raw, [30.0, 6.0])
        assert -7 <= mean.low[0] <= mean.values[0] <= mean.high[0] <= 3
    assert shaped(a.Mean("m", x), [4, 5], [30.0, 6.0]).unreliable == (True,)
    assert (
        shaped(a.Mean("m", x), [4, 5], [30.0, 6.0]).low[0],
        shaped(a.Mean("m", x), [4, 5], [30.0, 6.0]).high[0],
    ) == (-7, 3)
    mean = shaped(a.Mean("m", x), [-3000, 1000], [30.0, 60.0])
    reach = [gaussian.half_width(30.0) + 0.5, gaussian.half_width(60.0) + 0.5]
    for limit in (mean.low[0], mean.high[0]):
        ratio = (limit + 2) * 2
        assert math.isclose(abs(-3000 - 1000 * ratio), math.hypot(reach[0], ratio * reach[1]), rel_tol=1e-9)
