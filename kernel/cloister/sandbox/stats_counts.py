"""Chi-square tests on noisy counts.

The null distribution is simulated: tables are drawn from the estimated margins, the same noise is added, and the same
statistic is computed, margins estimated anew each time (Gaboardi, Lim, Rogers, Vadhan: Differentially private
chi-squared hypothesis testing, ICML 2016, Monte Carlo test). The statistic weighs each cell by its sampling variance
plus the variance of the noise, ``sum (O - E)^2 / (E + s^2)``; without noise it is Pearson's. Draws are seeded by the
released counts, so the same release gives the same p-value.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from cloister.contract.card import OTHER
from cloister.sandbox import crosstabs, measures, stats_result
from cloister.sandbox.answer import Answer
from cloister.sandbox.ask import Ask, Terminal
from cloister.sandbox.column import Column
from cloister.sandbox.group import grouped
from cloister.sandbox.stats_result import Result, wrong

DRAWS = 4_999
_KEPT = 3.0
_CLEAR = 10.0
_NULL = "p is by simulation with the same noise added ({:,} draws)"


@dataclasses.dataclass(frozen=True)
class _Null:
    """A statistic and what it is without an effect."""

    statistic: float
    p_value: float
    excess: float


def _independence(x: Column, y: Column) -> Ask[Result]:
    """Test whether two closed columns are independent (chi-square), from one cross-table.

    The release is that of ``cl.crosstab(x, y)``: after it, the test is recalled and free. Values whose total does not
    stand out of the noise (such as ``(other)``) are left out. The effect is Cramer's V, corrected for chance and noise.

    Raises:
        PlanError: Not two columns of the same rows with closed values.
    """
    _columns(x, y)
    ask = crosstabs._crosstab(x, y)
    each = stats_result.rows_per_unit(ask.rows)

    def present(answer: Answer) -> Result:
        table = answer.series("size", None).unstack()
        return _tested_pair(table, answer, each, f"independence of {x.name} and {y.name} (chi-square)")

    return Ask(ask.rows, ask.measures, present, ask.keys)


def _tested_pair(table: pd.DataFrame, answer: Answer, each: int, name: str) -> Result:
    noise = answer.measure("size").stderr[0]
    values = table.to_numpy(dtype=float)
    rows = values.sum(axis=1) > _least(noise, values.shape[1])
    columns = values.sum(axis=0) > _least(noise, values.shape[0])
    kept = values[rows][:, columns]
    shown = table.loc[rows, columns].stack(future_stack=True).rename("count").to_frame()
    if min(kept.shape) < 2:
        return _nothing(name, shown, answer, each)
    found = _simulate(kept, noise, each, _expected_pair, _margins(kept))
    total = max(float(kept.sum()), 1.0)
    shown["expected"] = _expected_pair(kept).ravel()
    effect = {"Cramer's V": float(np.sqrt(found.excess / total / (min(kept.shape) - 1)).clip(0, 1))}
    return Result(
        name=name,
        statistic=found.statistic,
        p_value=found.p_value,
        dof=(kept.shape[0] - 1) * (kept.shape[1] - 1),
        estimates=shown,
        effect=effect,
        reliable=bool(total > _CLEAR * noise * np.sqrt(kept.size) and shown.expected.min() >= 5),
        assumptions=(stats_result.sampling(each), _NULL.format(DRAWS), "every expected count is at least 5"),
        fact=answer.fact,
    )


def _goodness(x: Column, expected: Mapping[Any, float] | None = None) -> Ask[Result]:
    """Test whether a closed column has the expected distribution (chi-square), from one table of counts.

    Args:
        x: A category, condition, cut, or number with few public values.
        expected: Probability or weight of each value; by default all declared values are equally likely. Rows with
            other values are left out.

    Raises:
        PlanError: Not a column, or weights that are not above zero.
    """
    _columns(x)
    options = {"normalize": False, "sort": False, "ascending": False, "dropna": True}
    ask = measures.value_counts(x._rows, {x.name or "value": x._term}, options)
    weights = dict(expected) if expected is not None else {label: 1.0 for label in x.domain if label != OTHER}
    if len(weights) < 2 or not all(np.isfinite(value) and value > 0 for value in weights.values()):
        raise wrong("expected= gives two or more values a weight above zero", "{'north': 0.5, 'south': 0.5}")
    each = stats_result.rows_per_unit(ask.rows)
    labels = list(x.domain or grouped(x._rows, {}, [x], {})._layout().keys[0].labels)
    unknown = [label for label in weights if label not in labels]
    if unknown:
        raise wrong(f"{unknown[0]!r} is not a value of {x.name}", repr(labels[:8]))
    places = [labels.index(label) for label in weights]

    def present(answer: Answer) -> Result:
        values = answer.series("count", "count").to_numpy(dtype=float)[places]
        return _tested_fit(values, weights, answer, each, f"goodness of fit of {x.name} (chi-square)")

    return Ask(ask.rows, ask.measures, present, ask.keys)


def _tested_fit(values: np.ndarray, weights: Mapping[Any, float], answer: Answer, each: int, name: str) -> Result:
    noise = answer.measure("count").stderr[0]
    chances = np.array(list(weights.values())) / sum(weights.values())

    def expected(tables: np.ndarray) -> np.ndarray:
        return np.asarray(np.maximum(tables.sum(axis=-1, keepdims=True), 1.0) * chances)

    found = _simulate(values, noise, each, expected, chances)
    total = max(float(values.sum()), 1.0)
    shown = pd.DataFrame({"count": values, "expected": expected(values)}, list(weights))
    return Result(
        name=name,
        statistic=found.statistic,
        p_value=found.p_value,
        dof=len(values) - 1,
        estimates=shown,
        effect={"Cohen's w": float(np.sqrt(found.excess / total))},
        reliable=bool(total > _CLEAR * noise * np.sqrt(len(values)) and shown.expected.min() >= 5),
        assumptions=(stats_result.sampling(each), _NULL.format(DRAWS), "every expected count is at least 5"),
        fact=answer.fact,
    )


def _simulate(values: np.ndarray, noise: float, each: int, expected: Any, chances: np.ndarray) -> _Null:
    """Return the statistic of a noisy table and its place among tables drawn without an effect."""
    total = max(float(values.sum()), 1.0)
    seed = hashlib.sha256(f"{values.tolist()}/{noise!r}/{each}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(seed[:16], "big"))
    # Rows of one person may all say the same: as if there were fewer rows, each counted as often.
    persons = max(round(total / each), 1)
    tables = each * rng.multinomial(persons, chances.ravel(), size=DRAWS).reshape(DRAWS, *values.shape).astype(float)
    tables += rng.normal(0.0, noise, tables.shape)
    statistic, pearson = _distances(values[None], expected(values[None]), noise)
    drawn, drawn_pearson = _distances(tables, expected(tables), noise)
    above = int((drawn >= statistic[0] * (1 - 1e-12)).sum())
    # What chance and noise alone give is taken off the effect; without noise that is the degrees of freedom.
    excess = max(float(pearson[0] - drawn_pearson.mean()), 0.0)
    return _Null(float(statistic[0]), (1 + above) / (1 + DRAWS), excess)


def _distances(tables: np.ndarray, expected: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
    axes = tuple(range(1, tables.ndim))
    square = (tables - expected) ** 2
    return (square / (expected + noise**2)).sum(axis=axes), (square / np.maximum(expected, 1.0)).sum(axis=axes)


def _expected_pair(tables: np.ndarray) -> np.ndarray:
    """Return the counts expected without a relation, from the tables' own margins."""
    rows = np.maximum(tables.sum(axis=-1, keepdims=True), 1e-9)
    columns = np.maximum(tables.sum(axis=-2, keepdims=True), 1e-9)
    return np.asarray(rows * columns / np.maximum(rows.sum(axis=-2, keepdims=True), 1.0))


def _margins(values: np.ndarray) -> np.ndarray:
    rows, columns = values.sum(axis=1), values.sum(axis=0)
    return np.outer(rows / rows.sum(), columns / columns.sum())


def _least(noise: float, cells: int) -> float:
    return max(_KEPT * noise * float(np.sqrt(cells)), 0.5)


def _nothing(name: str, shown: pd.DataFrame, answer: Answer, each: int) -> Result:
    assumptions = (stats_result.sampling(each), "fewer than two values stand out of the noise: nothing was tested")
    return Result(name, 0.0, 1.0, 0, shown, {}, False, assumptions, answer.fact)


def _columns(*values: Any) -> None:
    if not all(isinstance(value, Column) for value in values):
        raise wrong("a test takes columns of a handle", "cl.stats.independence(visits.sex, visits.smoker)")


independence: Terminal[Result] = Terminal(_independence)
goodness_of_fit: Terminal[Result] = Terminal(_goodness)
