"""Fitted logistic and additive models: their numbers, and scikit-learn with the same ones."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

import numpy as np

from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn import numbers
from cloister.sandbox.learn.classifier import Classifier
from cloister.sandbox.learn.document import number

D = TypeVar("D", bound=k.Head)


class LinearClassifier(Classifier[D]):
    """Affine scores of the encoded columns: the log odds of the second of two classes, or one score per class."""

    @property
    def coef_(self) -> np.ndarray:
        """Weights: one row (of the second of two classes), or one row per class."""
        return np.array([numbers.weights(weights) for _, weights in self._rows])

    @property
    def coef_stderr_(self) -> np.ndarray:
        """Standard errors of the privacy noise in ``coef_``; NaN where they are not known."""
        return np.array([numbers.errors(weights) for _, weights in self._rows])

    @property
    def intercept_(self) -> np.ndarray:
        """The constants, one per row of ``coef_``."""
        return np.array([number(intercept.value) for intercept, _ in self._rows])

    @property
    def n_(self) -> float:
        """The noisy number of rows."""
        found: k.Weight = self._fitted.n  # type: ignore[attr-defined]  # of these kinds
        return number(found.value)

    @property
    def _rows(self) -> list[tuple[k.Weight, tuple[k.Weight, ...]]]:
        document: Any = self._fitted
        if isinstance(document, k.MultinomialLogistic):
            return [(output.intercept, output.weights) for output in document.outputs]
        return [(document.intercept, document.weights)]

    def to_sklearn(self) -> Any:
        """Return a fitted ``sklearn.linear_model.LogisticRegression`` with these numbers; it takes ``encode(X)``."""
        from sklearn.linear_model import LogisticRegression as Theirs  # noqa: PLC0415 (slow to import)

        model = Theirs()
        model.coef_, model.intercept_, model.classes_ = self.coef_, self.intercept_, self.classes_
        model.feature_names_in_ = self.get_feature_names_out()
        model.n_features_in_, model.n_iter_ = self.coef_.shape[1], np.array([1], dtype=np.int32)
        return model


class LogisticModel(LinearClassifier[k.LogisticRegression | k.MultinomialLogistic]):
    """A fitted logistic regression, of two classes or of several."""

    kinds: ClassVar[tuple[type[k.Head], ...]] = (k.LogisticRegression, k.MultinomialLogistic)


class AdditiveModel(LinearClassifier[k.Additive]):
    """A fitted additive model: one step function per feature."""

    kinds: ClassVar[tuple[type[k.Head], ...]] = (k.Additive,)
