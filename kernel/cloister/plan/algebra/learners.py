"""Learners: what a ``Fit`` can train, with public parameters. Every default is independent of data.

A learner says what is asked of the rows, never how: ``plan/learning`` derives its integer vector sums from plan and
card, and the model from what was released.
"""

from __future__ import annotations

from cloister.plan.algebra.scalars import Node


class Logistic(Node, frozen=True, tag="logistic"):
    """Logistic regression by preconditioned, accelerated descent; multinomial if the target has more than two classes.

    Attributes:
        steps: How many clipped gradients are released.
        gram: The part of the price that a Gram of the features takes (the preconditioner); the gradients share the
            rest evenly.
        penalty: The ridge penalty per row on every weight but the intercept, features scaled to [-1, 1].
    """

    steps: int = 40
    gram: str = "1/10"
    penalty: str = "0"


class Additive(Node, frozen=True, tag="additive"):
    """An additive model: a weight per label of every feature, boosted feature by feature.

    Attributes:
        rounds: How often every feature is visited, at most (a fit has a largest number of steps).
        smoothing: How alike the weights of neighbouring bins are: a difference of 1 / ``smoothing`` between two of them
            weighs as much as the noise in a sum.
        shrinkage: How small weights of rare labels are: the square of the noise over the square of a weight as expected
            before the rows are seen.
    """

    rounds: int = 15
    smoothing: str = "2"
    shrinkage: str = "3"


class KMeans(Node, frozen=True, tag="kmeans"):
    """Lloyd's algorithm from public first centres; there is no target.

    Attributes:
        clusters: How many centres.
        steps: How many times rows are assigned to the nearest centre; the first quarter of them to more centres, of
            which the clusters are put together.
        seed: Of the first centres, which depend on it and on the encoding alone.
    """

    clusters: int
    steps: int = 8
    seed: int = 0


Learner = Logistic | Additive | KMeans
