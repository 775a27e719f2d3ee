"""Weight of evidence and class weights: encodings by the target, from charged counts per class."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Self

import numpy as np
import pandas as pd

from cloister.contract.card import OTHER
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.sandbox import literals, measures, release
from cloister.sandbox.answer import Answer, Fact
from cloister.sandbox.ask import Ask, Terminal
from cloister.sandbox.column import Column
from cloister.sandbox.cost import Cost
from cloister.sandbox.doubts import checked, said
from cloister.sandbox.frame import Frame
from cloister.sandbox.learn import expected, prices
from cloister.sandbox.learn.metrics import figures, noise
from cloister.sandbox.learn.metrics.counts import positive, raw_counts
from cloister.sandbox.learn.preprocessing import operations as ops
from cloister.sandbox.learn.preprocessing.steps import Step, check_handle
from cloister.sandbox.precision import Precision
from cloister.sandbox.rows import same
from cloister.sandbox.terms import Term

REACH = 5.0
_DIGITS = 1_000
_LEAST = 0.5
_FORM = 'WoE(share=0.02).fit(visits[["region"]], visits.smoker)'


class WoE(Step):
    """Categories become their weight of evidence, ``ln((positives / all positives) / (negatives / all negatives))``.

    One release of counts per class for each column; cut numbers first (``Binner``). Counts below one standard deviation
    of their noise (or half a row) are taken for that; a level that does not stand out of the noise weighs 0, and so
    does a missing value. Weights are rounded to 0.001 and limited to 5.

    Args:
        columns: By default every category.
        epsilon: Privacy price of all columns together; or
        share: the price as a share of your total.

    Attributes:
        table_: Counts, weight, standard error and interval of every level.
        iv_: Information value of every column, with standard error and interval.
    """

    _params = ("columns", "epsilon", "share")
    _kinds = ("category",)

    def __init__(self, *, columns: Any = None, epsilon: float | None = None, share: float | None = None) -> None:
        self.columns = columns
        self.epsilon = epsilon
        self.share = share
        self._facts: list[Fact] = []
        self.table_ = pd.DataFrame()
        self.iv_ = pd.DataFrame()

    @property
    def charged(self) -> bool:
        """It releases counts."""
        return True

    @property
    def fact(self) -> Fact:
        """Price and receipts of its releases.

        Raises:
            PlanError: Not fitted here.
        """
        if not self._facts:
            raise PlanError("api.learn.unfitted", "this WoE was not fitted here", nearest=(_FORM,))
        return prices.joined(self._facts)

    def fit(self, X: Frame, y: Any = None) -> Self:  # noqa: N803
        """Release the counts of every column per class, and compute the weights.

        Raises:
            PlanError: Not handles of the same rows, no condition as a target, no categories. Nothing was charged.
        """
        asks, shares = self._asks(X, y)
        with said(_cost(X, asks, shares)):
            answers = [ask.release(Precision(share=part)) for ask, part in zip(asks.values(), shares, strict=True)]
        found = [_weighed(name, X._columns[name], answer) for name, answer in zip(asks, answers, strict=True)]
        self._facts = [answer.fact for answer in answers]
        self._operations = tuple(operation for operation, _, _ in found)
        self.table_ = pd.concat([table for _, table, _ in found])
        self.iv_ = pd.DataFrame({name: line for name, (_, _, line) in zip(asks, found, strict=True)}).T
        self.iv_ = self.iv_.astype({"unreliable": bool})
        return self

    def cost(self, X: Frame, y: Any = None) -> Cost | None:  # noqa: N803
        """Return what the counts of all columns cost together; nothing is spent."""
        asks, shares = self._asks(X, y)
        return _cost(X, asks, shares)

    def _asks(self, X: Any, y: Any) -> tuple[dict[str, Ask[Answer]], list[float]]:  # noqa: N803
        check_handle(X)
        if not isinstance(y, Column):
            raise PlanError("api.metrics.target", "weights of evidence need the target", nearest=(_FORM,))
        rows, target = same(X._rows, y._rows), positive(y)
        names = self._chosen(X)
        self.preview(X)
        if not names:
            raise PlanError(
                "api.step.kind",
                "there is no category to weigh",
                nearest=("make_pipeline(Binner(8), WoE(share=0.02), model)",),
            )
        asks: dict[str, Ask[Answer]] = {}
        for name in names:
            keys = {"level": X._columns[name], "class": target}
            counts = Ask(rows, (a.Count("rows"),), lambda answer: answer, keys)
            cells = 2 * len(_levels(X._columns[name]))
            asks[name] = checked(counts, "a WoE", expected.counts(cells, of=f" of {name}"))
        return asks, prices.divided(rows, self.epsilon, self.share, [Fraction(1, len(names))] * len(names))

    def _made(self, _frame: Frame, name: str, term: Term) -> Sequence[ops.Any_]:
        levels = _levels(term)
        # Only the form is public before the counts are paid: as many numbers, within the same limits.
        stand_in = [literals.text_of(Fraction(place + 1, _DIGITS)) for place in range(len(levels))]
        return [ops.Weigh(name, levels, tuple(stand_in))]


def _cost(frame: Frame, asks: dict[str, Ask[Answer]], shares: Sequence[float]) -> Cost:
    costs = [ask.cost(Precision(share=part)) for ask, part in zip(asks.values(), shares, strict=True)]
    return prices.together(frame._rows.session, costs)


def _levels(term: Term) -> tuple[str, ...]:
    levels = tuple(term.domain)
    if len(levels) > ops.MOST_LEVELS:
        raise PlanError(
            "api.step.level",
            f"at most {ops.MOST_LEVELS} levels are weighed",
            next_step="join levels with cl.case(...), or use fewer bins",
        )
    return levels


def weights_of(counts: np.ndarray, sigma: float) -> np.ndarray:
    """Return the weight of evidence of every level from counts (..., levels, 2), negatives first."""
    held = np.maximum(counts, max(_LEAST, sigma))
    shares = held / held.sum(axis=-2, keepdims=True)
    return np.asarray(np.clip(np.log(shares[..., 1] / shares[..., 0]), -REACH, REACH))


def _weighed(name: str, term: Term, answer: Answer) -> tuple[ops.Weigh, pd.DataFrame, dict[str, Any]]:
    counts, sigma = raw_counts(answer)
    counts = counts.reshape(-1, 2)
    tables = noise.drawn(counts, sigma)
    values = weights_of(counts, sigma)
    spread = noise.spread(lambda c: weights_of(c, sigma), counts, tables, (-REACH, REACH))
    doubtful = counts.sum(axis=1) < 3 * noise.total_error(sigma, 2)
    empty = bool((counts.sum(axis=0) < 3 * noise.total_error(sigma, len(counts))).any())
    used = np.where(doubtful | empty, 0.0, values)
    levels = _levels(term)
    texts = tuple(literals.text_of(Fraction(round(value * _DIGITS), _DIGITS)) for value in used)
    table = pd.DataFrame(
        {
            "negative": counts[:, 0],
            "positive": counts[:, 1],
            "woe": used,
            "stderr": spread.stderr,
            "low": spread.low,
            "high": spread.high,
            "unreliable": doubtful | empty,
        },
        index=pd.MultiIndex.from_product([[name], levels], names=["column", "level"]),
    )
    least = max(_LEAST, sigma)
    far = noise.spread(lambda c: figures.divergence(c, least), counts, tables, (0.0, np.inf))
    line = {
        "iv": np.nan if empty else float(figures.divergence(counts, least)),
        "stderr": float(far.stderr),
        "low": 0.0 if empty else float(far.low),
        "high": np.inf if empty else float(far.high),
        "unreliable": empty,
    }
    return ops.Weigh(name, levels, texts), table, line


def _class_weights(y: Any) -> Ask[pd.Series]:
    """Release how much each class must weigh for all to count alike: ``n / (classes * rows of the class)``.

    ``(other)`` is left out, and a class that does not stand out of the noise has NaN. No learner of this package takes
    them: they are for a decision threshold, or for a learner elsewhere.

    Raises:
        PlanError: Not a closed column.
    """
    if not isinstance(y, Column) or y._term.grid.kind not in {"bool", "category"}:
        raise PlanError("api.metrics.target", "class weights are of a closed column", nearest=("class_weights(y)",))
    options = {"normalize": False, "sort": False, "ascending": False, "dropna": True}
    ask = measures.value_counts(y._rows, {y.name or "class": y._term}, options)

    def present(answer: Answer) -> pd.Series:
        counts = answer.series("count", "count")
        facts = counts.release
        kept = [label for label in counts.index if label != OTHER]
        values = counts.loc[kept].astype(float)
        error, least = facts.stderr.loc[kept], 3 * facts.stderr.loc[kept]
        known = values >= least
        total, size = float(values.sum()), len(kept)
        weight = (total / (size * values)).where(known)
        # To first order; a class's own count is also a part of the total.
        slope = weight / values * (1 - values / max(total, 1.0))
        rest = np.sqrt(np.maximum((error**2).sum() - error**2, 0.0)) / (size * values)
        spread = np.hypot(slope * error, rest).where(known, np.inf)
        reach = 1.959964 * spread
        parts = {
            "value": weight.rename("class weight"),
            "stderr": spread,
            "low": (weight - reach).clip(lower=0).where(known, 0.0),
            "high": (weight + reach).where(known, np.inf),
            "unreliable": ~known,
        }
        text = "n / (classes * count) from released counts; errors to first order"
        found: pd.Series = release.bind(parts, answer.fact, text)
        return found

    expects = expected.counts(y._term.grid.points, "fewer classes")
    return checked(Ask(ask.rows, ask.measures, present, ask.keys), "class weights", expects)


class_weights: Terminal[pd.Series] = Terminal(_class_weights)
