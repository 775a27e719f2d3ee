"""What every learner is given: the same encoded rows, splits and epsilons. NumPy only.

A runner is called as ``python RUNNER.py learning-TABLE.npz SEED:EPSILON ...`` and prints one JSON object per model:
``{"seed", "epsilon", "auc", "loss"}``. The file holds ``codes`` (rows by features), ``widths`` (labels per feature) and
``y``. Settings are chosen in the peer's favour, per table and epsilon, at no charge: the best AUC of ``python RUNNER.py
learning-TABLE.npz --choose``, which fits on 80 % of the rows to fit of the first pinned split and looks at the rest of
them, never at its rows to test. Nobody could choose so without paying.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

DELTA = 1e-6


def split(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the pinned 80/20 split: to fit and to test."""
    order = np.random.default_rng(seed).permutation(count)
    return order[: count * 4 // 5], order[count * 4 // 5 :]


def one_hot(codes: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Return one column per label."""
    starts = np.concatenate([[0], np.cumsum(widths)[:-1]])
    found = np.zeros((len(codes), int(widths.sum())), np.float32)
    found[np.arange(len(codes))[:, None], codes + starts] = 1
    return found


def auc(y: np.ndarray, score: np.ndarray) -> float:
    """Return the area under the ROC curve; ties count half."""
    _, place, size = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(size) - (size - 1) / 2)[place]
    ones = int((y == 1).sum())
    return float((rank[y == 1].sum() - ones * (ones + 1) / 2) / (ones * (len(y) - ones)))


def loss(y: np.ndarray, score: np.ndarray) -> float:
    """Return the mean log loss of log odds."""
    return float(np.mean(np.logaddexp(0.0, np.where(y == 1, -score, score))))


def measured(y: np.ndarray, score: np.ndarray) -> dict[str, float]:
    """Return what is measured of the scores of a model."""
    return {"auc": auc(y, score), "loss": loss(y, score)}


# ``score(codes to fit, y, codes to test, widths, epsilon, seed)``, and a setting if there are any.
Score = Callable[..., np.ndarray]
Settings = dict[str, dict[float, Any]]


def answer(score: Score, settings: Settings | None = None) -> None:
    """Print what is measured in every case."""
    codes, widths, y = _rows()
    for case in sys.argv[2:]:
        seed, text = case.split(":")
        fit, test = split(len(y), int(seed))
        more = (settings[_table()][float(text)],) if settings else ()
        found = score(codes[fit], y[fit], codes[test], widths, float(text), int(seed), *more)
        print(json.dumps({"seed": int(seed), "epsilon": text, **measured(y[test], found)}), flush=True)


def run(score: Score, settings: Settings, grid: Iterable[Any]) -> None:
    """Answer with the settings; or print what is measured of every other one, the best of an epsilon last."""
    if sys.argv[2] != "--choose":
        answer(score, settings)
        return
    codes, widths, y = _rows()
    outer, _ = split(len(y), 0)
    fit, look = (outer[part] for part in split(len(outer), 0))
    for epsilon in settings[_table()]:
        found = []
        for setting in grid:
            scores = score(codes[fit], y[fit], codes[look], widths, epsilon, 0, setting)
            found.append((auc(y[look], scores), setting))
            print(json.dumps([epsilon, *found[-1]]), flush=True)
        print("best:", json.dumps([epsilon, *max(found)]), flush=True)


def _table() -> str:
    return Path(sys.argv[1]).stem.removeprefix("learning-")


def _rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with np.load(sys.argv[1]) as rows:
        return rows["codes"], rows["widths"], rows["y"]
