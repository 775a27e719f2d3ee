"""What every learner is given: the same encoded rows, splits and epsilons. NumPy only.

A runner is called as ``python RUNNER.py ROWS.npz SEED:EPSILON ...`` and prints one JSON object per model: ``{"seed",
"epsilon", "auc", "loss"}``. ``ROWS.npz`` holds ``codes`` (rows by features), ``widths`` (labels per feature) and ``y``.

Runners with settings to choose have one per epsilon for all tables, chosen in the peer's favour and at no charge: the
best mean AUC of ``python RUNNER.py --choose SEEDS ROWS.npz ...``, which fits on 80 % of the rows to fit of the first
pinned splits and looks at the rest of them, never at the rows to test. Nobody could choose so without paying.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
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


Score = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float, int], np.ndarray]
Settings = dict[float, Any]


def answer(score: Score) -> None:
    """Print what is measured of ``score(codes to fit, y, codes to test, widths, epsilon, seed)`` in every case."""
    with np.load(sys.argv[1]) as rows:
        codes, widths, y = rows["codes"], rows["widths"], rows["y"]
    for case in sys.argv[2:]:
        seed, text = case.split(":")
        fit, test = split(len(y), int(seed))
        found = score(codes[fit], y[fit], codes[test], widths, float(text), int(seed))
        print(json.dumps({"seed": int(seed), "epsilon": text, **measured(y[test], found)}), flush=True)


def choose(score: Callable[..., np.ndarray], settings: Settings, grid: Iterable[Any]) -> None:
    """Print the mean AUC, over the tables and seeds asked for, of every setting at every epsilon, and the best one."""
    tables = []
    for path in sys.argv[3:]:
        with np.load(path) as rows:
            tables.append((rows["codes"], rows["widths"], rows["y"]))
    for epsilon in settings:
        found = []
        for setting in grid:
            means = []
            for codes, widths, y in tables:
                values = []
                for seed in range(int(sys.argv[2])):
                    outer, _ = split(len(y), seed)
                    fit, look = (outer[part] for part in split(len(outer), seed))
                    values.append(auc(y[look], score(codes[fit], y[fit], codes[look], widths, epsilon, seed, setting)))
                means.append(round(float(np.mean(values)), 4))
            found.append((float(np.mean(means)), setting, means))
            print(json.dumps([epsilon, *found[-1]]), flush=True)
        print("best", json.dumps([epsilon, *max(found)]), flush=True)
