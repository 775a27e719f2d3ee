"""Bars of a linear model's coefficients, and R2 of predictions as a released number."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from cloister.sandbox import release, ridge
from cloister.sandbox.gram import Gram
from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn.document import number
from cloister.sandbox.learn.features import columns
from cloister.sandbox.learn.numbers import table
from cloister.sandbox.plot import Plot
from cloister.sandbox.precision import NORMAL_95


@dataclasses.dataclass(frozen=True)
class Bars:
    """What a plot needs of a model: coefficients without the intercept, as a release has them."""

    value: pd.Series
    low: pd.Series
    high: pd.Series
    mode: str
    assurance: str

    @classmethod
    def of(cls, model: k.LinearRegression, *, scaled: bool = False) -> Bars:
        """Return the bars of a model: per unit of each feature, or (``scaled``) over its whole public range."""
        shown = table(model).drop(index="intercept")[["value", "low", "high"]]
        label = f"{model.target.name} per unit of the feature"
        if scaled:
            ranges = [
                number(column.feature.high) - number(column.feature.low) if column.role == "value" else 1.0
                for column in columns(model.features)
            ]
            shown, label = shown.mul(ranges, axis=0), f"{model.target.name} from lowest to highest"
        return cls(shown["value"].rename(label), shown["low"], shown["high"], model.mode, model.assurance)


class CoefficientPlot(Plot):
    """``model.plot.bar()``: coefficients with the 95 % interval of the privacy noise; mock values are hatched."""

    def __init__(self, model: k.LinearRegression) -> None:
        super().__init__(Bars.of(model))
        self._model = model

    def bar(self, *, scaled: bool = False, ax: Any = None, title: str | None = None, **options: Any) -> Any:
        """Draw vertical bars; returns the axes.

        Args:
            scaled: Show what a feature changes between its public bounds, so that features in different units compare.
            ax: Axes to draw on.
            title: Instead of what is shown and by which enclave.
            options: Of ``matplotlib``'s bars.
        """
        return Plot(Bars.of(self._model, scaled=scaled)).bar(ax=ax, title=title, **options)

    def barh(self, *, scaled: bool = False, ax: Any = None, title: str | None = None, **options: Any) -> Any:
        """Draw horizontal bars; see ``bar``."""
        return Plot(Bars.of(self._model, scaled=scaled)).barh(ax=ax, title=title, **options)

    __call__ = bar


def score(gram: Gram) -> float:
    """Return R2 from a Gram of (residual, target), as a number that knows its release."""
    offset, scale = (float(part.iloc[0]) / float(gram.scales.iloc[1]) for part in (gram.offsets, gram.scales))
    value, error = ridge.explained(gram.matrix.to_numpy(), np.array([offset, scale, 0.0]), gram.stderr)
    ends = (max(value - NORMAL_95 * error, 0.0), min(value + NORMAL_95 * error, 1.0))
    parts = {"value": value, "stderr": error, "low": ends[0], "high": ends[1]}
    doubtful = {"unreliable": np.array([gram.n < ridge.RELIABLE * ridge.noise_level(gram.stderr, 3)])}
    return release.number({name: np.array([part]) for name, part in parts.items()} | doubtful, gram.fact)
