"""Public edges of the bins a score is counted in: chosen from the score's public range, never from data.

A score with a range within [0, 1] is taken for a probability: its edges are ``sin^2(pi k / 2 bins)``, which are narrow
near 0 and 1, where rare events have their scores, and hold 0.5. Any other score gets bins of equal width. So does one
that is a long expression, such as a model's prediction: it is rounded down to a multiple of a public width, which
mentions the expression once, where a cut mentions it at every edge. Log odds of a classifier are limited to +-6 and
shown as the probabilities they stand for.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.rules import children
from cloister.sandbox import literals, terms
from cloister.sandbox.terms import Term

BINS = 40
"""Noise in these figures grows with the root of the number of bins, what binning hides falls with its square."""
MOST = 500
FORM = "metrics.roc_auc(y, score, bins=40)"
LOG_ODDS = Fraction(6)
_LOG_ODDS_BINS = 48
_DIGITS = 10**6
_LONGEST = 1_500
_FINE = 10**6
"""Edges of log odds are multiples of one millionth: no machine's logarithm enters a plan beyond that."""
_NICE = (Fraction(1), Fraction(2), Fraction(5, 2), Fraction(5), Fraction(10))


@dataclasses.dataclass(frozen=True)
class Edges:
    """Ascending edges; bin i is ``[values[i], values[i + 1])``, the last one closed at ``high``.

    Attributes:
        values: Exact edges; the last lies above the largest possible score.
        low: The smallest possible score.
        high: The largest possible score.
        width: The width of all bins, if the score is rounded to it; else the score is cut at the edges.
        log_odds: The score is one of log odds; what is shown of it are probabilities.
    """

    values: tuple[Fraction, ...]
    low: Fraction
    high: Fraction
    width: Fraction | None = None
    log_odds: bool = False

    @property
    def bins(self) -> int:
        """How many bins there are."""
        return len(self.values) - 1

    @property
    def lows(self) -> np.ndarray:
        """The lower edge of each bin."""
        return self._shown([float(max(edge, self.low)) for edge in self.values[:-1]])

    @property
    def highs(self) -> np.ndarray:
        """The upper edge of each bin."""
        return self._shown([float(min(edge, self.high)) for edge in self.values[1:]])

    @property
    def middles(self) -> np.ndarray:
        """The middle of each bin: what stands for a score in it."""
        return np.asarray((self.lows + self.highs) / 2)

    @property
    def probability(self) -> bool:
        """Whether every score lies within [0, 1]."""
        return self.log_odds or (self.low >= 0 and self.high <= 1)

    def reaches(self, threshold: float) -> bool:
        """Return whether a threshold, on the scale that is shown, tells scores apart or could."""
        return bool(self.lows[0] <= threshold <= self.highs[-1]) or (self.probability and 0 <= threshold <= 1)

    def nearest(self, threshold: float) -> int:
        """Return how many bins lie below the edge nearest to a threshold; all of them, if no score reaches it."""
        if threshold > self.highs[-1]:
            return self.bins
        return int(np.abs(self.lows - threshold).argmin())

    def bin_of(self, term: Term) -> Term:
        """Return the bin of a score as a closed key."""
        if self.log_odds:
            term = terms.clip(term, self.low, self.high)
        if self.width is None:
            return terms.cut(term, self.values, None)
        return terms.node(a.Round(term.scalar, literals.text_of(self.width), "floor"), term)

    def _shown(self, edges: list[float]) -> np.ndarray:
        if not self.log_odds:
            return np.array(edges)
        held = np.array(edges)
        # Scores beyond the limits are counted at them.
        reach = float(LOG_ODDS)
        return np.where(held <= -reach, 0.0, np.where(held >= reach, 1.0, 1 / (1 + np.exp(-held))))


def edges_of(*scores: Term, bins: Any = BINS) -> Edges:
    """Return the edges for a score, or for scores of one meaning from several handles.

    Args:
        scores: Numbers or conditions.
        bins: How many bins at most over the public range, or edges inside it (both ends are added).

    Raises:
        PlanError: Not a number, or not 1 to 500 bins with ascending edges.
    """
    if isinstance(bins, Edges):
        return bins
    for term in scores:
        if term.grid.kind not in {"number", "bool"}:
            raise PlanError(
                "api.metrics.score",
                f"a score is a number with bounds, and this is a {term.grid.kind}",
                nearest=("metrics.roc_auc(visits.smoker, model.predict(visits))",),
            )
    low = min(term.grid.lo * term.grid.step for term in scores)
    high = max(term.grid.hi * term.grid.step for term in scores)
    step = max(term.grid.step for term in scores)
    counted = isinstance(bins, int | np.integer)
    if counted:
        if isinstance(bins, bool) or not 1 <= int(bins) <= MOST:
            raise _count()
        long = max(_weight(term.scalar) for term in scores) * (int(bins) + 1) > _LONGEST
        inner = None if long else _inner(low, high, int(bins))
    else:
        inner = _given(bins)
    if inner is None:
        return _rounded(low, high, step, int(bins))
    found = sorted({Fraction(math.ceil(edge / step)) * step for edge in inner})
    found = [edge for edge in found if low < edge <= high]
    if len(found) >= MOST:
        raise _count()
    return Edges((low, *found, high + step), low, high)


def log_odds_edges(score: Term, bins: Any = BINS) -> Edges:
    """Return the edges for log odds: bins of equal width between -6 and 6, as far as the score reaches.

    Args:
        score: Log odds.
        bins: How many bins at most, or edges inside (0, 1), which are probabilities.

    Raises:
        PlanError: Not 1 to 500 bins, or edges that are no ascending probabilities.
    """
    if isinstance(bins, Edges):
        return bins
    if not isinstance(bins, int | np.integer):
        return _log_odds_at(score, _given(bins))
    if isinstance(bins, bool) or not 1 <= int(bins) <= MOST:
        raise _count()
    count = _LOG_ODDS_BINS if bins == BINS else int(bins)
    width = _rounded(-LOG_ODDS, LOG_ODDS, score.grid.step, count).width or LOG_ODDS
    low, high = (min(max(point * score.grid.step, -LOG_ODDS), LOG_ODDS) for point in (score.grid.lo, score.grid.hi))
    places = range(low // width, high // width + 2)
    return Edges(tuple(width * place for place in places), low, high, width, log_odds=True)


def _log_odds_at(score: Term, probabilities: list[Fraction]) -> Edges:
    step = score.grid.step
    low, high = (min(max(point * step, -LOG_ODDS), LOG_ODDS) for point in (score.grid.lo, score.grid.hi))
    if not all(0 <= edge <= 1 for edge in probabilities):
        raise PlanError(
            "api.metrics.bins",
            "edges for a classifier are probabilities from 0 to 1",
            nearest=("bins=[0.1, 0.3, 0.5]",),
        )
    odds = [Fraction(math.log(edge / (1 - edge))) for edge in probabilities if 0 < edge < 1]
    found = sorted({Fraction(math.ceil(edge * _FINE), _FINE) for edge in odds})
    inner = [edge for edge in found if low < edge <= high]
    if len(inner) >= MOST:
        raise _count()
    return Edges((low, *inner, high + Fraction(1, _FINE)), low, high, log_odds=True)


def _inner(low: Fraction, high: Fraction, count: int) -> list[Fraction]:
    if low >= 0 and high <= 1:
        shares = [math.sin(math.pi * place / (2 * count)) ** 2 for place in range(1, count)]
        return [Fraction(round(share * _DIGITS), _DIGITS) for share in shares]
    return [low + (high - low) * Fraction(place, count) for place in range(1, count)]


def _rounded(low: Fraction, high: Fraction, step: Fraction, count: int) -> Edges:
    """Return bins of the smallest width 1, 2, 2.5 or 5 times a power of ten that needs no more than ``count`` + 1."""
    least = max((high - low) / count, step)
    power = Fraction(10) ** math.floor(math.log10(float(least)))
    width = next(power * factor for factor in _NICE if power * factor >= least)
    first, last = low // width, high // width
    return Edges(tuple(width * place for place in range(first, last + 2)), low, high, width)


def _given(bins: Any) -> list[Fraction]:
    if not isinstance(bins, Iterable) or isinstance(bins, str):
        raise _count()
    found = [literals.fraction(edge) for edge in bins]
    if found != sorted(set(found)):
        raise _count()
    return found


def _weight(scalar: a.Scalar) -> int:
    """Return about how many operations an expression is as the vault counts them: some nodes repeat their term."""
    inside = sum(map(_weight, children(scalar)))
    match scalar:
        case a.Clip():
            return 1 + 4 * inside
        case a.Cut():
            return 1 + len(scalar.edges) * inside
        case a.Quotient():
            return 8 + 10 * inside
        case a.Curve() | a.Recode() | a.Parse() | a.Round():
            return 1 + 2 * inside
        case _:
            return 1 + inside


def _count() -> PlanError:
    return PlanError("api.metrics.bins", f"1 to {MOST} bins, or so many ascending edges", nearest=(FORM,))
