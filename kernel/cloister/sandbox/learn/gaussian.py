"""``GaussianNB``: naive Bayes of numbers, from the noisy count, sums and squares of every class.

    model = GaussianNB(epsilon=1).fit(visits[["age", "cost"]], visits.smoker)

One release: a vector per class of one count and, for every feature, the centred sum and the sum of squares. The price
divides as ``plan/components.py`` says of variances: a third to the count, which all features share, and the other two
thirds evenly to the sums and squares of the features. A unit is in the cells of its own rows only, so the number of
classes costs nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.sandbox import literals
from cloister.sandbox.answer import Answer, Fact
from cloister.sandbox.ask import Ask
from cloister.sandbox.column import Column
from cloister.sandbox.cost import Cost
from cloister.sandbox.doubts import checked
from cloister.sandbox.frame import Frame
from cloister.sandbox.learn import expected, numbers, origin, remarks, targets
from cloister.sandbox.learn import features as enc
from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn.classifier import Classifier
from cloister.sandbox.learn.columns import sums
from cloister.sandbox.learn.document import number
from cloister.sandbox.learn.encoding import on_handle
from cloister.sandbox.learn.rounding import near
from cloister.sandbox.precision import Precision
from cloister.sandbox.terms import Term

MAX_FEATURES = 60
SURE = 3.0
"""Standard errors a class must have rows of, to be called one that is there."""
OF_ALL = "such a class has the numbers of all rows, and a prior of next to nothing"


class GaussianNB(Classifier[k.GaussianNB]):
    """Naive Bayes of numbers and conditions, for a condition or category.

    Args:
        priors: Probabilities of the classes; by default those of the noisy counts.
        epsilon: Privacy price of the fit; or
        share: the price as a share of your total. With neither, the contract's default share.
        missing: ``"refuse"`` features that may be missing, ``"drop"`` such rows, or mark them by an ``"indicator"``.

    Attributes:
        classes_: The labels of the target.
        theta_: Means, classes by encoded columns; ``theta_stderr_`` is the privacy noise in them.
        var_: Variances; ``var_stderr_`` likewise. None is below its own noise.
        class_prior_: Probabilities of the classes.
        class_count_: Noisy numbers of rows; ``class_count_stderr_`` is the noise in each.
    """

    kinds: ClassVar[tuple[type[k.Head], ...]] = (k.GaussianNB,)
    form: ClassVar[str] = 'GaussianNB(epsilon=1).fit(visits[["age", "cost"]], visits.smoker)'

    def __init__(
        self,
        *,
        priors: Sequence[float] | None = None,
        epsilon: float | None = None,
        share: float | None = None,
        missing: enc.Missing = "refuse",
    ) -> None:
        self.priors = priors
        self.epsilon = epsilon
        self.share = share
        self.missing = missing

    def fit(self, X: Frame, y: Column) -> Self:  # noqa: N803 (scikit-learn's names)
        """Release count, sums and squares per class, and compute the model from them.

        Raises:
            PlanError: Not handles, of different rows, or columns a model cannot use. Nothing was charged.
        """
        self._document, self._fact = self._ask(X, y).release(Precision(self.epsilon, self.share))
        return self

    def cost(self, X: Frame, y: Column, *, epsilon: Any = None, share: Any = None, n: Any = None) -> Cost:  # noqa: N803
        """Return what fitting would cost, and the noise in a variance at ``n`` rows per class; nothing is spent."""
        own = epsilon is None and share is None
        wish = Precision(self.epsilon, self.share, None, n) if own else Precision(epsilon, share, None, n)
        found = self._ask(X, y).cost(wish)
        names = [column.name for column in enc.columns(self._described(X, y)[1])]
        errors = {f"variance of {name}": found.errors[str(place)] for place, name in enumerate(names)}
        return dataclasses.replace(found, errors=errors)

    # What was found ------------------------------------------------------------------------------------

    @property
    def theta_(self) -> np.ndarray:
        """Means: classes by encoded columns."""
        return np.array([numbers.weights(output.means) for output in self._fitted.outputs])

    @property
    def theta_stderr_(self) -> np.ndarray:
        """Standard errors of the privacy noise in ``theta_``."""
        return np.array([numbers.errors(output.means) for output in self._fitted.outputs])

    @property
    def var_(self) -> np.ndarray:
        """Variances: classes by encoded columns."""
        return np.array([numbers.weights(output.variances) for output in self._fitted.outputs])

    @property
    def var_stderr_(self) -> np.ndarray:
        """Standard errors of the privacy noise in ``var_``."""
        return np.array([numbers.errors(output.variances) for output in self._fitted.outputs])

    @property
    def class_prior_(self) -> np.ndarray:
        """Probabilities of the classes."""
        return np.exp([number(output.log_prior) for output in self._fitted.outputs])

    @property
    def class_count_(self) -> np.ndarray:
        """Noisy numbers of rows, by class; they may be below zero."""
        return np.array([number(output.n.value) for output in self._fitted.outputs])

    @property
    def class_count_stderr_(self) -> np.ndarray:
        """Standard errors of the privacy noise in ``class_count_``."""
        return np.array([float(output.n.stderr) for output in self._fitted.outputs])

    def to_sklearn(self) -> Any:
        """Return a fitted ``sklearn.naive_bayes.GaussianNB`` with these numbers; it takes ``encode(X)``."""
        from sklearn.naive_bayes import GaussianNB as Theirs  # noqa: PLC0415 (slow to import)

        model = Theirs(priors=self.class_prior_)
        model.theta_, model.var_, model.class_prior_ = self.theta_, self.var_, self.class_prior_
        model.class_count_, model.classes_, model.epsilon_ = np.maximum(self.class_count_, 0), self.classes_, 0.0
        model.feature_names_in_ = self.get_feature_names_out()
        model.n_features_in_ = len(model.feature_names_in_)
        return model

    # Asking --------------------------------------------------------------------------------------------

    def _described(self, X: Any, y: Any) -> Any:  # noqa: N803
        return targets.checked("GaussianNB", X, y, self.missing, self.form, every=False, most=MAX_FEATURES)

    def _ask(self, X: Any, y: Any) -> Ask[tuple[k.GaussianNB, Fact]]:  # noqa: N803
        rows, features, classes = self._described(X, y)
        priors = _priors(self.priors, classes)
        encoded = on_handle(Frame(rows, X._columns), features)
        measures = tuple(a.Variance(str(place), term.scalar, ddof=0) for place, term in enumerate(encoded.values()))

        def present(answer: Answer) -> tuple[k.GaussianNB, Fact]:
            head = origin.head(
                "GaussianNB",
                rows,
                features,
                answer.fact,
                missing=self.missing,
                parameters={} if priors is None else {"priors": ", ".join(map(str, priors))},
                noise=sums(answer, "0")[2].noise,
                noisy="every count; sums and squares have theirs in proportion to the bounds of their feature",
            )
            return _model(answer, list(encoded.values()), classes, priors, head), answer.fact

        expects = expected.means(len(classes.labels))
        return checked(Ask(rows, measures, present, {"class": y._term}), "a GaussianNB", expects)


def _model(
    answer: Answer, encoded: list[Term], classes: k.Classes, priors: Sequence[float] | None, head: dict[str, Any]
) -> k.GaussianNB:
    count = sums(answer, "0")[2]
    n, error = count.values, count.noise
    there = n >= SURE * error
    means, mean_errors, variances, errors = (np.empty((len(n), len(encoded))) for _ in range(4))
    for place, term in enumerate(encoded):
        found = _moments(answer, str(place), term, there)
        means[:, place], mean_errors[:, place], variances[:, place], errors[:, place] = found
    share = np.array(priors) if priors is not None else np.maximum(n, 0.5) / np.maximum(n, 0.5).sum()
    names = [column.name for column in enc.columns(head["features"])]
    outputs = []
    for row, label in enumerate(classes.labels):
        kept = [near(value, float(spread)) for value, spread in zip(variances[row], errors[row], strict=True)]
        constant = math.log(share[row]) - sum(math.log(2 * math.pi * float(value)) for value in kept) / 2
        outputs.append(
            k.GaussianClass(
                label=label,
                n=k.Weight("rows", literals.text_of(near(float(n[row]), error)), repr(error)),
                log_prior=literals.text_of(near(math.log(share[row]), 0.0)),
                constant=literals.text_of(near(constant, 0.0)),
                means=_weights(names, means[row], mean_errors[row]),
                variances=tuple(
                    k.Weight(name, literals.text_of(value), repr(float(spread)))
                    for name, value, spread in zip(names, kept, errors[row], strict=True)
                ),
            )
        )
    gone = [label for label, known in zip(classes.labels, there, strict=True) if not known]
    still = there.any() and (variances < remarks.SURE * errors)[there].all(axis=0)
    notes = remarks.standing([name for name, stands in zip(names, np.atleast_1d(still), strict=False) if stands])
    return k.GaussianNB(
        **head,
        reliable=int(there.sum()) >= 2,
        notes=(*remarks.absent(gone, classes, OF_ALL), *notes),
        classes=classes,
        outputs=tuple(outputs),
    )


def _moments(answer: Answer, measure: str, term: Term, there: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return mean and variance of every class with their errors; of a class that is not there those of all rows.

    A variance is at least its own noise and what the grid alone makes; a mean lies within the bounds.
    """
    centred, _, count = sums(answer, measure)
    shaped = answer.measure(measure)
    step, middle = float(centred.part.step), float(centred.part.offset)
    half = max(float(centred.part.hi) * step, 1e-12)
    n = np.maximum(count.values, 1.0)
    mean = np.clip(step * centred.values / n, -half, half)
    mean_error = np.minimum(np.hypot(step * centred.noise, mean * count.noise) / n, half)
    variance, error = np.array(shaped.values), np.minimum(np.array(shaped.stderr), half**2)
    if there.any():
        weight = n[there] / n[there].sum()
        pooled = float(weight @ mean[there])
        spread = float(weight @ (variance[there] + (mean[there] - pooled) ** 2))
    else:
        pooled, spread = 0.0, half**2 / 3
    mean, mean_error = np.where(there, mean, pooled), np.where(there, mean_error, half)
    variance, error = np.where(there, variance, spread), np.where(there, error, half**2)
    floor = np.maximum(np.where(there, error, 0.0), float(term.grid.step) ** 2 / 12)
    return middle + mean, mean_error, np.maximum(variance, floor), error


def _weights(names: Sequence[str], values: np.ndarray, errors: np.ndarray) -> tuple[k.Weight, ...]:
    return tuple(
        k.Weight(name, literals.text_of(near(float(value), float(error))), repr(float(error)))
        for name, value, error in zip(names, values, errors, strict=True)
    )


def _priors(value: Any, classes: k.Classes) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        found = tuple(float(part) for part in value)
    except (TypeError, ValueError):
        found = ()
    if len(found) != len(classes.labels) or not all(0 < part <= 1 for part in found) or abs(sum(found) - 1) > 1e-9:
        raise PlanError(
            "api.learn.parameter",
            f"priors= are {len(classes.labels)} probabilities above 0 that add up to 1: of {', '.join(classes.labels)}",
            next_step="leave it out to take them from the noisy counts",
        )
    return found
