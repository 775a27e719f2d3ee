"""A spread that the noise hides is said to be unreliable, and never shown as a spread of zero."""

from __future__ import annotations

import pytest
from plan_cards import CARDS, TABLE

from cloister.plan import algebra as a
from cloister.plan.layout import layout
from cloister.plan.shape import shape


@pytest.mark.parametrize("root", [False, True], ids=["variance", "std"])
def test_an_estimate_of_zero_or_less_is_unreliable(root: bool) -> None:
    plan = a.VectorSum(a.Table(TABLE), (a.Variance("v", a.Col("age"), root),), "1")
    frame = layout(plan, CARDS)
    size = 9_000
    by_role = {"count": size, "centred": 0}
    smallest = [by_role.get(part.role, part.lo * size) for part in frame.components]
    largest = [by_role.get(part.role, part.hi * size) for part in frame.components]
    sigmas = [30.0] * len(smallest)
    (hidden,), (clear,) = (shape(plan, CARDS, raw, sigmas).measures for raw in (smallest, largest))
    assert hidden.values == (0.0,)
    assert hidden.unreliable == (True,)
    assert clear.values[0] > 0
    assert clear.unreliable == (False,)
