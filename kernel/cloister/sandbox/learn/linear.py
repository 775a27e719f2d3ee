"""``LinearRegression``: scikit-learn's words on handles, ridge regression from one noisy Gram.

    model = LinearRegression(epsilon=1).fit(visits[["age", "region"]], visits.cost)
    (visits.cost - model.predict(visits)).abs().mean()

Fitting releases once; coefficients, errors and R2 are computed from that release. ``predict`` of a handle is a column
(free, usable in filters and aggregates), of a DataFrame plain NumPy with the same coefficients.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from typing import Any, Self

from cloister.errors import PlanError
from cloister.sandbox import terms
from cloister.sandbox.answer import Fact
from cloister.sandbox.ask import Ask
from cloister.sandbox.column import Column
from cloister.sandbox.cost import Cost
from cloister.sandbox.frame import Frame
from cloister.sandbox.learn import asking, expected, fitting, origin
from cloister.sandbox.learn import features as enc
from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn.encoding import on_handle
from cloister.sandbox.learn.model import FittedModel
from cloister.sandbox.precision import Precision
from cloister.sandbox.rows import same


class LinearRegression(FittedModel):
    """Ridge regression of a number or condition on numbers, conditions and categories.

    Args:
        alpha: Penalty on the coefficients of features scaled to [-1, 1]; by default the size of the noise, which is
            known before anything is asked. 0 is ordinary least squares.
        epsilon: Privacy price of the fit; or
        share: the price as a share of your total. With neither, the contract's default share.
        missing: ``"refuse"`` features that may be missing, ``"drop"`` such rows, or mark them by an ``"indicator"``.

    Attributes:
        coef_: Coefficients, one per encoded column (``get_feature_names_out()``), in the features' own units.
        intercept_: The constant.
        coef_stderr_: Standard errors of the privacy noise in ``coef_``; ``table()`` shows all, with intervals.
        alpha_: The penalty used.
        n_: The noisy number of rows.
        r2_: Share of the variance explained on these rows, within [0, 1]; ``r2_stderr_`` is the noise in it.
        reliable_: False where the data do not stand out of the noise.
    """

    def __init__(
        self,
        *,
        alpha: float | None = None,
        epsilon: float | None = None,
        share: float | None = None,
        missing: enc.Missing = "refuse",
    ) -> None:
        self.alpha = alpha
        self.epsilon = epsilon
        self.share = share
        self.missing = missing

    # Asking --------------------------------------------------------------------------------------------

    def fit(self, X: Frame, y: Column) -> Self:  # noqa: N803 (scikit-learn's names)
        """Release one noisy Gram of the features and the target, and compute the model from it.

        Raises:
            PlanError: Not handles, of different rows, or columns a model cannot use. Nothing was charged.
        """
        ask = self._ask(X, y)
        self._document, self._fact = ask.release(Precision(self.epsilon, self.share))
        return self

    def cost(self, X: Frame, y: Column, *, epsilon: Any = None, share: Any = None) -> Cost:  # noqa: N803
        """Return what fitting would cost, and the noise in every entry of the Gram (in rows); nothing is spent."""
        own = epsilon is None and share is None
        found = self._ask(X, y).cost(Precision(self.epsilon, self.share) if own else Precision(epsilon, share))
        return dataclasses.replace(found, errors={"every entry of the Gram": max(found.errors.values())})

    def _ask(self, X: Any, y: Any) -> Ask[tuple[k.LinearRegression, Fact]]:  # noqa: N803
        alpha, missing = _alpha(self.alpha), self.missing
        if missing not in enc.MISSING:
            raise PlanError("api.learn.parameter", f"missing= is one of {', '.join(map(repr, enc.MISSING))}")
        asking.check_handles(X, y)
        origin.check_allowed("LinearRegression", X._rows)
        if y._term.scalar in {term.scalar for term in X._columns.values()}:
            raise PlanError(
                "api.learn.target", f"{y.name} is the target and a feature", next_step="leave it out of the features"
            )
        asking.check_target(y)
        same(X._rows, y._rows)
        rows, features = enc.describe(X, missing)
        if enc.gappy(rows, y._term):
            if missing == "refuse":
                raise enc.missing_error(rows, y.name or "the target", y._term)
            rows = rows.where(terms.negation(terms.is_null(y._term)))
        encoded = on_handle(Frame(rows, X._columns), features)
        target = (y.name or "target", y._term)
        made = fitting.Made(rows, features, target, alpha, missing)
        expects = expected.linear(features, target[0], alpha)
        columns = [*encoded.values(), y._term]
        return asking.ask(
            "a LinearRegression", expects, rows, columns, lambda gram: (fitting.fit(gram, made), gram.fact)
        )


def _alpha(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= float(value) < math.inf:
        raise PlanError("api.learn.parameter", "alpha= is a number from 0 on, or None for the size of the noise")
    return float(value)
