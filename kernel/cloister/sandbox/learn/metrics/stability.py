"""Population stability: how far the distribution of a score has moved between two handles or parts."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.sandbox import release
from cloister.sandbox.answer import Answer
from cloister.sandbox.ask import Ask
from cloister.sandbox.column import Column
from cloister.sandbox.cost import Cost
from cloister.sandbox.doubts import checked, said
from cloister.sandbox.learn import expected, prices
from cloister.sandbox.learn.metrics import figures, noise
from cloister.sandbox.learn.metrics.counts import raw_counts
from cloister.sandbox.learn.metrics.edges import Edges, edges_of
from cloister.sandbox.precision import Precision

BINS = 10
_FORM = "metrics.psi(train.age, test.age, bins=[18, 30, 45, 60])"
_LIMIT = 20.0


class Psi:
    """``metrics.psi``: call it, or ask ``.cost()`` first."""

    def __call__(self, first: Any, second: Any, *, bins: Any = BINS, epsilon: Any = None, share: Any = None) -> Any:
        """Release the population stability index of two columns: two releases, one for each.

        ``sum (p - q) ln(p / q)`` over the shares in public bins (or values of a closed column); under 0.1 is usually
        called stable, over 0.25 shifted. A count below one standard deviation of its noise (or half a row) is taken for
        that. Noise alone makes the index larger than it is; the interval allows for that.

        Args:
            first: A column, such as the score at development.
            second: The same of other rows: another handle, or a part of a split.
            bins: How many public bins, or their edges.
            epsilon: Privacy price of both releases together; or
            share: the price as a share of your total. With neither, the contract's default share.

        Raises:
            PlanError: Not columns of one kind.
        """
        edges, asks, shares = _questions(first, second, bins, epsilon, share)
        with said(_cost(first, asks, shares)):
            answers = [ask.release(Precision(share=part)) for ask, part in zip(asks, shares, strict=True)]
        return _index(answers, edges)

    def cost(self, first: Any, second: Any, *, bins: Any = BINS, epsilon: Any = None, share: Any = None) -> Cost:
        """Return what both releases cost together; nothing is spent."""
        _, asks, shares = _questions(first, second, bins, epsilon, share)
        return _cost(first, asks, shares)

    def __repr__(self) -> str:
        return "<psi: call it to release, or .cost() for its price>"


def _cost(first: Column, asks: list[Ask[Answer]], shares: list[float]) -> Cost:
    costs = [ask.cost(Precision(share=part)) for ask, part in zip(asks, shares, strict=True)]
    return prices.together(first._rows.session, costs)


def _questions(
    first: Any, second: Any, bins: Any, epsilon: Any, share: Any
) -> tuple[Edges | None, list[Ask[Answer]], list[float]]:
    for column in (first, second):
        if not isinstance(column, Column):
            raise PlanError(
                "api.metrics", f"stability is of two columns, not of a {type(column).__name__}", nearest=(_FORM,)
            )
    one, two = first._term, second._term
    if one.grid.kind != two.grid.kind or one.domain != two.domain:
        raise PlanError("api.metrics.psi", "the two columns have other kinds or values", nearest=(_FORM,))
    edges = None if one.grid.kind == "category" else edges_of(one, two, bins=bins)
    expects = expected.counts(len(first.domain) if edges is None else edges.bins, helps="fewer bins")
    asks: list[Ask[Answer]] = []
    for column in (first, second):
        bins = column._term if edges is None else edges.bin_of(column._term)
        asked = Ask(column._rows, (a.Count("rows"),), lambda answer: answer, {"bin": bins})
        asks.append(checked(asked, "psi", expects))
    shares = prices.divided(first._rows, epsilon, share, [Fraction(1, 2)] * 2)
    return edges, asks, shares


def _index(answers: list[Answer], edges: Edges | None) -> Any:
    counts, tables, sigmas = [], [], []
    for stream, answer in zip(("first", "second"), answers, strict=True):
        raw, sigma = raw_counts(answer)
        counts.append(raw)
        sigmas.append(sigma)
        tables.append(noise.drawn(raw, sigma, stream=stream))
    both, drawn = np.stack(counts, axis=-1), np.stack(tables, axis=-1)
    least = max(0.5, *sigmas)

    def index(values: np.ndarray) -> np.ndarray:
        return figures.divergence(values, least)

    spread = noise.spread(index, both, drawn, (0.0, _LIMIT))
    doubtful = any(
        values.sum() < 3 * noise.total_error(sigma, len(values)) for values, sigma in zip(counts, sigmas, strict=True)
    )
    value = float(index(both))
    parts = {
        "value": np.nan if doubtful else value,
        "stderr": float(spread.stderr),
        "low": 0.0 if doubtful else float(spread.low),
        "high": _LIMIT if doubtful else float(spread.high),
    }
    told = f"population stability index over {len(both)} {'values' if edges is None else 'public bins'}; two releases"
    arrays = {name: np.array([part]) for name, part in parts.items()} | {"unreliable": np.array([doubtful])}
    return release.number(arrays, prices.joined([answer.fact for answer in answers]), told)
