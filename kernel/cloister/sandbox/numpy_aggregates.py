"""What NumPy's statistics become on columns: releases, or refusals with their own form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cloister.errors import PlanError
from cloister.sandbox import bins, literals, ratios

FORMS: dict[str, tuple[str, ...]] = {
    "unique": ("visits.sex.domain", "visits.sex.value_counts()", "visits.patient_id.nunique()"),
    "sort": ("visits.age.quantile([0.25, 0.5, 0.75])", "visits.age.value_counts(bins=10, sort=False)"),
    "argsort": ("visits.age.quantile([0.25, 0.5, 0.75])",),
    "max": ("visits.age.quantile(0.99)",),
    "min": ("visits.age.quantile(0.01)",),
    "amax": ("visits.age.quantile(0.99)",),
    "amin": ("visits.age.quantile(0.01)",),
    "ptp": ("visits.age.quantile([0.01, 0.99])",),
    "concatenate": ("cl.concat([visits, visits]).age.mean()",),
    "dot": ("(visits.age * visits.cost).sum()",),
    "cumsum": ("visits.age.value_counts(bins=10, sort=False).cumsum()",),
    "polyfit": ('cl.gram(visits, ["age", "cost"]).ridge("cost")',),
}


def numpy_std(x: Any, ddof: int = 0, **options: Any) -> Any:
    """``np.std``: divides by n, as NumPy does."""
    return x.std(ddof=ddof, **options)


def numpy_var(x: Any, ddof: int = 0, **options: Any) -> Any:
    """``np.var``: divides by n."""
    return x.var(ddof=ddof, **options)


def percentile(x: Any, q: Any, **options: Any) -> Any:
    """``np.percentile``: levels from 0 to 100; a list gives an array, as NumPy does."""
    single = isinstance(q, int | float | np.number)
    levels = [literals.fraction(level) / 100 for level in ([q] if single else q)]
    return quantile(x, levels[0] if single else levels, **options)


def quantile(x: Any, q: Any, method: str = "linear", **options: Any) -> Any:
    """``np.quantile``."""
    found = x.quantile(q, interpolation=method, **options)
    return found if isinstance(found, float) else found.to_numpy()


def corrcoef(x: Any, y: Any = None, **options: Any) -> Any:
    """``np.corrcoef(x, y)`` of two columns, as a matrix."""
    _two(x, y, "corrcoef", "visits.age.corr(visits.bmi)")
    found = float(x.corr(y, **options))
    return np.array([[1.0, found], [found, 1.0]])


def cov(x: Any, y: Any = None, ddof: int = 1, **options: Any) -> Any:
    """``np.cov(x, y)`` of two columns, as a matrix, from one release."""
    _two(x, y, "cov", "visits.age.cov(visits.bmi)")
    from cloister.sandbox import pairs  # noqa: PLC0415 (the session is only needed here)
    from cloister.sandbox.ask import Terminal  # noqa: PLC0415

    rows, term, _ = x._pair(y)
    released = Terminal(pairs.matrix, rows, {"x": x._term, "y": term})(correlation=False, ddof=ddof, **options)
    return released.to_numpy()


def histogram(x: Any, bins: Any = 10, **options: Any) -> Any:
    """``np.histogram``: released counts, and the edges; a number of bins divides the public range."""
    span = options.pop("range", None)
    if isinstance(bins, int | np.integer) and span is not None:
        bins = np.linspace(float(span[0]), float(span[1]), int(bins) + 1).tolist()
    if options.pop("density", None) or options.pop("weights", None) is not None:
        raise PlanError(
            "api.np.histogram", "counts only", nearest=("visits.age.value_counts(bins=[0, 40, 80], normalize=True)",)
        )
    edges = _edges(x, bins)
    return _binned(x, bins, options).to_numpy(), np.array([float(edge) for edge in edges])


def average(x: Any, weights: Any = None, **options: Any) -> Any:
    """``np.average``: the weighted mean from one release."""
    return x.mean(**options) if weights is None else ratios.weighted_mean(x, weights, **options)


def refusal(name: str) -> PlanError:
    """Return the refusal of a NumPy function that needs the values."""
    return PlanError(
        f"api.np.{name}",
        f"np.{name} needs the values, and they never leave the enclave",
        nearest=FORMS.get(name, ("np.mean(visits.bmi)", "np.percentile(visits.bmi, [25, 50, 75])")),
    )


def _edges(x: Any, wanted: Any) -> list[Any]:
    return bins.edges(x._term, wanted)


def _binned(x: Any, wanted: Any, options: dict[str, Any]) -> Any:
    term = bins.bins_of(x._term, wanted, closed=True)
    return type(x)(x._rows, term, x.name).value_counts(sort=False, **options)


def _two(x: Any, y: Any, name: str, form: str) -> None:
    if y is None or not hasattr(y, "_pair") or not hasattr(x, "_pair"):
        raise PlanError(f"api.np.{name}", "of two columns", nearest=(form, 'visits[["age", "bmi"]].corr()'))


WORKS: dict[str, Callable[..., Any]] = {
    "std": numpy_std,
    "var": numpy_var,
    "median": lambda x, **options: x.median(**options),
    "percentile": percentile,
    "quantile": quantile,
    "corrcoef": corrcoef,
    "cov": cov,
    "histogram": histogram,
    "average": average,
}
