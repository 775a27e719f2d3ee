"""Measures, and the primitives that leave the vault: vectors of integers with noise, and threshold keys."""

from __future__ import annotations

from typing import Literal

from cloister.plan.algebra.learners import Learner
from cloister.plan.algebra.relations import Relation
from cloister.plan.algebra.scalars import Node, Scalar


class Count(Node, frozen=True, tag="count"):
    """Rows (``of`` absent) or rows where ``of`` is not null."""

    name: str
    of: Scalar | None = None


class Sum(Node, frozen=True, tag="sum"):
    """Sum of a bounded number or of True values; null counts as nothing."""

    name: str
    of: Scalar


class Mean(Node, frozen=True, tag="mean"):
    """Mean of the non-null values (a rate, if boolean): a centred sum and a count in one vector."""

    name: str
    of: Scalar


class Gram(Node, frozen=True, tag="gram"):
    """Upper triangle of ``sum z z'`` with ``z = (1, x1, ..., xd)``, each scaled to [-1, 1] by its bounds.

    Rows with a null in any term are skipped. One sigma for the whole triangle.
    """

    name: str
    of: tuple[Scalar, ...]


class Units(Node, frozen=True, tag="units"):
    """Distinct units."""

    name: str


class Ratio(Node, frozen=True, tag="ratio"):
    """Sum of one bounded number over the sum of another, over the rows where neither is null."""

    name: str
    of: Scalar
    over: Scalar


class Variance(Node, frozen=True, tag="variance"):
    """Variance of the non-null values, or its square root; ``ddof`` as in pandas."""

    name: str
    of: Scalar
    root: bool = False
    ddof: Literal[0, 1] = 1


class Covariance(Node, frozen=True, tag="covariance"):
    """Covariance of two numbers over the rows where neither is null, or their correlation."""

    name: str
    of: tuple[Scalar, Scalar]
    correlation: bool = False
    ddof: Literal[0, 1] = 1


class Quantile(Node, frozen=True, tag="quantile"):
    """Quantiles of a number or date at ``at`` (fractions in (0, 1)), each by the noisy maximum over public candidates.

    The candidates are the term's grid, or at most ``MAX_CANDIDATES`` evenly spaced points of it.
    """

    name: str
    of: Scalar
    at: tuple[str, ...]


class Clipped(Node, frozen=True, tag="clipped"):
    """Share of the rows in which storage limited a value that ``of`` depends on: out of bounds, or out of domain.

    Of the rows where ``of`` is not null.
    """

    name: str
    of: Scalar


class Capped(Node, frozen=True, tag="capped"):
    """Share of the rows that are of units that had more rows than storage keeps."""

    name: str


Measure = Count | Sum | Mean | Gram | Units | Ratio | Variance | Covariance | Quantile | Clipped | Capped


class VectorSum(Node, frozen=True, tag="vector_sum"):
    """The release primitive: the measures' integer components per cell of the closed keys, with noise.

    ``rho`` is the price asked (zCDP, an exact fraction as text); the charge is at most that. ``draw`` tells independent
    answers to one question apart: each is charged.
    """

    source: Relation
    measures: tuple[Measure, ...]
    rho: str
    keys: tuple[str, ...] = ()
    draw: int = 0
    version: Literal[1] = 1


class ThresholdKeys(Node, frozen=True, tag="threshold_keys"):
    """Which values of the keys occur for many units: values whose noisy number of units is above a threshold.

    A unit counts for at most ``groups`` values. The price is ``rho`` and, for values that only one unit has, ``delta``.
    """

    source: Relation
    keys: tuple[str, ...]
    groups: int
    rho: str
    delta: str
    draw: int = 0
    version: Literal[1] = 1

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What is told about every value: for how many units it occurs."""
        return (Units("units"),)


class Fit(Node, frozen=True, tag="fit"):
    """A model: the learner's sequence of vector sums over the rows, each with noise, in one charge.

    A number or bool among ``features`` is scaled to [-1, 1] by its grid, a category is one column per label. ``target``
    is a condition or a category; clustering has none. Rows with a null in any of them are skipped.
    """

    source: Relation
    features: tuple[Scalar, ...]
    target: Scalar | None
    learner: Learner
    rho: str
    draw: int = 0
    version: Literal[1] = 1

    @property
    def keys(self) -> tuple[str, ...]:
        """A model has one cell."""
        return ()

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What is released are steps of the learner, and no measures."""
        return ()

    @property
    def terms(self) -> tuple[Scalar, ...]:
        """The expressions a model is made of."""
        return self.features if self.target is None else (*self.features, self.target)


Plan = VectorSum | ThresholdKeys | Fit
