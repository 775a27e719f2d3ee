"""``AdditiveClassifier``: one step function per feature, after the explainable boosting machine.

    model = AdditiveClassifier(epsilon=1).fit(visits[["age", "region"]], visits.smoker)
    model.table()                              # a weight per bin and label, with its error

Numbers are cut into bins of equal width by their public bounds. Features are visited one by one, so every sum has less
noise than in a gradient of all of them (``plan/learning/additive.py``). One release, one charge.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self, cast

import msgspec

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.learning.encoding import MAX_COLUMNS
from cloister.plan.learning.natural import scores
from cloister.plan.learning.program import MAX_STEPS, Linear
from cloister.plan.rounding import short
from cloister.sandbox.answer import Fact
from cloister.sandbox.ask import Ask
from cloister.sandbox.column import Column
from cloister.sandbox.cost import Cost
from cloister.sandbox.frame import Frame
from cloister.sandbox.learn import features as enc
from cloister.sandbox.learn import fit_terms, fits, origin, remarks, targets
from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn.logistic import known_errors, sure
from cloister.sandbox.learn.logistic_model import AdditiveModel
from cloister.sandbox.precision import Precision

MAX_BINS = 256


class AdditiveClassifier(AdditiveModel):
    """An additive model of a condition: the log odds are a sum of one step function per feature.

    Args:
        bins: The most bins of a number; all have the same width.
        rounds: How often every feature is visited; by default as often as is best whatever the data, and as a fit may
            have steps.
        epsilon: Privacy price of the fit; or
        share: the price as a share of your total. With neither, the contract's default share.
        missing: ``"refuse"`` features that may be missing, ``"drop"`` such rows, or mark them by an ``"indicator"``.

    Attributes:
        classes_: ``False`` and ``True``.
        coef_: Weights by bin and label (``get_feature_names_out()``): log odds against the constant.
        intercept_: The constant.
        n_: The noisy number of rows.
        reliable_: False where there may be no rows at all.
    """

    form: ClassVar[str] = 'AdditiveClassifier(epsilon=1).fit(visits[["age", "region"]], visits.smoker)'

    def __init__(
        self,
        *,
        bins: int = 32,
        rounds: int | None = None,
        epsilon: float | None = None,
        share: float | None = None,
        missing: enc.Missing = "refuse",
    ) -> None:
        self.bins = bins
        self.rounds = rounds
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

    def _ask(self, X: Any, y: Any) -> Ask[tuple[k.Additive, Fact]]:  # noqa: N803
        bins = _whole("bins", self.bins, 2, MAX_BINS)
        learner = a.Additive()
        if self.rounds is not None:
            learner = msgspec.structs.replace(learner, rounds=_whole("rounds", self.rounds, 1, 1_000))
        rows, features, classes = targets.checked(
            "AdditiveClassifier", X, y, self.missing, self.form, every=True, most=MAX_COLUMNS - 1
        )
        if len(classes.labels) != 2:
            raise PlanError(
                "api.learn.target",
                "an additive model tells two classes apart",
                nearest=(f'{self.form.partition(".fit")[0]}.fit(X, {y.name} == "{classes.labels[0]}")',),
            )
        frame = Frame(rows, X._columns)
        features = fit_terms.binned(frame, features, bins)
        encoded = fit_terms.encoded(frame, features)
        # Every feature is one block with labels, so a round has no step for the constant.
        most = max(1, (MAX_STEPS - 2) // len(encoded))
        if self.rounds is not None and learner.rounds > most:
            raise PlanError(
                "api.learn.parameter",
                f"a fit has at most {MAX_STEPS} steps: these {len(encoded)} features can be visited {most} times, not "
                f"{learner.rounds:,}",
                next_step=f"rounds={most} or fewer, or fewer features",
            )

        def present(found: fits.Fitted) -> tuple[k.Additive, Fact]:
            head = origin.head(
                "AdditiveClassifier",
                rows,
                features,
                found.fact,
                missing=self.missing,
                parameters={"bins": bins, "rounds": min(learner.rounds, most)},
                noise=float(found.rows.stderr),
                noisy="every count of a bin or label, in rows; the sums of residuals have theirs in the receipt",
            )
            return _document(found, classes, head), found.fact

        return fits.ask(rows, encoded, y._term, learner, present)


def _document(found: fits.Fitted, classes: k.Classes, head: dict[str, Any]) -> k.Additive:
    names = ["intercept", *(column.name for column in enc.columns(head["features"]))]
    exact = scores(cast(Linear, found.model), found.planned.coded)
    (values,), (score,) = short(exact, found.planned.coded), exact
    there = remarks.classes_there(found)
    reliable = sure(found.rows) and all(there)
    gone = [label for label, known in zip(classes.labels, there, strict=True) if not known]
    notes = (*remarks.absent(gone, classes, ""), *remarks.of_fit(found, names[1:]))
    first, *rest = fits.weights(names, values, known_errors(score.errors, reliable=reliable))
    return k.Additive(
        **head,
        classes=classes,
        n=found.rows,
        intercept=first,
        weights=tuple(rest),
        reliable=reliable,
        notes=notes,
    )


def _whole(name: str, value: Any, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise PlanError("api.learn.parameter", f"{name}= is a whole number from {least} to {most}")
    return value
