"""A noisy Gram matrix: one release that holds means, covariances, correlations and every linear model.

``sum z z'`` over rows, with ``z = (1, x1, ..., xd)`` and each feature scaled to [-1, 1] by its public bounds, is
released once with one noise level; everything else is computed from it on this side, at no further cost.
``cloister.learn`` builds its models on it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from cloister.errors import PlanError
from cloister.plan import algebra
from cloister.sandbox import ridge
from cloister.sandbox.answer import Answer, Fact
from cloister.sandbox.ask import Ask, Terminal
from cloister.sandbox.frame import Frame

MEASURE = "gram"


@dataclasses.dataclass(frozen=True, repr=False)
class Gram:
    """A released noisy Gram matrix.

    Attributes:
        matrix: ``sum z z'`` with the scaled features; the first row and column belong to the constant.
        stderr: Standard deviation of the noise of every entry (upper triangle; the matrix is symmetric).
        offsets: ``x = offset + scale * z`` turns a scaled feature back.
        scales: See ``offsets``.
        fact: Price, receipt and mode of the release.
    """

    matrix: pd.DataFrame
    stderr: float
    offsets: pd.Series
    scales: pd.Series
    fact: Fact

    @property
    def n(self) -> float:
        """The noisy number of rows without missing values."""
        return float(self.matrix.to_numpy()[0, 0])

    def mean(self) -> pd.Series:
        """Means of the features, in their own units."""
        self._enough()
        return self.offsets + self.scales * (self.matrix.iloc[0, 1:] / self.n)

    def cov(self) -> pd.DataFrame:
        """Covariances of the features (divided by n), in their own units; post-processing, so free."""
        self._enough()
        centre = self.matrix.iloc[0, 1:].to_numpy() / self.n
        spread = self.matrix.iloc[1:, 1:].to_numpy() / self.n - np.outer(centre, centre)
        scale = self.scales.to_numpy()
        return pd.DataFrame(spread * np.outer(scale, scale), self.scales.index, self.scales.index)

    def std(self) -> pd.Series:
        """Standard deviations; NaN where the noise exceeds the variance."""
        variance = pd.Series(np.diag(self.cov()), self.scales.index)
        return variance.where(variance > 0) ** 0.5

    def corr(self) -> pd.DataFrame:
        """Correlations, limited to [-1, 1]."""
        std = self.std().to_numpy()
        return pd.DataFrame(self.cov().to_numpy() / np.outer(std, std), self.scales.index, self.scales.index).clip(
            -1, 1
        )

    def ridge(self, target: str, *, alpha: float | None = None) -> pd.Series:
        """Coefficients of a ridge regression of ``target`` on the other features, with an intercept.

        Args:
            target: One of the columns of the Gram.
            alpha: Penalty on the scaled coefficients; by default the size of the noise (``ridge.penalty``).
        """
        if target not in self.scales.index:
            raise PlanError("api.gram", f"{target!r} is not a column of this Gram", nearest=tuple(self.scales.index))
        self._enough()
        names = [name for name in self.scales.index if name != target]
        if not names:
            raise PlanError("api.gram", "a regression needs at least one more column")
        kept = ["1", *names]
        both = [*kept, target]
        scaled = ridge.solve(self.matrix.loc[both, both].to_numpy(), self.stderr, alpha).beta
        slopes = scaled[1:] * self.scales[target] / self.scales[names].to_numpy()
        start = self.offsets[target] + self.scales[target] * scaled[0] - float(slopes @ self.offsets[names].to_numpy())
        return pd.Series([start, *slopes], ["intercept", *names])

    def _enough(self) -> None:
        if self.n < 3 * self.stderr:
            raise PlanError(
                "api.gram", "too few rows for the noise: nothing can be computed", next_step="ask with more epsilon"
            )

    def __repr__(self) -> str:
        from cloister.sandbox import render  # noqa: PLC0415 (only when shown)

        return render.gram_text(self)


def _gram(frame: Frame, columns: Sequence[str] | None = None) -> Ask[Gram]:
    """Release a noisy Gram matrix of number columns (rows with a missing value are skipped).

    Takes ``epsilon=`` or ``share=`` like every release; ``cl.gram.cost(...)`` tells the price.

    Args:
        frame: A table handle.
        columns: Number or condition columns; by default all of them.

    Raises:
        PlanError: Not a handle, or a column that is not a number.
    """
    if not isinstance(frame, Frame):
        raise PlanError("api.gram", "a Gram is asked of a table handle", nearest=('cl.gram(visits, ["age", "bmi"])',))
    numbers = [name for name, term in frame._columns.items() if term.grid.kind in {"number", "bool"}]
    names = numbers if columns is None else [frame._need(name) for name in columns]
    wrong = [name for name in names if name not in numbers]
    if wrong or not names:
        raise PlanError(
            "api.gram",
            f"not numbers: {', '.join(wrong) or 'no column'}",
            nearest=(f"cl.gram({frame._rows.label}, {numbers[:3]!r})",),
        )
    return ask(Frame(frame._rows, {name: frame._columns[name] for name in names}))


def ask(frame: Frame) -> Ask[Gram]:
    """Return the question for the Gram of all columns of ``frame``, which are numbers or conditions."""
    names = list(frame._columns)
    measure = algebra.Gram(MEASURE, tuple(frame._columns[name].scalar for name in names))

    def present(answer: Answer) -> Gram:
        found = answer.measure(MEASURE)
        labels = ["1", *names]
        return Gram(
            pd.DataFrame(np.array(found.matrices[0]), labels, labels),
            found.stderr[0],
            pd.Series(found.offsets, names),
            pd.Series(found.scales, names),
            answer.fact,
        )

    return Ask(frame._rows, (measure,), present)


gram: Terminal[Gram] = Terminal(_gram)
