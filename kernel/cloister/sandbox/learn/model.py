"""A fitted linear model: its numbers with their errors, and its predictions."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd

from cloister.sandbox.column import Column
from cloister.sandbox.frame import Frame
from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn import numbers, views
from cloister.sandbox.learn.base import Model
from cloister.sandbox.learn.document import number
from cloister.sandbox.learn.score import Score
from cloister.sandbox.learn.scoring import scores_of


class FittedModel(Model[k.LinearRegression]):
    """What a linear model is once it is fitted or loaded."""

    kinds: ClassVar[tuple[type[k.Head], ...]] = (k.LinearRegression,)

    # What was found ------------------------------------------------------------------------------------

    @property
    def coef_(self) -> np.ndarray:
        """Coefficients, one per encoded column."""
        return np.array([number(line.value) for line in self._fitted.coefficients])

    @property
    def intercept_(self) -> float:
        """The constant."""
        return number(self._fitted.intercept.value)

    @property
    def coef_stderr_(self) -> np.ndarray:
        """Standard errors of the privacy noise in ``coef_``."""
        return np.array([float(line.stderr) for line in self._fitted.coefficients])

    @property
    def intercept_stderr_(self) -> float:
        """Standard error of the privacy noise in ``intercept_``."""
        return float(self._fitted.intercept.stderr)

    @property
    def alpha_(self) -> float:
        """The penalty used, on coefficients of features scaled to [-1, 1]."""
        return float(self._fitted.training.parameters["alpha"])

    @property
    def n_(self) -> float:
        """The noisy number of rows."""
        return float(self._fitted.metrics.n)

    @property
    def r2_(self) -> float:
        """Share of the target's variance explained on the rows of the fit, corrected for the noise the fit followed."""
        return float(self._fitted.metrics.r2)

    @property
    def r2_stderr_(self) -> float:
        """Standard error of the privacy noise in ``r2_`` (first order)."""
        return float(self._fitted.metrics.r2_stderr)

    def table(self, *, population: bool = False) -> pd.DataFrame:
        """Return intercept and coefficients with standard errors and 95 % intervals.

        Args:
            population: Add the sampling error of rows drawn from a population, with every row of a unit counted as if
                it repeated the others (an upper bound); without it errors are those of the privacy noise alone.
        """
        return numbers.table(self._fitted, population=population)

    def interval(self, *, population: bool = False) -> pd.DataFrame:
        """Return the 95 % interval of every coefficient; see ``table``."""
        return self.table(population=population)[["low", "high"]]

    # Predicting ----------------------------------------------------------------------------------------

    def predict(self, X: Any) -> Any:  # noqa: N803
        """Return predictions: of a handle a column (free, nothing is released), of a DataFrame or array NumPy values.

        Raises:
            PlanError: A feature is not there or of another kind.
        """
        model, found = self._fitted, scores_of(self._fitted)
        if isinstance(X, Frame):
            (term,) = found.on_handle(X, model.features)
            return Column(X._rows, term, f"predicted {model.target.name}")
        return self.encode(X).to_numpy() @ self.coef_ + self.intercept_

    @property
    def score(self) -> Score:
        """``score(X, y)``: R2 of predictions; ``score.cost(X, y)`` is the price of one on handles."""
        return Score(self)

    # Leaving -------------------------------------------------------------------------------------------

    def to_sklearn(self) -> Any:
        """Return a fitted ``sklearn.linear_model.Ridge`` with these coefficients; it takes ``encode(X)``.

        Where every feature is a number or condition without gaps, that is ``X`` itself.
        """
        from sklearn.linear_model import Ridge  # noqa: PLC0415 (slow to import)

        model = Ridge(alpha=self.alpha_)
        model.coef_, model.intercept_ = self.coef_, self.intercept_
        model.feature_names_in_ = self.get_feature_names_out()
        model.n_features_in_, model.n_iter_, model.solver_ = len(self.coef_), None, "cholesky"
        return model

    @property
    def plot(self) -> views.CoefficientPlot:
        """``model.plot.bar()``: coefficients with the 95 % interval of the privacy noise."""
        return views.CoefficientPlot(self._fitted)

    # Python --------------------------------------------------------------------------------------------

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import RegressorTags, Tags, TargetTags  # noqa: PLC0415 (asked by scikit-learn alone)

        return Tags(estimator_type="regressor", target_tags=TargetTags(required=True), regressor_tags=RegressorTags())
