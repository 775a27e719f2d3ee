"""``model.score``: R2 of a model's predictions, here or where the rows are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cloister.errors import PlanError
from cloister.sandbox import render
from cloister.sandbox.ask import Ask
from cloister.sandbox.column import Column
from cloister.sandbox.frame import Frame
from cloister.sandbox.learn import asking, expected, views
from cloister.sandbox.precision import Precision
from cloister.sandbox.rows import same

if TYPE_CHECKING:
    from cloister.sandbox.cost import Cost
    from cloister.sandbox.learn.model import FittedModel


class Score:
    """``model.score``: call it, or ask ``.cost()`` first."""

    def __init__(self, model: FittedModel) -> None:
        self._model = model

    def __call__(self, X: Any, y: Any, *, epsilon: Any = None, share: Any = None) -> float:  # noqa: N803
        """Return R2 of predictions: of DataFrames as scikit-learn does, of handles as a release with a price.

        On handles ``epsilon=`` or ``share=`` must be given, so that no loop of a library spends budget by itself. The
        value is limited to [0, 1]: 0 is no better than predicting the mean.
        """
        if not isinstance(X, Frame) and not isinstance(y, Column):
            truth = np.asarray(y, dtype=float)
            rest = truth - self._model.predict(X)
            return 1.0 - float((rest**2).sum()) / float(((truth - truth.mean()) ** 2).sum())
        ask = self._ask(X, y)
        if epsilon is None and share is None:
            price = ask.cost(Precision())
            raise PlanError(
                "api.learn.score",
                f"a score on rows in the enclave is a release of its own: at the default share, epsilon "
                f"{price.epsilon:.2g} = {render.percent(price.share)} of your total",
                nearest=(
                    f"model.score(visits, visits.{y.name}, share=0.02)",
                    "model.r2_  # on the rows of the fit, free",
                ),
            )
        return ask.release(Precision(epsilon, share))

    def cost(self, X: Frame, y: Column, *, epsilon: Any = None, share: Any = None) -> Cost:  # noqa: N803
        """Return what a score on handles would cost; nothing is spent."""
        return self._ask(X, y).cost(Precision(epsilon, share))

    def _ask(self, X: Any, y: Any) -> Ask[float]:  # noqa: N803
        asking.check_handles(X, y, "model.score(visits, visits.cost, share=0.02)", what="score")
        rows = same(X._rows, y._rows)
        rest = (y - self._model.predict(X))._term
        expects = expected.explained("R2", expected.spans(rest, y._term))
        return asking.ask("a score", expects, rows, [rest, y._term], views.score)

    def __repr__(self) -> str:
        return "<score: call it to release, or .cost() for its price>"
