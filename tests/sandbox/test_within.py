"""``within=``: the half-width asked is the half-width got, for no more than it takes, and never beyond the budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import sandbox_world as world

import cloister.sandbox as cl
from cloister.errors import PlanError
from cloister.plan.gaussian import coverage, half_width
from cloister.plan.layout import layout
from cloister.plan.shape import LIMITED
from cloister.sandbox import session as sessions
from cloister.sandbox.precision import _widest

ROWS = 2_865
"""Rows with a body mass index."""

TOTALS: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "count": lambda d: (d.age.count,),
    "count of what may be missing": lambda d: (d.bmi.count,),
    "sum": lambda d: (d.cost.sum,),
    "sum of decimals": lambda d: (d.bmi.sum,),
    "units": lambda d: (d.patient_id.nunique,),
    "groups": lambda d: (d.groupby("region").size,),
    "sums of groups": lambda d: (d.groupby("sex").cost.sum,),
    "value counts": lambda d: (d.region.value_counts,),
    "cross-table": lambda d: (cl.crosstab, d.sex, d.smoker),
    "agg": lambda d: (d.cost.agg, ["count", "sum"]),
    "table": lambda d: (d[["age", "cost"]].sum,),
}
"""Their noise is known exactly."""

ESTIMATES: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "mean": lambda d: (d.cost.mean,),
    "rate": lambda d: ((d.age >= 50).mean,),
    "ratio": lambda d: (cl.ratio_of_sums, d.cost, d.age),
    "var": lambda d: (d.bmi.var,),
    "std": lambda d: (d.bmi.std,),
    "sem": lambda d: (d.bmi.sem,),
    "cov": lambda d: (d.age.cov, d.bmi),
    "corr": lambda d: (d.age.corr, d.cost),
    "agg of means": lambda d: (d.cost.agg, ["mean", "std"]),
    "means of groups": lambda d: (d.groupby("smoker").cost.mean,),
}
"""Theirs depends on the data; stated for the least favourable mean or a usual spread."""

EVERY = {**TOTALS, **ESTIMATES}


@pytest.fixture(scope="module")
def frame() -> Iterator[cl.Frame]:
    session, _ = world.session(noise=True, mode="confidential")
    sessions.use(session)
    yield cl.Frame.of_table(session, "clinic.visits")
    sessions.use(None)


def wanted(frame: cl.Frame, name: str, factor: float = 0.8) -> tuple[Any, tuple[Any, ...], dict[str, Any], float]:
    """Return a terminal, what it takes, the rows expected, and a half-width its default price does not reach."""
    terminal, *rest = EVERY[name](frame)
    options = {"n": ROWS // 2 if "groups" in name else ROWS} if name in ESTIMATES else {}
    error = terminal.cost(*rest, **options).stderr
    most = max(error.values()) if isinstance(error, dict) else error
    return terminal, tuple(rest), options, 1.96 * most * factor


def asked_sigmas(fact: Any) -> list[float]:
    """Return the noise of what was asked: the shares that storage limited are beside it, and less precise."""
    made = [measure for measure in layout(fact.plan, world.CARDS).measures if measure.kind not in LIMITED]
    places = {place for measure in made for place in measure.components}
    return [fact.parts[0].answered.sigmas[place] for place in sorted(places)]


def half_widths(found: Any) -> np.ndarray:
    release = found.release
    return np.ravel((np.asarray(release.high, float) - np.asarray(release.low, float)) / 2)


@pytest.mark.parametrize("name", TOTALS)
def test_counts_and_sums_are_within_exactly_and_for_the_least(name: str, frame: cl.Frame) -> None:
    terminal, rest, _, within = wanted(frame, name)
    found = terminal(*rest, within=within)
    fact = found.release.fact
    step = 0.1 if "decimals" in name else 1.0
    sigmas = asked_sigmas(fact)
    for sigma in sigmas:
        assert half_width(sigma) * step <= within
        assert coverage(sigma, int(within / step + 1e-9)) >= 0.95, "at the stated confidence"
    assert half_width(max(sigmas) * (1 + 1e-6)) * step > within, "and no less noise than that"
    assert half_widths(found).max() <= within * (1 + 1e-9)


@pytest.mark.parametrize("name", ESTIMATES)
def test_estimates_reach_what_was_asked_where_the_data_are_as_expected(name: str, frame: cl.Frame) -> None:
    terminal, rest, options, within = wanted(frame, name)
    price = terminal.cost(*rest, within=within, **options)
    errors = price.stderr.values() if isinstance(price.stderr, dict) else [price.stderr]
    assert max(errors) * 1.959964 == pytest.approx(within, rel=1e-4), "the expected error is the one asked"
    found = half_widths(terminal(*rest, within=within, **options))
    # A mean is stated for the least favourable one; spreads for columns that use a fifth of their range.
    assert np.nanmax(found) <= 1.5 * within
    assert np.nanmax(found) >= within / 12


@pytest.mark.parametrize("name", EVERY)
def test_less_width_costs_more_and_never_more_than_the_budget(name: str, frame: cl.Frame) -> None:
    terminal, rest, options, within = wanted(frame, name)
    mine = frame._rows.session.about.budgets[0].mine
    prices = []
    for factor in (3, 1.5, 1, 0.9, 0.5):
        price = terminal.cost(*rest, within=within * factor, **options)
        assert 0 < price.rho <= mine
        prices.append(price.rho)
    assert prices == sorted(prices)
    assert prices[0] < prices[-1]
    with pytest.raises(PlanError, match=r"api\.within.*whole budget") as caught:
        terminal.cost(*rest, within=within / 500, **options)
    reaches = float(caught.value.next_step.split("reaches ")[1].split(";")[0])
    before = len(frame._rows.session._peer.releases())
    with pytest.raises(PlanError, match=r"api\.within"):
        terminal(*rest, within=reaches * 0.4, **options)
    assert len(frame._rows.session._peer.releases()) == before, "nothing was asked of the vault"
    whole = terminal.cost(*rest, within=reaches * 1.01, **options)
    assert Fraction(1, 2) * mine < whole.rho <= mine, "and what it names can be had"


def test_the_error_of_a_mean_is_asked_and_stated_as_such(frame: cl.Frame) -> None:
    """``sem`` is made of a spread and a count: their own errors are not what is asked about."""
    sem, std = frame.bmi.sem.cost(n=ROWS), frame.bmi.std.cost(n=ROWS)
    assert sem.errors.keys() == {"bmi"}
    assert sem.stderr == pytest.approx(std.stderr / ROWS**0.5, rel=0.5)
    both = frame.bmi.agg.cost(["sem", "std", "count"], n=ROWS)
    assert len(both.errors) == 3, "each is stated, the helpers are not"
    assert frame.bmi.sem.cost(within=1, n=ROWS).rho < frame.bmi.std.cost(within=1, n=ROWS).rho


def test_quantiles_and_unknown_rows_are_refused_with_what_to_write(frame: cl.Frame) -> None:
    for terminal, *rest in ((frame.bmi.median,), (frame.bmi.describe,), (frame.groupby("sex").bmi.quantile, 0.5)):
        with pytest.raises(PlanError, match=r"api\.within.*rank") as caught:
            terminal(*rest, within=1, n=ROWS)
        assert caught.value.nearest
    for name in ESTIMATES:
        terminal, *rest = EVERY[name](frame)
        with pytest.raises(PlanError, match=r"api\.within.*how many rows") as caught:
            terminal(*rest, within=1)
        assert "n=" in caught.value.next_step


@pytest.mark.parametrize("wrong", [0, -1])
def test_a_half_width_is_above_zero(wrong: int, frame: cl.Frame) -> None:
    with pytest.raises(PlanError, match=r"api\.precision"):
        frame.age.count(within=wrong)


@pytest.mark.parametrize("reach", [0, 1, 2, 7, 50, 1_999, 4_000, 10**7])
def test_the_widest_noise_is_the_widest(reach: int) -> None:
    assert half_width(_widest(reach)) <= reach
    assert half_width(_widest(reach) * (1 + 1e-6)) > reach
