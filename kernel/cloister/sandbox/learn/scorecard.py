"""``Scorecard``: whole points that add up to a score, made from a fitted logistic or additive model.

    card = Scorecard(base=600, odds=50, pdo=20).of(model)   # 600 points are odds of 50 to 1 against the event
    card.points()                                           # the table
    card.predict(people)                                    # whole numbers; of a handle a column

The score is ``base + pdo / ln 2 * (ln(odds of the model against the event) - ln(odds))``; every weight of the model
becomes the points of its level or bin, rounded. It costs nothing: the model is released already.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import msgspec
import numpy as np
import pandas as pd

from cloister.contract.card import OTHER
from cloister.errors import PlanError
from cloister.sandbox import literals, terms
from cloister.sandbox.column import Column
from cloister.sandbox.frame import Frame
from cloister.sandbox.learn import document as docs
from cloister.sandbox.learn import features as enc
from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn import origin
from cloister.sandbox.learn.base import Model
from cloister.sandbox.learn.document import number
from cloister.sandbox.learn.scoring import scores_of

MAX_POINTS = 10**6
_FORM = "Scorecard(base=600, odds=50, pdo=20).of(model)  # a logistic model of cuts, categories and conditions"


class Scorecard(Model[k.Scorecard]):
    """A points table.

    Args:
        base: The score at which the odds against the event are ``odds`` to 1.
        odds: See ``base``.
        pdo: Points that double these odds; below zero, a high score is a high risk.
    """

    kinds: ClassVar[tuple[type[k.Head], ...]] = (k.Scorecard,)
    form: ClassVar[str] = _FORM

    def __init__(self, *, base: float = 600, odds: float = 50, pdo: float = 20) -> None:
        self.base = base
        self.odds = odds
        self.pdo = pdo

    def of(self, model: Model[Any]) -> Self:
        """Make the table from a fitted model of two classes whose features are categories, cuts, bins or conditions.

        Raises:
            PlanError: ``api.learn.scorecard``: another kind of model, or a feature that is a number.
        """
        source = getattr(model, "_document", None)
        if not isinstance(source, k.LogisticRegression | k.Additive):
            raise PlanError(
                "api.learn.scorecard",
                "a scorecard is made from a fitted logistic or additive model of two classes",
                nearest=(_FORM,),
            )
        numbers = [feature.name for feature in source.features if feature.kind == "number"]
        if numbers:
            raise PlanError(
                "api.learn.scorecard",
                f"{numbers[0]} is a number: points belong to levels and bins",
                nearest=(f'visits["band"] = cl.cut(visits["{numbers[0]}"], edges)  # then fit on "band"',),
            )
        self._document, self._fact = self._made(source), model._fact
        return self

    def points(self) -> pd.DataFrame:
        """Return the table: feature, level and points, one line per level; what is not listed gives no points."""
        document = self._fitted
        lines = zip(enc.columns(document.features), document.points, strict=True)
        return pd.DataFrame(
            [(column.feature.name, _level(column), line.points) for column, line in lines],
            columns=["feature", "level", "points"],
        )

    @property
    def offset_(self) -> int:
        """The points everybody starts with."""
        return self._fitted.offset

    @property
    def range_(self) -> tuple[int, int]:
        """The lowest and the highest score there can be."""
        low = high = self._fitted.offset
        for _, given in self.points().groupby("feature", sort=False):
            ends = [*given.points, *([] if _covers(self._feature(given.feature.iloc[0])) else [0])]
            low, high = low + min(ends), high + max(ends)
        return int(low), int(high)

    def predict(self, X: Any) -> Any:  # noqa: N803 (scikit-learn's names)
        """Return scores: of a handle a column of whole numbers (free; ``deliver`` takes it), else NumPy integers.

        A row of a DataFrame that has no score (a feature is missing) is NaN, and the scores are floats then.
        """
        document = self._fitted
        if isinstance(X, Frame):
            (term,) = scores_of(document).on_handle(X, document.features)
            # Of several levels of a feature a row has one: what the expression alone cannot know.
            return Column(X._rows, terms.clip(term, *self.range_), "score")
        found = scores_of(document).on_array(self.encode(X).to_numpy())[:, 0]
        return found if np.isnan(found).any() else found.astype(np.int64)

    def explain(self, X: Any) -> pd.DataFrame:  # noqa: N803
        """Return the points every feature gives each row of a DataFrame or array; with ``base`` they are the score."""
        document, encoded = self._fitted, self.encode(X)
        points = np.array([line.points for line in document.points])
        found, start = {"(everybody)": np.full(len(encoded), document.offset)}, 0
        for feature in document.features:
            width = sum(1 for _ in enc.columns((feature,)))
            found[feature.name] = encoded.to_numpy()[:, start : start + width] @ points[start : start + width]
            start += width
        return pd.DataFrame(found, index=encoded.index)

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the probability of each class of a DataFrame or array, as its score says."""
        if isinstance(X, Frame):
            raise PlanError(
                "api.learn.predict",
                "a scorecard gives scores on a handle",
                # More points are fewer events, unless points that double the odds are below zero.
                nearest=(
                    "card.predict(visits)",
                    "evaluate(card, visits, visits.smoker)",
                    "model.predict_proba(visits)",
                ),
            )
        document = self._fitted
        factor = number(document.pdo) / math.log(2)
        against = math.log(number(document.odds)) + (np.asarray(self.predict(X)) - number(document.base)) / factor
        event = 1 / (1 + np.exp(against))
        return np.column_stack([1 - event, event])

    def to_sklearn(self) -> Any:
        """Return a fitted ``sklearn.linear_model.LinearRegression`` that gives the scores; it takes ``encode(X)``."""
        from sklearn.linear_model import LinearRegression as Theirs  # noqa: PLC0415 (slow to import)

        model = Theirs()
        model.coef_ = np.array([float(line.points) for line in self._fitted.points])
        model.intercept_ = float(self.offset_)
        model.feature_names_in_ = self.get_feature_names_out()
        model.n_features_in_ = len(model.coef_)
        return model

    def _restore(self, document: k.Scorecard) -> None:
        super()._restore(document)
        self.base, self.odds, self.pdo = (number(text) for text in (document.base, document.odds, document.pdo))

    def _feature(self, name: str) -> enc.Feature:
        return next(feature for feature in self._fitted.features if feature.name == name)

    def _made(self, source: k.LogisticRegression | k.Additive) -> k.Scorecard:
        base, odds, pdo = _parameters(self.base, self.odds, self.pdo)
        factor = pdo / math.log(2)
        start = base - factor * math.log(odds) - factor * number(source.intercept.value)
        given = [-factor * number(weight.value) for weight in source.weights]
        place = 0
        for feature in source.features:
            width = sum(1 for _ in enc.columns((feature,)))
            if _covers(feature):
                # One of these columns is 1 in every row: the least of them can be 0 points.
                least = min(given[place : place + width])
                given[place : place + width] = [value - least for value in given[place : place + width]]
                start += least
            place += width
        _check_size([start, *given])
        head = {
            name: getattr(source, name)
            for name in k.Head.__struct_fields__
            if name not in {"algorithm", "training", "format", "version"}
        }
        parameters = {"base": repr(base), "odds": repr(odds), "pdo": repr(pdo)}
        names = [column.name for column in enc.columns(source.features)]
        return k.Scorecard(
            **head,
            algorithm=origin.made("Scorecard"),
            training=msgspec.structs.replace(source.training, parameters=parameters),
            classes=source.classes,
            n=source.n,
            base=literals.number_text(base),
            odds=literals.number_text(odds),
            pdo=literals.number_text(pdo),
            offset=round(start),
            points=tuple(k.Points(name, round(value)) for name, value in zip(names, given, strict=True)),
            # Half a point for the start and for each feature, of which one column is 1.
            rounding=literals.number_text((1 + len(source.features)) / 2),
            source=docs.digest(source),
        )


def _covers(feature: enc.Feature) -> bool:
    """Return whether exactly one column of a feature is 1 in every row that has a score."""
    return feature.kind in {"bins", "flag"} or (feature.kind == "levels" and OTHER in feature.levels)


def _level(column: enc.Encoded) -> str:
    return "missing" if column.role == "missing" else column.level or "true"


def _parameters(*values: Any) -> tuple[float, float, float]:
    try:
        base, odds, pdo = (float(value) for value in values)
    except (TypeError, ValueError):
        base = odds = pdo = math.nan
    if not (abs(base) <= MAX_POINTS and 0 < odds < math.inf and 0 < abs(pdo) <= MAX_POINTS):
        raise PlanError(
            "api.learn.parameter",
            "base= and pdo= are numbers of points, odds= is a number above 0, and pdo= is not 0",
            nearest=(_FORM,),
        )
    return base, odds, pdo


def _check_size(points: Sequence[float]) -> None:
    if max(map(abs, points)) > MAX_POINTS:
        raise PlanError(
            "api.learn.scorecard",
            f"a level would have more than {MAX_POINTS:,} points",
            next_step="choose a smaller pdo=, or a model whose weights are smaller",
        )
