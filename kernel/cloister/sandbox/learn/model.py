"""A fitted linear model: its numbers with their errors, predictions, and the ways it leaves.

Everything is read from one document (``document.py``), so a model that was loaded from a file predicts and shows
itself as the one that was fitted.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np
import pandas as pd

from cloister.errors import PlanError
from cloister.sandbox import render, terms
from cloister.sandbox.answer import Fact
from cloister.sandbox.column import Column
from cloister.sandbox.frame import Frame
from cloister.sandbox.learn import asking, views
from cloister.sandbox.learn import document as docs
from cloister.sandbox.learn import features as enc
from cloister.sandbox.learn.score import Score
from cloister.sandbox.release import Release


class FittedModel:
    """What a linear model is once it is fitted or loaded."""

    _document: docs.Document | None = None
    _fact: Fact | None = None

    # What was found ------------------------------------------------------------------------------------

    @property
    def coef_(self) -> np.ndarray:
        """Coefficients, one per encoded column."""
        return np.array([docs.number(line.value) for line in self._fitted.coefficients])

    @property
    def intercept_(self) -> float:
        """The constant."""
        return docs.number(self._fitted.intercept.value)

    @property
    def coef_stderr_(self) -> np.ndarray:
        """Standard errors of the privacy noise in ``coef_``."""
        return np.array([float(line.stderr) for line in self._fitted.coefficients])

    @property
    def intercept_stderr_(self) -> float:
        """Standard error of the privacy noise in ``intercept_``."""
        return float(self._fitted.intercept.stderr)

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Names of the features the model was fitted on."""
        return np.array([feature.name for feature in self._fitted.features], dtype=object)

    @property
    def n_features_in_(self) -> int:
        """Number of these features."""
        return len(self._fitted.features)

    def get_feature_names_out(self) -> np.ndarray:
        """Return the names of the encoded columns, in the order of ``coef_``."""
        return np.array([line.name for line in self._fitted.coefficients], dtype=object)

    @property
    def alpha_(self) -> float:
        """The penalty used, on coefficients of features scaled to [-1, 1]."""
        return float(self._fitted.training.alpha)

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

    @property
    def reliable_(self) -> bool:
        """Whether the data stand out of the noise; if not, no coefficient says anything."""
        return self._fitted.reliable

    @property
    def release(self) -> Release:
        """The facts of the release, with coefficients and intercept as its values."""
        self._need_fitted()
        if self._fact is None:
            raise PlanError(
                "api.learn.loaded",
                "this model was loaded from a file: the release happened elsewhere",
                next_step="model.document.provenance names the receipt; model.model_card() shows the facts",
            )
        shown = self.table()
        return Release(
            value=shown["value"],
            stderr=shown["stderr"],
            low=shown["low"],
            high=shown["high"],
            unreliable=shown["unreliable"],
            fact=self._fact,
            derived=f"ridge regression (alpha {self.alpha_:.4g}) from one noisy Gram; errors to first order",
        )

    @property
    def document(self) -> docs.Document:
        """The fitted model as plain data: what ``to_json`` writes."""
        return self._fitted

    def table(self, *, population: bool = False) -> pd.DataFrame:
        """Return intercept and coefficients with standard errors and 95 % intervals.

        Args:
            population: Add the sampling error of rows drawn from a population, with every row of a unit counted as if
                it repeated the others (an upper bound); without it errors are those of the privacy noise alone.
        """
        return views.table(self._fitted, population=population)

    def interval(self, *, population: bool = False) -> pd.DataFrame:
        """Return the 95 % interval of every coefficient; see ``table``."""
        return self.table(population=population)[["low", "high"]]

    # Predicting ----------------------------------------------------------------------------------------

    def predict(self, X: Any) -> Any:  # noqa: N803
        """Return predictions: of a handle a column (free, nothing is released), of a DataFrame or array NumPy values.

        Raises:
            PlanError: A feature is not there or of another kind.
        """
        model = self._fitted
        if isinstance(X, Frame):
            found = terms.literal(Fraction(model.intercept.value), None)
            for line, term in zip(model.coefficients, enc.on_handle(X, model.features).values(), strict=True):
                if factor := Fraction(line.value):
                    found = terms.arithmetic("add", found, terms.scale(term, factor))
            return Column(X._rows, found, f"predicted {model.target.name}")
        return self.encode(X).to_numpy() @ self.coef_ + self.intercept_

    def encode(self, X: Any) -> Any:  # noqa: N803
        """Return the encoded columns: what ``to_sklearn().predict`` takes. A handle gives a handle."""
        model = self._fitted
        if isinstance(X, Frame):
            return Frame(X._rows, enc.on_handle(X, model.features))
        return enc.on_table(self._as_table(X), model.features)

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

    def to_json(self) -> str:
        """Return the model as a JSON document (docs/analyst-api.md); it holds numbers and facts, no code."""
        return docs.encode(self._fitted)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the model of a JSON document.

        Raises:
            MalformedError: Not such a document, of another version, or altered.
        """
        model = cls()
        model._document = docs.decode(text)
        return model

    def save(self, path: str | Path) -> None:
        """Write ``to_json()`` to a file."""
        Path(path).write_text(self.to_json() + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file ``save`` wrote; see ``from_json``."""
        with Path(path).open("rb") as file:
            return cls.from_json(file.read(docs.MAX_BYTES + 1))

    def model_card(self) -> views.ModelCard:
        """Return the model card: what the model is for, made of, good for, and what it cost."""
        return views.ModelCard(self._fitted)

    @property
    def plot(self) -> views.CoefficientPlot:
        """``model.plot.bar()``: coefficients with the 95 % interval of the privacy noise."""
        return views.CoefficientPlot(self._fitted)

    # Python --------------------------------------------------------------------------------------------

    def _need_fitted(self) -> docs.Document:
        if self._document is None:
            raise PlanError("api.learn.unfitted", "this model is not fitted yet", nearest=(asking.FORM,))
        return self._document

    @property
    def _fitted(self) -> docs.Document:
        return self._need_fitted()

    def _as_table(self, X: Any) -> pd.DataFrame:  # noqa: N803
        if isinstance(X, pd.DataFrame):
            return X
        names = list(self.feature_names_in_)
        found = None if isinstance(X, Column | pd.Series | str) else np.asarray(X)
        if found is None or found.ndim != 2 or found.shape[1] != len(names):
            raise PlanError(
                "api.learn.predict",
                f"predict takes a handle, a DataFrame or an array with {len(names)} columns ({', '.join(names)})",
                nearest=("model.predict(visits)", "model.predict(visits.mock(5))"),
            )
        return pd.DataFrame(found, columns=names)

    def __reduce_ex__(self, _protocol: Any) -> NoReturn:
        raise PlanError(
            "api.pickle",
            "a pickle runs code when it is opened; models leave as JSON",
            nearest=('model.save("model.json")', 'LinearRegression.load("model.json")'),
        )

    def _lines(self) -> list[str]:
        return [] if self._fact is None else render.facts(self.release)

    def __sklearn_is_fitted__(self) -> bool:
        return self._document is not None

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import RegressorTags, Tags, TargetTags  # noqa: PLC0415 (asked by scikit-learn alone)

        return Tags(estimator_type="regressor", target_tags=TargetTags(required=True), regressor_tags=RegressorTags())
