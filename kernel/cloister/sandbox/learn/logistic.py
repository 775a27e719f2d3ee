"""``LogisticRegression``: scikit-learn's words on handles, from a noisy Gram and clipped noisy gradients.

    model = LogisticRegression(epsilon=1).fit(visits[["age", "region"]], visits.smoker)
    visits[model.predict_proba(visits)["smoker=true"] > 0.5].cost.mean()

Fitting is one release with one charge, whose steps are planned before it runs (``plan/learning/logistic.py``); the same
question asked again is recalled and free. A category has one column per label; the weights of two labels mean something
by their difference.

Predictions need fewer steps than weights: where features are strongly related, the steps end before their weights are
told apart. Without noise they were then 4 % (correlation .95), 9 % (.98) and 16 % (.99) off those of scikit-learn, at
the same AUC; below .9 it was 2 %. The model names such features; read their weights together, not one by one.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar, Self, cast

import msgspec

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.learning.encoding import MAX_COLUMNS
from cloister.plan.learning.natural import scores
from cloister.plan.learning.program import Linear
from cloister.plan.numbers import text_of
from cloister.plan.rounding import short
from cloister.sandbox.answer import Fact
from cloister.sandbox.ask import Ask
from cloister.sandbox.column import Column
from cloister.sandbox.cost import Cost
from cloister.sandbox.frame import Frame
from cloister.sandbox.learn import features as enc
from cloister.sandbox.learn import fit_terms, fits, origin, remarks, targets
from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn.logistic_model import LogisticModel
from cloister.sandbox.precision import Precision

Logistic = k.LogisticRegression | k.MultinomialLogistic
SURE = 3.0
"""Standard errors of the number of rows there must be, for any weight to say something."""


class LogisticRegression(LogisticModel):
    """Logistic regression of a condition or category on numbers, conditions and categories.

    Args:
        penalty: Ridge penalty per row on every weight but the constant, features scaled to [-1, 1].
        steps: How many gradients are released; by default as many as is best whatever the data.
        epsilon: Privacy price of the fit; or
        share: the price as a share of your total. With neither, the contract's default share.
        missing: ``"refuse"`` features that may be missing, ``"drop"`` such rows, or mark them by an ``"indicator"``.

    Attributes:
        classes_: The labels of the target, ``False`` and ``True`` of a condition.
        coef_: Weights by encoded column (``get_feature_names_out()``), in the features' own units.
        intercept_: The constants.
        n_: The noisy number of rows.
        reliable_: False where there may be no rows at all.
    """

    form: ClassVar[str] = 'LogisticRegression(epsilon=1).fit(visits[["age", "region"]], visits.smoker)'

    def __init__(
        self,
        *,
        penalty: float = 0.0,
        steps: int | None = None,
        epsilon: float | None = None,
        share: float | None = None,
        missing: enc.Missing = "refuse",
    ) -> None:
        self.penalty = penalty
        self.steps = steps
        self.epsilon = epsilon
        self.share = share
        self.missing = missing

    def fit(self, X: Frame, y: Column) -> Self:  # noqa: N803 (scikit-learn's names)
        """Release the steps of the fit, all in one charge, and compute the model from them.

        Raises:
            PlanError: Not handles, of different rows, or columns a model cannot use. Nothing was charged.
        """
        self._document, self._fact = self._ask(X, y).release(Precision(self.epsilon, self.share))
        return self

    def cost(self, X: Frame, y: Column, *, epsilon: Any = None, share: Any = None) -> Cost:  # noqa: N803
        """Return what fitting would cost, and the noise in a sum of a step (in rows); nothing is spent."""
        own = epsilon is None and share is None
        return self._ask(X, y).cost(Precision(self.epsilon, self.share) if own else Precision(epsilon, share))

    def _ask(self, X: Any, y: Any) -> Ask[tuple[Logistic, Fact]]:  # noqa: N803
        learner = _learner(self.penalty, self.steps)
        rows, features, classes = targets.checked(
            "LogisticRegression", X, y, self.missing, self.form, every=True, most=MAX_COLUMNS - 1
        )
        features = fit_terms.plain(features)
        encoded = fit_terms.encoded(Frame(rows, X._columns), features)

        def present(found: fits.Fitted) -> tuple[Logistic, Fact]:
            noise = found.rows.stderr
            head = origin.head(
                "LogisticRegression",
                rows,
                features,
                found.fact,
                missing=self.missing,
                parameters={"steps": learner.steps, "penalty": learner.penalty},
                noise=float(noise),
                noisy="every entry of the Gram, in rows; the gradients have theirs in the receipt",
            )
            return document(found, classes, head), found.fact

        return fits.ask(rows, encoded, y._term, learner, present)


def document(found: fits.Fitted, classes: k.Classes, head: dict[str, Any]) -> Logistic:
    """Return a fitted model as a document."""
    names = [column.name for column in enc.columns(head["features"])]
    rows, there = found.rows, remarks.classes_there(found)
    exact = scores(cast(Linear, found.model), found.planned.coded)
    values = short(exact, found.planned.coded)
    reliable = sure(rows) and sum(there) >= 2
    gone = [label for label, known in zip(classes.labels, there, strict=True) if not known]
    notes = (*remarks.absent(gone, classes, "its score is little more than a guess"), *remarks.of_fit(found, names))
    errors = [known_errors(score.errors, reliable=reliable) for score in exact]
    parts = [fits.weights(["intercept", *names], row, each) for row, each in zip(values, errors, strict=True)]
    if len(parts) == 1:
        (first, *rest) = parts[0]
        return k.LogisticRegression(
            **head, classes=classes, n=rows, intercept=first, weights=tuple(rest), reliable=reliable, notes=notes
        )
    outputs = tuple(k.Output(label, part[0], part[1:]) for label, part in zip(classes.labels, parts, strict=True))
    return k.MultinomialLogistic(**head, classes=classes, n=rows, outputs=outputs, reliable=reliable, notes=notes)


def sure(rows: k.Weight) -> bool:
    """Return whether there are rows at all, or so many that noise does not explain them."""
    return float(Fraction(rows.value)) >= SURE * float(rows.stderr)


def known_errors(errors: Sequence[float], *, reliable: bool) -> Sequence[float]:
    """Return the errors of weights as far as they are known.

    The prior keeps weights near 0 in proportion to the noise. Where noise is all there is, they hardly move, and the
    small error of that would say that they are known to be 0: then nothing is known.
    """
    return errors if reliable else ()


def _learner(penalty: Any, steps: Any) -> a.Logistic:
    if isinstance(penalty, bool) or not isinstance(penalty, numbers.Real) or not 0 <= float(penalty) < math.inf:
        raise PlanError("api.learn.parameter", "penalty= is a number from 0 on")
    found = a.Logistic(penalty=text_of(Fraction(str(penalty))))
    if steps is None:
        return found
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise PlanError("api.learn.parameter", "steps= is a number of gradients, 1 or more")
    return msgspec.structs.replace(found, steps=steps)
