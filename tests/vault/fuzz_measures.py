"""Random measures for the fuzz, and the distance in which each component is charged."""

from __future__ import annotations

from cloister.plan import algebra as a
from cloister.plan.layout import Component
from cloister.vault import noise

LEVELS = ("1/2", "0.05", "1/3", "0.99", "3/4")


def draw_measure(planner, name: str) -> a.Measure:
    """A random measure over the columns a ``Planner`` has at hand."""
    rng = planner.rng
    return rng.choice([
        lambda: a.Count(name),
        lambda: a.Count(name, planner.any(1)),
        lambda: a.Sum(name, planner.number(2)),
        lambda: a.Mean(name, planner.number(2)),
        lambda: a.Units(name),
        lambda: a.Clipped(name, planner.any(1)),
        lambda: a.Capped(name),
        lambda: a.Ratio(name, planner.number(1), planner.number(1)),
        lambda: a.Variance(name, planner.number(1), rng.random() < 0.5, rng.choice([0, 1])),
        lambda: a.Covariance(name, (planner.number(1), planner.number(1)), rng.random() < 0.5),
        lambda: a.Gram(name, tuple(planner.number(1) for _ in range(rng.randint(1, 3)))),
        lambda: a.Quantile(
            name, rng.choice([planner.number, planner.date])(1), tuple(rng.sample(LEVELS, rng.randint(1, 3)))
        ),
    ])()  # fmt: skip


def changes(part: Component, first: list[list[int]], second: list[list[int]]) -> list[int]:
    """How far each integer of a component moved; for a quantile, how far any score of a selection moved."""
    if part.role == "quantile":
        return [
            max(abs(x - y) for x, y in zip(*(noise.scores(rows, at, part.parts) for rows in pair), strict=True))
            for pair in zip(first, second, strict=True)
            for at in part.at
        ]
    return [abs(x - y) for pair in zip(first, second, strict=True) for x, y in zip(*pair, strict=True)]
