"""Two groups compared: Welch's t-test of means or rates, with the privacy noise added to the sampling error.

One release holds both groups: a noisy Gram of ``(1, x)`` per group, so the number of rows n, the sum and the sum of
squares, each with independent noise of known size s. With z the value scaled to [-1, 1], the noise moves a group's
mean by ``s sqrt(1 + z^2) / n`` (first order); this and the sampling error add up as variances.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit  # type: ignore[import-untyped]

from cloister.contract.card import OTHER
from cloister.plan import algebra
from cloister.sandbox import stats_result
from cloister.sandbox.answer import Answer
from cloister.sandbox.ask import Ask, Terminal
from cloister.sandbox.column import Column
from cloister.sandbox.group import grouped
from cloister.sandbox.stats_result import Result, wrong

MEASURE = "gram"
_CLEAR = 10.0
_FORM = "cl.stats.ttest(visits.cost, visits.smoker)"


@dataclasses.dataclass(frozen=True)
class _Group:
    """One group, in the value's own units; variances are of its mean."""

    n: float
    mean: float
    variance: float
    sampling: float
    privacy: float
    persons: float
    clear: bool


def _ttest(x: Column, by: Column, *, groups: Sequence[Any] | None = None) -> Ask[Result]:
    """Test whether two groups have the same mean of a number, or the same rate of a condition.

    Args:
        x: A number or condition. Rows where it is missing are left out.
        by: The column that tells the groups apart: a condition, or a category.
        groups: The two values compared; needed if ``by`` declares more than two.

    Raises:
        PlanError: Not such columns, or not two groups.
    """
    if not isinstance(x, Column) or not isinstance(by, Column):
        raise wrong("a test takes columns of a handle", _FORM)
    if x._term.grid.kind not in {"number", "bool"}:
        raise wrong(f"{x.name} is neither a number nor a condition", _FORM)
    labels = [False, True] if by._term.grid.kind == "bool" else [one for one in by.domain if one != OTHER]
    chosen = list(groups) if groups is not None else labels
    if len(chosen) != 2 or len(set(chosen)) != 2:
        raise wrong(f"two groups are compared; {by.name} has {len(chosen)}", f"groups={labels[:2]!r}")
    grouping = grouped(x._rows, {}, [by], {})
    keys = grouping._keys
    places = [list(grouping._layout().keys[0].labels).index(_need(one, by, labels)) for one in chosen]
    rate, each = x._term.grid.kind == "bool", stats_result.rows_per_unit(x._rows)

    def present(answer: Answer) -> Result:
        found = answer.measure(MEASURE)
        pair = [
            _group(np.array(found.matrices[at]), found.stderr[at], (found.offsets[0], found.scales[0]), each, rate=rate)
            for at in places
        ]
        return _compared(pair, chosen, f"{'rates' if rate else 'means'} of {x.name} by {by.name}", each, answer)

    return Ask(x._rows, (algebra.Gram(MEASURE, (x._term.scalar,)),), present, keys)


def _need(label: Any, by: Column, labels: list[Any]) -> Any:
    if label not in labels and label != OTHER:
        raise wrong(f"{label!r} is not a value of {by.name}", f"groups={labels[:2]!r}")
    return label


def _group(gram: np.ndarray, noise: float, units: tuple[float, float], each: int, *, rate: bool) -> _Group:
    offset, scale = units
    n = max(float(gram[0, 0]), noise, 1.0)
    middle = min(max(float(gram[0, 1]) / n, -1.0), 1.0)
    # A condition is -1 or 1 here: its mean tells its variance.
    spread = 1 - middle**2 if rate else float(gram[1, 1]) / n - middle**2
    least = 0.0 if rate else noise * math.sqrt(1 + 4 * middle**2 + middle**4) / n
    variance = max(spread, least, 1e-12) * n / max(n - 1, 1.0)
    return _Group(
        n=n,
        mean=offset + scale * middle,
        variance=scale**2 * variance,
        sampling=scale**2 * variance * each / n,
        privacy=scale**2 * noise**2 * (1 + middle**2) / n**2,
        persons=n / each,
        clear=n > _CLEAR * noise and spread > least,
    )


def _compared(pair: list[_Group], labels: list[Any], name: str, each: int, answer: Answer) -> Result:
    first, second = pair
    difference = second.mean - first.mean
    privacy = first.privacy + second.privacy
    total = privacy + first.sampling + second.sampling
    # Welch and Satterthwaite; the size of the noise is known, so it has no degrees of freedom to lose.
    dof = total**2 / sum(one.sampling**2 / max(one.persons - 1, 1.0) for one in pair)
    statistic = difference / math.sqrt(total)
    reach = float(stdtrit(dof, 0.975))
    shown = pd.DataFrame(
        {
            "estimate": [first.mean, second.mean, difference],
            "privacy s.e.": [math.sqrt(one.privacy) for one in pair] + [math.sqrt(privacy)],
            "total s.e.": [math.sqrt(one.privacy + one.sampling) for one in pair] + [math.sqrt(total)],
        },
        [*map(str, labels), "difference"],
    )
    shown["low"] = shown["estimate"] - reach * shown["total s.e."]
    shown["high"] = shown["estimate"] + reach * shown["total s.e."]
    shown["n"] = [first.n, second.n, first.n + second.n]
    pooled = sum(one.variance * max(one.n - 1, 1.0) for one in pair) / max(first.n + second.n - 2, 1.0)
    return Result(
        name=f"{name}: {labels[1]} minus {labels[0]} (Welch)",
        statistic=statistic,
        p_value=float(2 * stdtr(dof, -abs(statistic))),
        dof=dof,
        estimates=shown,
        effect={"Cohen's d": difference / math.sqrt(pooled)},
        reliable=all(one.clear for one in pair),
        assumptions=(
            stats_result.sampling(each),
            "means are about normal (30 rows per group and more)",
            "values are measured on a grid of 1/4096 of half their declared range",
        ),
        fact=answer.fact,
    )


ttest: Terminal[Result] = Terminal(_ttest)
