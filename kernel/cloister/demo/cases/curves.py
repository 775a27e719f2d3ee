"""How well a score ranks, from released counts of both outcomes by score band: AUC and KS with intervals."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cloister.demo.cases.verdict import Measured

_DRAWS = 4_000
_SEED = 7


class Ranking(NamedTuple):
    """What counts by score band say about a score.

    ``auc`` is the chance that a random positive has the higher score, ``ks`` the largest distance of the two
    cumulative shares. ``low`` and ``high`` bound the AUC at 95 %: privacy noise of the counts and sampling together.
    """

    auc: float
    low: float
    high: float
    ks: float

    def __str__(self) -> str:
        return f"AUC {self.auc:.3f} [{self.low:.3f}, {self.high:.3f}], KS {self.ks:.2f}"

    def measured(self, name: str) -> Measured:
        """Return the AUC for a verdict."""
        return Measured(name, self.auc, self.low, self.high)


def ranking(counts: pd.DataFrame, stderr: pd.DataFrame | None = None) -> Ranking:
    """Return how well a score ranks.

    Args:
        counts: A released table of counts, such as ``cl.crosstab(band, outcome)``: bands from the lowest score to the
            highest as rows, the columns False and True. Its standard errors are those of its release.
        stderr: The standard errors, if the counts are a part of a release that no longer knows them.

    The interval is simulated: counts are drawn anew around the released ones with their noise and with the sampling
    error of a count (Poisson), always from the same seed, so that a replay shows the same digits.
    """
    shown = _both(counts)
    release: Any = getattr(counts, "release", None)
    errors = stderr if stderr is not None or release is None else release.stderr
    noise = np.zeros_like(shown) if errors is None else _both(errors)
    rng = np.random.default_rng(_SEED)
    again = rng.poisson(shown, (_DRAWS, *shown.shape)) + rng.normal(0.0, 1.0, (_DRAWS, *shown.shape)) * noise
    # Noise may draw counts below 0, and so areas above 1.
    low, high = np.clip(np.quantile([_auc(drawn) for drawn in again], [0.025, 0.975]), 0.0, 1.0)
    below = np.cumsum(shown, axis=0) / shown.sum(axis=0)
    return Ranking(_auc(shown), float(low), float(high), float(np.abs(below[:, 0] - below[:, 1]).max()))


def roc(counts: pd.DataFrame) -> pd.DataFrame:
    """Return the ROC curve of released counts by band: false and true positive rates from (0, 0) to (1, 1)."""
    shown = _both(counts)[::-1]
    rates = np.vstack([[0.0, 0.0], np.cumsum(shown, axis=0) / shown.sum(axis=0)])
    return pd.DataFrame(rates, columns=["false positives", "true positives"])


def _both(table: pd.DataFrame) -> np.ndarray:
    """Return the columns False and True; a list of the two would choose rows."""
    return np.column_stack([table[outcome].to_numpy(dtype=float) for outcome in (False, True)])


def _auc(counts: np.ndarray) -> float:
    negatives, positives = counts[:, 0], counts[:, 1]
    below = np.concatenate([[0.0], np.cumsum(negatives)[:-1]])
    return float((positives * (below + negatives / 2)).sum() / negatives.sum() / positives.sum())
