"""What the noise of every learner and figure comes to, before it is asked: one function for each kind of question.

Noise of a vector sum is turned into the error of what is read from it by what the sum is divided by: how many rows
there can be, evenly over classes, clusters and levels, in columns that spread as columns do (``SPREAD``). From which
error on an answer says something is a constant of each: a model that would be called unreliable at its best, a figure
between 0 and 1 known to a tenth, a count known to a third.
"""

from __future__ import annotations

import math
import statistics
from typing import Any, assert_never

import numpy as np

from cloister.plan import algebra as a
from cloister.plan.learning.additive import AdditiveProgram
from cloister.plan.learning.encoding import SCALE, Block, ordered
from cloister.plan.learning.kmeans import KMeansProgram
from cloister.plan.learning.logistic import LogisticProgram
from cloister.plan.learning.queries import RESIDUAL
from cloister.sandbox import ridge
from cloister.sandbox.doubts import Expected, Expects, Noise, number, worst
from cloister.sandbox.learn.features import Feature, columns
from cloister.sandbox.terms import Term

SPREAD = 0.4
"""Standard deviation of a number in half ranges: a fifth of its range."""
FIGURE = 0.1
"""The largest error of a figure between 0 and 1 that is of use."""
ERROR, SQUARE = 0.05, 0.02
"""The largest error of a mean absolute and of a mean squared error, as a part of what it can be."""
PART = 1 / 3
"""The largest error of a count, as a part of it."""
PLACE = 0.1
"""The largest error of a mean or centre, as a part of the range."""
LOG_ODDS = 1.0
"""The largest error of a weight, in log odds between the lowest and the highest value of a feature."""
# The part of the iterates that a fit is the mean of, in noise.
_KEPT = 0.75


# Models of a Gram ----------------------------------------------------------------------------------------


def linear(features: tuple[Feature, ...], target: str, alpha: float | None) -> Expects:
    """Of a linear regression the error of a coefficient; it is of use where the model would be marked as reliable.

    Args:
        features: What it is made from.
        target: What it predicts.
        alpha: Its penalty; by default that of the noise.
    """
    gram = _even_gram(features)

    def expects(noise: Noise) -> Expected:
        stderr, size = noise.error, len(gram)
        penalty = ridge.penalty(stderr, size) if alpha is None else alpha
        values, vectors = np.linalg.eigh(noise.rows * gram)
        # Of every column that of its own; of the noise alone, without what the penalty keeps small.
        errors = stderr * np.sqrt((vectors**2 / np.maximum(values, 1e-300) ** 2).sum(axis=1))
        text = "a coefficient, over the range of its feature, would be known to about ±"
        lifted = np.linalg.eigvalsh(noise.rows * gram + np.diag([0.0] + [penalty] * (size - 1)))
        margin = max(float(lifted[0]), 0.0) / ridge.noise_level(stderr, size)
        known = f"{text} {_part(float(np.median(errors[1:])))} the range of {target}"
        return Expected(ridge.RELIABLE / max(margin, 1e-300), 1.0, known, "fewer features")

    return expects


def components(features: tuple[Feature, ...]) -> Expects:
    """Of principal components the error of the largest variance."""
    spread = statistics.median(_even_gram(features).diagonal()[1:])

    def expects(noise: Noise) -> Expected:
        error = noise.error / (noise.rows * spread)
        text = f"the variance of a component would be known to about ± {_part(error)} itself"
        return Expected(error, 1 / 2, text, "fewer features")

    return expects


def explained(name: str, ratio: float = 1.0, grams: int = 1, helps: str = "") -> Expects:
    """Of a share of variance its error, if the target spreads over a fifth of its range.

    Args:
        name: What it is called.
        ratio: The range of the residual, in ranges of the target.
        grams: How many Gram matrices are added up.
        helps: What would do beside more epsilon.
    """
    others = "predictions clipped to the range of the target" if ratio > 1 else "more rows"

    def expects(noise: Noise) -> Expected:
        error = noise.error * math.sqrt(grams) * math.hypot(ratio**2, 1.0) / (noise.rows * SPREAD**2)
        return Expected(error, FIGURE, figure(name, error, of_one=True), helps or others)

    return expects


# Models of a fit -----------------------------------------------------------------------------------------


def fit(learner: a.Learner) -> tuple[str, Expects]:
    """Return what a fit is called, and of it the error of what it is made of, as its program uses its steps."""
    match learner:
        case a.Logistic():
            return "a LogisticRegression", _logistic
        case a.Additive():
            return "an AdditiveClassifier", _additive
        case a.KMeans():
            return "k-means clusters", _kmeans
        case _:
            assert_never(learner)


def _program(noise: Noise) -> Any:
    if noise.layout.fitted is None:
        raise ValueError("a fit has a program")
    return noise.layout.fitted.program


def _weights(program: Any, noise: Noise, level: float, helps: str) -> Expected:
    """Return what would be known of weights, or of how many rows there are of each class, as both start from that."""
    unit, outputs = RESIDUAL * SCALE, program.outputs
    held = noise.rows * (program.clip / RESIDUAL / 2 if outputs == 1 else (1 - 1 / outputs) / outputs)
    error = statistics.median(_weight(block, level, held) for block in program.coded.blocks)
    text = f"a weight, over the range of its feature or of a label, would be known to about ± {number(error)} log odds"
    weights = Expected(error, LOG_ODDS, text, helps)
    # The first step counts the rows, the second how many more than their even share each class has.
    rows = noise.stderr[0] / noise.layout.components[0].hi
    each, off = noise.rows / max(outputs, 2), math.hypot(noise.stderr[1] / unit, rows / max(outputs, 2))
    text = f"how many rows each class has would be known to about ± {number(off)}, of {number(each)} on average"
    return worst([weights, Expected(off / each, PART, text, "fewer labels" if outputs > 1 else "more rows")])


def _logistic(noise: Noise) -> Expected:
    program: LogisticProgram = _program(noise)
    level = noise.stderr[-1] / (RESIDUAL * SCALE) / math.sqrt(_KEPT * program.learner.steps)
    return _weights(program, noise, level, "fewer features or labels")


def _additive(noise: Noise) -> Expected:
    program: AdditiveProgram = _program(noise)
    level = noise.stderr[-1] / (RESIDUAL * SCALE) / math.sqrt(program.rounds)
    return _weights(program, noise, level, "fewer features or wider bins")


def _kmeans(noise: Noise) -> Expected:
    program: KMeansProgram = _program(noise)
    # A sum of half ranges, over an even part of the rows.
    error = noise.stderr[-1] / SCALE / (noise.rows / program.learner.clusters) / 2
    text = f"a centre would be known to about ± {_part(error)} the range of every feature"
    return Expected(error, PLACE, text, "fewer clusters or features")


def _weight(block: Block, level: float, rows: float) -> float:
    """Return the error of the weight of a feature, from its lowest to its highest value, or of a label."""
    if not block.labels:
        return 2 * level / (rows * SPREAD**2)
    if ordered(block) == block.width:
        # Of a straight line through the bins.
        return 2 * level * math.sqrt(block.width / 3) / (rows * SPREAD**2)
    share = 1 / block.width
    return level / (rows * share * (1 - share))


# Models of counts and moments ------------------------------------------------------------------------------


def means(classes: int) -> Expects:
    """Of the means of features in every class their error."""

    def expects(noise: Noise) -> Expected:
        rows = noise.rows / classes
        parts = zip(noise.layout.components, noise.stderr, strict=True)
        # In half ranges: what one row adds at most.
        errors = [value / float(part.hi * part.step) / rows / 2 for part, value in parts if part.role == "centred"]
        text = f"the mean of a feature in one of {classes} classes would be known to about ± {_part(max(errors))}"
        return Expected(max(errors), PLACE, f"{text} its range", "fewer features")

    return expects


def counts(cells: float, helps: str = "fewer columns or wider bins", of: str = "") -> Expects:
    """Of counts their error, if the rows were spread evenly.

    Args:
        cells: How many counts the rows are spread over.
        helps: What would do beside more epsilon.
        of: What is counted.
    """

    def expects(noise: Noise) -> Expected:
        each = noise.rows / cells
        (error,) = {
            value for part, value in zip(noise.layout.components, noise.stderr, strict=True) if part.role == "count"
        }
        text = f"each of {cells:,.0f} counts{of} would be known to about ± {number(error)} rows"
        return Expected(error / each, PART, f"{text}, of {number(each)} on average", helps)

    return expects


# Figures -------------------------------------------------------------------------------------------------


def mean(name: str, width: float, most: float) -> Expects:
    """Of a mean its error.

    Args:
        name: What it is called.
        width: What it can be at most.
        most: The largest error that is of use, as a part of that.
    """

    def expects(noise: Noise) -> Expected:
        error = noise.error / width
        groups = " in each group" if noise.layout.cells > 1 else ""
        return Expected(
            error,
            most,
            f"{figure(name, error * width, of_one=width == 1)}{groups}",
            "fewer groups" if groups else "more rows" if width == 1 else "a narrower limit=",
        )

    return expects


def share(name: str, cells: int) -> Expects:
    """Of a share of a table of counts its error."""

    def expects(noise: Noise) -> Expected:
        error = max(noise.stderr) * math.sqrt(cells) / 2 / noise.rows
        return Expected(error, FIGURE, figure(name, error, of_one=True), "fewer labels")

    return expects


def ranks(bins: int) -> Expects:
    """Of quantiles the error of their rank: the noise of the best of many candidates, each compared by its rank."""

    def expects(noise: Noise) -> Expected:
        errors = []
        for part, sigma in zip(noise.layout.components, noise.sigmas, strict=True):
            if part.role == "quantile":
                # The largest of so many Gumbel draws.
                errors.append(sigma / part.parts * (math.log(max(part.candidates, 2)) + 0.577))
        error, each = max(errors), noise.rows / bins
        text = f"an edge would be off by about ± {number(error)} rows, and a bin has {number(each)} rows"
        return Expected(error / each, PART, text, "fewer bins or columns")

    return expects


def _even_gram(features: tuple[Feature, ...]) -> np.ndarray:
    """Return the Gram of a row on average, if rows are spread evenly over labels, and numbers over their range."""
    found = list(columns(features))
    means, labels = np.zeros(1 + len(found)), np.ones(1 + len(found))
    gram = np.eye(1 + len(found))
    for place, column in enumerate(found, 1):
        if column.role == "level":
            labels[place] = max(len(column.feature.levels), 2)
            means[place] = 2 / labels[place] - 1
        elif column.role == "value" and column.feature.kind == "number":
            gram[place, place] = SPREAD**2
    both = np.outer(means, means)
    for place, one in enumerate(found, 1):
        for other in range(1, place):
            if one.role == found[other - 1].role == "level" and one.feature is found[other - 1].feature:
                # Of two labels of a category a row has one, or neither.
                both[place, other] = both[other, place] = 1 - 4 / labels[place]
    both[0, :] = both[:, 0] = means
    np.fill_diagonal(both, gram.diagonal())
    return both


def spans(rest: Term, target: Term) -> float:
    """Return the range of a residual in ranges of the target."""
    return float((rest.grid.hi - rest.grid.lo) * rest.grid.step) / float(
        (target.grid.hi - target.grid.lo) * target.grid.step
    )


def figure(name: str, error: float, *, of_one: bool = False) -> str:
    """Return what would be known of a figure, and how well; ``of_one``: one between 0 and 1."""
    return f"{name} would be known to about ± {number(error)}{' (it is between 0 and 1)' if of_one else ''}"


def _part(part: float) -> str:
    return f"{number(part)} times" if part >= 1 else f"{number(100 * part)} % of"
