"""The price of a release before it is made: rho, epsilon, share of the budget, expected standard error."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from cloister.contract.usage import Usage
from cloister.errors import PlanError
from cloister.plan.layout import Component, Layout
from cloister.plan.shape import LIMITED
from cloister.sandbox.answer import Shown
from cloister.sandbox.precision import Charged, Reach

if TYPE_CHECKING:
    from cloister.sandbox.doubts import Doubt

WITHOUT_N = 1_000
OF_A_STEP = "every sum of a step, in rows"
_SPREAD = 0.4
"""A standard deviation of a fifth of the range, in half ranges."""
# Measures that divide by how many rows there are.
TOTALS = frozenset({"count", "sum", "units"})
_OVER_ROWS = frozenset({"mean", "ratio", "variance", "std", "covariance", "correlation"})


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a release would cost and how noisy it would be. Nothing was spent to find out.

    Attributes:
        rho: zCDP charged: the most that any account pays.
        epsilon: The epsilon this release alone amounts to, at the contract's delta: the largest of its accounts.
        share: Part of the analyst's total budget: the largest of its accounts.
        errors: Standard error of the noise, per measure and cell; of a mean, at ``n`` rows per cell.
        n: Rows assumed behind a mean.
        cells: Cells of the closed keys.
        deadline_ms: When the reply comes.
        usage: What it uses of the contract's other limits: rows, compute, models.
        mode: ``confidential`` or ``mock``.
        accounts: What each account pays.
        delta: Delta charged beside rho, for values of keys that are released themselves.
        threshold: Values that not noisily more units than this have are left out; 0 where every value is public.
        doubts: What would not be known well enough to be of use at this price (``doubts.py``).
        layout: What one question releases; None of several together.
        stderrs: Standard error of each of its components, in the unit of its measure.
        sigmas: Noise scale of each of its components.
    """

    rho: Fraction
    epsilon: float
    share: float
    errors: dict[str, float]
    n: float | None
    cells: int
    deadline_ms: int
    usage: Usage
    mode: str
    accounts: tuple[Charged, ...] = ()
    delta: Fraction = Fraction(0)
    threshold: int = 0
    doubts: tuple[Doubt, ...] = ()
    layout: Layout | None = None
    stderrs: tuple[float, ...] = ()
    sigmas: tuple[float, ...] = ()

    @property
    def stderr(self) -> float | dict[str, float]:
        """The expected standard error, or one per measure."""
        return next(iter(self.errors.values())) if len(self.errors) == 1 else dict(self.errors)

    @property
    def releases_left(self) -> int:
        """How many releases of this price an untouched budget would hold."""
        return math.floor(1 / self.share) if self.share else 0

    @property
    def uses(self) -> str:
        """What it uses of the limits beside privacy, in words."""
        models = self.usage.models
        model = "" if not models else " and a model" if models == 1 else f" and {models:,} models"
        return f"{self.usage.rows:,} rows scanned, {self.usage.compute / 10:,.1f} s of computing{model} (planned)"

    def __repr__(self) -> str:
        from cloister.sandbox import render  # noqa: PLC0415 (only when shown)

        return render.cost_text(self)

    def _repr_html_(self) -> str:
        from cloister.sandbox import render  # noqa: PLC0415 (only when shown)

        return render.cost_html(self)


def expected_errors(layout: Layout, stderr: list[float], n: float | None) -> dict[str, float]:
    """Return the standard error of every measure but companions; of quantiles, whose error is one of rank, NaN.

    Args:
        layout: Layout of the plan.
        stderr: Standard error of each component, in the measure's unit.
        n: Rows per cell behind a mean and its like. Errors of means, variances and covariances are stated for the least
            favourable mean, at a bound of its range; of standard deviations and correlations, for columns that spread
            over a fifth of their range; of ratios, for a denominator in the middle of its range.
    """
    rows = n or WITHOUT_N
    found: dict[str, float] = {}
    steps = [(part, error) for part, error in zip(layout.components, stderr, strict=True) if part.role == "step"]
    if steps:
        # What one row adds at most is a row: the only unit that all steps have.
        found[OF_A_STEP] = max(error / part.hi for part, error in steps)
    for measure in layout.measures:
        if measure.kind in LIMITED:
            continue
        parts = [layout.components[index] for index in measure.components]
        errors = [stderr[index] for index in measure.components]
        found[measure.name] = _EXPECTED.get(measure.kind, _plain)(parts, errors, rows)
    return found


def _plain(_parts: list[Component], errors: list[float], _rows: float) -> float:
    return errors[0]


def _mean(parts: list[Component], errors: list[float], rows: float) -> float:
    return math.hypot(errors[0], _reach(parts[0]) * errors[1]) / rows


def _variance(parts: list[Component], errors: list[float], rows: float) -> float:
    half = _reach(parts[0])
    square = errors[1] / (2 * _reach(parts[1]))
    return half**2 * math.hypot(square, 2 * errors[0] / half, 1.5 * errors[2]) / rows


def _std(parts: list[Component], errors: list[float], rows: float) -> float:
    return _variance(parts, errors, rows) / (2 * _SPREAD * _reach(parts[0]))


def _covariance(parts: list[Component], errors: list[float], rows: float) -> float:
    left, right, product = (error / _reach(part) for part, error in zip(parts[:3], errors[:3], strict=True))
    return _reach(parts[0]) * _reach(parts[1]) * math.hypot(left, right, product, errors[3]) / rows


def _correlation(parts: list[Component], errors: list[float], rows: float) -> float:
    squares = [errors[index] / (4 * _SPREAD**2 * _reach(parts[index])) for index in (2, 3)]
    return math.hypot(errors[4] / (_SPREAD**2 * _reach(parts[4])), *squares) / rows


def _ratio(parts: list[Component], errors: list[float], rows: float) -> float:
    above, below = (abs(float((part.lo + part.hi) * part.step)) / 2 or _reach(part) for part in parts)
    return math.hypot(errors[0], above / below * errors[1]) / (rows * below)


def _quantile(_parts: list[Component], _errors: list[float], _rows: float) -> float:
    return math.nan


_EXPECTED: dict[str, Callable[[list[Component], list[float], float], float]] = {
    "mean": _mean,
    "variance": _variance,
    "std": _std,
    "covariance": _covariance,
    "correlation": _correlation,
    "ratio": _ratio,
    "quantile": _quantile,
}


def shown_errors(errors: Mapping[str, float], shown: Sequence[Shown], rows: float) -> dict[str, float]:
    """Return the errors of what is shown: helpers left out, and what is computed from several measures instead.

    Args:
        errors: By measure.
        shown: What is shown of them; nothing said: each.
        rows: Rows per cell.
    """
    named = {item for item in shown if isinstance(item, str)}
    computed = [item for item in shown if not isinstance(item, str)]
    helpers = {part for _, *parts in computed for part in parts} - named
    found = {name: error for name, error in errors.items() if name not in helpers}
    for func, first, *_ in computed:
        # The only one there is: a standard deviation over the root of n. What n adds is of second order.
        found[first if first not in named else f"{first} ({func})"] = errors[first] / math.sqrt(rows)
    return found


def reach(layout: Layout, rho: Fraction, sigmas: Sequence[float], errors: Mapping[str, float]) -> Reach:
    """Return how precise a release at ``rho`` is, of the measures that have ``errors``."""
    kinds = {measure.name: measure for measure in layout.measures if measure.kind in TOTALS}
    whole = [kinds[name].components[0] for name in errors if name in kinds]
    return Reach(
        rho,
        tuple((sigmas[index], float(layout.components[index].step)) for index in whole),
        tuple(error for name, error in errors.items() if name not in kinds),
    )


def needs_n(layout: Layout) -> bool:
    """Return whether an expected error depends on how many rows there are."""
    return any(measure.kind not in TOTALS | LIMITED | {"gram", "quantile"} for measure in layout.measures)


def check_n(value: Any) -> float | None:
    """Return the number of rows the analyst expects.

    Raises:
        PlanError: Not a positive number.
    """
    if value is None:
        return None
    if not isinstance(value, int | float) or not value > 0:
        raise PlanError("api.precision", "n= is the number of rows you expect, above zero")
    return float(value)


def _reach(part: Component) -> float:
    return float(part.hi * part.step)
