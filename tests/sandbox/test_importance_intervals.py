"""What the intervals of a drop importance hold: the noise of the evaluations, and that of the trainings.

The plan's own program is trained on simulated rows with its noise drawn anew each time, beside evaluations with theirs,
both at the price that ``drop_importance`` gives them.
"""

from __future__ import annotations

import dataclasses
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "plan"))

import learning_rows

from cloister.plan import algebra as a
from cloister.sandbox.learn.metrics import importance, spec
from cloister.sandbox.learn.metrics.counts import Counts
from cloister.sandbox.learn.model_selection.trials import FIT_PART

DRAWS = int(os.environ.get("CLOISTER_STUDIES", "150"))
NEEDED = 0.95 - 3 * math.sqrt(0.95 * 0.05 / DRAWS)
EDGES = np.linspace(-6.0, 6.0, 49)
AUC = spec.roc_auc()


@dataclasses.dataclass
class _Binned:
    """As many bins as a classifier is counted in."""

    bins: int = len(EDGES) - 1


@dataclasses.dataclass
class _Figure:
    value: float
    stderr: float
    low: float
    high: float
    unreliable: bool


class People:
    """Simulated people, half of them to train on: ``features`` categories, of which the first two say something.

    Args:
        features: How many.
        labels: Of each.
        count: How many people.
        rho: The price of a training; an evaluation gets its part.
    """

    def __init__(self, features: int, labels: int, count: int, rho: float) -> None:
        rng = np.random.default_rng(3)
        self.codes = rng.integers(0, labels, (2 * count, features))
        place = self.codes / (labels - 1) * 2 - 1
        odds = np.exp(2 * place[:, 0] + place[:, 1])
        self.y = (rng.random(2 * count) < odds / (1 + odds)).astype(int)
        self.labels, self.count, self.rho = labels, count, rho
        self.sigma = math.sqrt(float(FIT_PART / (1 - FIT_PART)) / (2 * rho))

    def evaluated(self, columns: Sequence[int], seed: int) -> np.ndarray:
        """Return the exact counts of a test, by score and class, of a model trained with noise on some features."""
        coded = learning_rows.encoding(*[("labels", self.labels)] * len(columns))
        codes = [self.codes[: self.count, column].tolist() for column in columns]
        data = learning_rows.rows(coded, codes, self.y[: self.count].tolist())
        model: Any = learning_rows.trained(a.Logistic(steps=6), coded, data, self.rho, learning_rows.noisy(seed))
        weights = np.array(model.weights[0]) / model.scale
        places = 1 + np.arange(len(columns)) * self.labels + self.codes[self.count :][:, list(columns)]
        score = np.clip(weights[0] + weights[places].sum(axis=1), -5.9, 5.9)
        truth = self.y[self.count :]
        return np.stack([np.histogram(score[truth == label], EDGES)[0] for label in (0, 1)], axis=1).astype(float)


def _released(counts: np.ndarray, sigma: float, rng: np.random.Generator) -> _Figure:
    noisy = counts + np.rint(rng.normal(0.0, sigma, counts.shape))
    parts = AUC.parts(Counts(noisy[None], sigma, _Binned(), None, None), population=False)  # type: ignore[arg-type]
    return _Figure(**{name: parts[name][0] for name in ("value", "stderr", "low", "high", "unreliable")})


def test_intervals_hold_the_falls_of_these_models_and_of_models_that_are_trained_again() -> None:
    people, rng = People(features=3, labels=4, count=1_500, rho=0.02), np.random.default_rng(5)
    these, again, before = [], [], None
    for draw in range(DRAWS):
        whole, held = people.evaluated((0, 1, 2), 2 * draw), people.evaluated((0, 2), 2 * draw + 1)
        truth = float(AUC.value(whole) - AUC.value(held))
        first, second = (_released(counts, people.sigma, rng) for counts in (whole, held))
        plain, wide = (importance.fall(first, second, wider) for wider in (1.0, importance.TRAINED))
        these.append(plain["low"] <= truth <= plain["high"])
        if before is not None:
            again.append(wide["low"] <= before <= wide["high"])
        before = truth
    assert np.mean(these) >= NEEDED, np.mean(these)
    # No wider than needed: noise is what there is.
    assert np.mean(these) < 1
    assert np.mean(again) >= NEEDED, np.mean(again)


@pytest.mark.parametrize(("features", "labels", "rho"), [(3, 2, 0.02), (6, 8, 0.02)])
def test_the_noise_of_trainings_is_as_small_beside_that_of_evaluations_as_is_allowed_for(
    features: int, labels: int, rho: float
) -> None:
    people, rng = People(features, labels, 1_500, rho), np.random.default_rng(6)
    tables = [people.evaluated(range(features), seed) for seed in range(16)]
    trainings = np.std([float(AUC.value(table)) for table in tables], ddof=1)
    noisy = tables[0] + np.rint(rng.normal(0.0, people.sigma, (400, *tables[0].shape)))
    evaluations = np.std(np.clip(AUC.value(noisy), 0, 1))
    # Both falls, that of these models and that of others, have the noise of their trainings.
    needed = math.hypot(1.0, math.sqrt(2.0) * trainings / evaluations)
    assert 1.0 < needed <= importance.TRAINED, needed


def test_reaches_to_either_side_are_kept_apart() -> None:
    whole, held = _Figure(0.8, 0.05, 0.6, 0.85, False), _Figure(0.7, 0.05, 0.65, 0.8, False)
    fall = importance.fall(whole, held)
    assert fall["value"] == pytest.approx(0.1)
    assert fall["low"] == pytest.approx(0.1 - math.hypot(0.2, 0.1))
    assert fall["high"] == pytest.approx(0.1 + math.hypot(0.05, 0.05))
    assert importance.fall(whole, held, 2)["stderr"] == pytest.approx(2 * fall["stderr"])
