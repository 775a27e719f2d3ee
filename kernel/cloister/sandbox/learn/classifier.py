"""What every classifier shares: classes, predictions of handles and DataFrames, and the score that is refused."""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

import numpy as np
import pandas as pd

from cloister.errors import PlanError
from cloister.sandbox.column import Column
from cloister.sandbox.frame import Frame
from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn import predicting
from cloister.sandbox.learn.base import Model
from cloister.sandbox.learn.scoring import scores_of

D = TypeVar("D", bound=k.Head)


class Classifier(Model[D]):
    """A model that predicts one of several labels, or a condition."""

    @property
    def _classes(self) -> k.Classes:
        found: k.Classes = self._fitted.classes  # type: ignore[attr-defined]  # every classifier's kind has them
        return found

    @property
    def classes_(self) -> np.ndarray:
        """The labels, in the order of probabilities; of a condition ``False`` and ``True``."""
        found = self._classes
        return np.array([False, True]) if found.condition else np.array(found.labels, dtype=object)

    def decision_function(self, X: Any) -> Any:  # noqa: N803 (scikit-learn's names)
        """Return the log odds of the second of two classes, or one score per class; of a handle as columns."""
        document, found = self._fitted, scores_of(self._fitted)  # type: ignore[arg-type]
        if isinstance(X, Frame):
            shown = predicting.scores(X, document)  # type: ignore[arg-type]
            if len(found.labels) > 2:
                return shown
            columns = [shown[label] for label in found.labels]
            return columns[0] if len(columns) == 1 else columns[1] - columns[0]
        values = found.on_array(self.encode(X).to_numpy())
        if values.shape[1] > 2:
            return values
        return values[:, 0] if values.shape[1] == 1 else values[:, 1] - values[:, 0]

    def predict(self, X: Any) -> Any:  # noqa: N803
        """Return the most probable class: of a handle a column (free, nothing is released), else NumPy.

        A row that has no prediction (a feature is missing) has ``None``.

        Raises:
            PlanError: A feature is not there or of another kind.
        """
        document, classes = self._fitted, self._classes
        if isinstance(X, Frame):
            return predicting.label(X, document, classes, f"predicted {classes.name}")  # type: ignore[arg-type]
        scores = self._scores(X)
        gone = np.isnan(scores).any(axis=1)
        found = self.classes_[np.where(gone[:, None], 0.0, scores).argmax(axis=1)]
        if not gone.any():
            return found
        found = found.astype(object)
        found[gone] = None
        return found

    def predict_proba(self, X: Any) -> Any:  # noqa: N803
        """Return the probability of every class: of a handle one column each (free), else rows by classes."""
        if isinstance(X, Frame):
            return predicting.probabilities(X, self._fitted, self._classes)  # type: ignore[arg-type]
        scores = self._scores(X)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def predict_log_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the logarithm of ``predict_proba`` of a DataFrame or array."""
        if isinstance(X, Frame):
            raise PlanError(
                "api.learn.predict",
                "logarithms of probabilities are not computed on a handle",
                nearest=("model.decision_function(visits)", "model.predict_proba(visits)"),
            )
        scores = self._scores(X)
        top = scores.max(axis=1, keepdims=True)
        found: np.ndarray = scores - top - np.log(np.exp(scores - top).sum(axis=1, keepdims=True))
        return found

    def score(self, X: Any, y: Any) -> float:  # noqa: N803
        """Return the accuracy on rows that are here; on handles it is a release, which is asked by its own name.

        Raises:
            PlanError: Handles.
        """
        if isinstance(X, Frame) or isinstance(y, Column):
            self._refuse_score(y)
        truth = np.asarray(pd.Series(y).to_numpy(), dtype=self.classes_.dtype)
        return float((self.predict(X) == truth).mean())

    def _refuse_score(self, y: Any) -> NoReturn:
        name = getattr(y, "name", None) or "y"
        right = f"visits.{name}" if name.isidentifier() else f'visits["{name}"]'
        raise PlanError(
            "api.learn.score",
            "a score on rows in the enclave is a release of its own",
            nearest=(f"(model.predict(visits) == {right}).mean(share=0.02)",),
        )

    def _scores(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return a score for each class: of log odds, 0 for the first."""
        found = scores_of(self._fitted)  # type: ignore[arg-type]
        values = found.on_array(self.encode(X).to_numpy())
        return np.column_stack([np.zeros(len(values)), values]) if found.rule == "log odds" else values

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, Tags, TargetTags  # noqa: PLC0415 (asked by scikit-learn alone)

        return Tags(
            estimator_type="classifier", target_tags=TargetTags(required=True), classifier_tags=ClassifierTags()
        )
