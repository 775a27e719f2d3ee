"""Price: how much noise a release gets and exactly what it costs. Pure: analysis and rho in, numbers out.

Each component gets its share of rho. The discrete Gaussian with scale sigma costs rho = L2^2 / (2 sigma^2) (Canonne,
Kamath, Steinke 2020, Prop. 3 and Theorem 6). Sigma is rounded *up* to a double, and what is charged is the cost of
exactly that double, rounded up to a multiple of 2^-96 (so that sums of an account stay short), never above the price
asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import msgspec

from cloister.contract.usage import Usage
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.gaussian import deviation, threshold
from cloister.plan.numbers import rational
from cloister.plan.precision import CHARGE_GRID, charge_of
from cloister.vault.analyse import Analysis, Claim
from cloister.vault.costs import Cost

COMPUTE_MS = 100
MAX_SIGMA = 2.0**50
LADDER_MS = (100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 60_000, 120_000, 300_000, 600_000)
_FIXED_MS = 15.0
_MS_PER_ROW_OPERATION = 2e-6
_MS_PER_SORTED_ROW = 5e-4
_MS_PER_PRODUCT = 1.2e-5
# A draw takes .015 to .03 ms, most where sigma is near 1; cell and receipt .003 (docs/benchmarks.md).
_MS_PER_INTEGER = 0.035
# Planning a query takes 2 to 5 ms for each table that is aligned, stacked or looked up, however few rows there are.
_MS_PER_TABLE = 4.0
_MS_PER_LITERAL = 5e-3


class PricedComponent(msgspec.Struct, frozen=True):
    """Noise of one component, exact ``rho`` included.

    ``sigma`` and ``step`` are of the grid, ``stderr`` is in the measure's unit (a quantile's is not known: infinite).
    """

    measure: str
    role: str
    step: Fraction
    sigma: float
    stderr: float
    rho: Fraction


class AccountPrice(msgspec.Struct, frozen=True):
    """What one account pays: its rho, part by component, and the delta it spends beside the conversion's."""

    rho: Fraction
    parts: tuple[Fraction, ...]
    delta: Fraction = Fraction(0)


class Price(msgspec.Struct, frozen=True):
    """What a release costs: ``rho`` is charged and is at most ``rho_asked``; ``usage`` counts beside it.

    A release of keys costs ``delta`` too; it leaves out what is not above ``threshold`` units.
    ``charges`` are by account. Noise is scaled for the largest norm over all of them, and each pays what this noise
    costs for what its own units can change.
    """

    rho_asked: Fraction
    rho: Fraction
    components: tuple[PricedComponent, ...]
    cells: int
    deadline_ms: int
    usage: Usage
    delta: Fraction = Fraction(0)
    threshold: int = 0
    charges: dict[str, AccountPrice] = {}

    def due(self, account: str) -> AccountPrice:
        """Return what an account pays; one the analysis says nothing about pays the whole price."""
        everything = AccountPrice(self.rho, tuple(part.rho for part in self.components), self.delta)
        return self.charges.get(account, everything)

    @property
    def sigmas(self) -> tuple[float, ...]:
        """The noise scale of each component, in grid units."""
        return tuple(part.sigma for part in self.components)


def price(analysis: Analysis, rho: Fraction) -> Price:
    """Return the noise that ``rho`` buys and the exact charge.

    Raises:
        PlanError: rho is not positive, buys nothing but noise, or the plan would take too long.
    """
    parts = []
    for part, bound in zip(analysis.layout.components, analysis.bounds, strict=True):
        sigma, charge = _noise(bound.l2_squared, Fraction(math.floor(rho * part.weight * CHARGE_GRID), CHARGE_GRID))
        # The noise of a quantile is in ranks: what it means for the value is not known before, nor after.
        unit = math.inf if part.role == "quantile" else part.step.numerator / part.step.denominator
        parts.append(PricedComponent(part.measure, part.role, part.step, sigma, deviation(sigma) * unit, charge))
    planned_ms = deadline_ms(analysis.cost)
    delta, least = _threshold(analysis, parts)
    return Price(
        rho,
        sum((part.rho for part in parts), Fraction(0)),
        tuple(parts),
        analysis.layout.cells,
        planned_ms,
        usage(analysis, planned_ms),
        delta,
        least,
        charges={account: _due(claim, parts, delta) for account, claim in analysis.claims.items()},
    )


def _threshold(analysis: Analysis, parts: list[PricedComponent]) -> tuple[Fraction, int]:
    """Return the delta asked, and the threshold that keeps to it for as many values as one unit changes."""
    if not isinstance(analysis.plan, a.ThresholdKeys):
        return Fraction(0), 0
    delta = rational(analysis.plan.delta)
    return delta, threshold(parts[0].sigma, delta / analysis.bounds[0].l1)


def _due(claim: Claim, parts: Sequence[PricedComponent], delta: Fraction) -> AccountPrice:
    """Return what the noise of a release costs an account, component by component."""
    own = tuple(charge_of(bound.l2_squared, part.sigma) for bound, part in zip(claim.bounds, parts, strict=True))
    return AccountPrice(sum(own, Fraction(0)), own, delta)


def usage(analysis: Analysis, planned_ms: int) -> Usage:
    """Return what a release uses of the contract's limits: declared rows scanned, planned time, models."""
    return Usage(
        rows=sum(analysis.cards[name].row_limit for name in analysis.tables),
        compute=planned_ms // COMPUTE_MS,
        models=int("model" in analysis.operations),
    )


def deadline_ms(cost: Cost) -> int:
    """Return the planned reply time: the next step of the ladder above twice the predicted time.

    Raises:
        PlanError: The prediction is beyond the ladder.
    """
    predicted = (
        _FIXED_MS
        + cost.row_operations * _MS_PER_ROW_OPERATION
        + cost.products * _MS_PER_PRODUCT
        + cost.sorted_rows * _MS_PER_SORTED_ROW
        + cost.integers * _MS_PER_INTEGER
        + (cost.tables - 1) * _MS_PER_TABLE
        + cost.literals * _MS_PER_LITERAL
        + cost.learning_ms
    )
    for step in LADDER_MS:
        if step > 2 * predicted:
            return step
    raise PlanError(
        "plan.cost",
        "the plan would take longer than ten minutes on a table of the declared size",
        next_step="use fewer measures, or leave out the cap",
    )


def _noise(l2_squared: int, rho: Fraction) -> tuple[float, Fraction]:
    """Return the smallest double sigma with l2^2 / (2 sigma^2) <= rho, and its cost on the charge grid."""
    if rho > 0:
        target = Fraction(l2_squared) / (2 * rho)
        sigma = math.sqrt(target)
        while sigma > 0 and Fraction(sigma) ** 2 >= target:
            sigma = math.nextafter(sigma, 0.0)
        while Fraction(sigma) ** 2 < target:
            sigma = math.nextafter(sigma, math.inf)
        if sigma <= MAX_SIGMA:
            return sigma, charge_of(l2_squared, sigma)
    raise PlanError(
        "plan.rho",
        "the price asked is so small that the answer would be noise only",
        next_step="ask for a larger epsilon or share",
    )
