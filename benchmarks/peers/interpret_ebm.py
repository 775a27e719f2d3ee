"""interpret's DP-EBM at its defaults: Gaussian noise, composed as GDP; the labels as nominal features, closed."""

from __future__ import annotations

import warnings

import numpy as np
from interpret.privacy import DPExplainableBoostingClassifier
from learning_task import DELTA, answer

warnings.filterwarnings("ignore")


def score(fit, y, test, widths, epsilon, seed):  # noqa: PLR0917 (as ``answer`` calls it)
    # Ordered and unordered labels alike are categories to it: their codes as text, bins weighed by its own noise.
    names = [f"x{index}" for index in range(len(widths))]
    model = DPExplainableBoostingClassifier(
        feature_names=names,
        feature_types=["nominal"] * len(widths),
        epsilon=epsilon,
        delta=DELTA,
        random_state=seed,
        n_jobs=1,
        privacy_bounds=dict.fromkeys(names, (0.0, 1.0)),
    )
    return model.fit(fit.astype(str), y).decision_function(np.asarray(test).astype(str))


if __name__ == "__main__":
    answer(score)
