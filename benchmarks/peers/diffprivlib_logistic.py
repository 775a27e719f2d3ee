"""diffprivlib's logistic regression (objective perturbation, pure epsilon), its defaults and the rows' public norm."""

from __future__ import annotations

import warnings

import numpy as np
from diffprivlib.models import LogisticRegression
from learning_task import answer, one_hot

warnings.filterwarnings("ignore")


def score(fit, y, test, widths, epsilon, seed):  # noqa: PLR0917 (as ``answer`` calls it)
    model = LogisticRegression(epsilon=epsilon, data_norm=float(np.sqrt(len(widths))), random_state=seed, max_iter=300)
    return model.fit(one_hot(fit, widths).astype(float), y).decision_function(one_hot(test, widths).astype(float))


if __name__ == "__main__":
    answer(score)
