"""diffprivlib's logistic regression (objective perturbation, pure epsilon), the rows' public norm, and ``C`` chosen."""

from __future__ import annotations

import warnings

import numpy as np
from diffprivlib.models import LogisticRegression
from learning_task import one_hot, run

warnings.filterwarnings("ignore")
# The inverse of the penalty; its default is 1.
GRID = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
SETTINGS = {"adult": {0.5: 1e-3, 1.0: 1e-3, 4.0: 1e-2}, "credit": {0.5: 1e-4, 1.0: 1e-3, 4.0: 1e-3}}


def score(fit, y, test, widths, epsilon, seed, setting):  # noqa: PLR0917 (as ``answer`` calls it)
    model = LogisticRegression(
        epsilon=epsilon,
        data_norm=float(np.sqrt(len(widths))),
        C=setting,
        random_state=seed,
        max_iter=300,
    )
    return model.fit(one_hot(fit, widths).astype(float), y).decision_function(one_hot(test, widths).astype(float))


if __name__ == "__main__":
    run(score, SETTINGS, GRID)
