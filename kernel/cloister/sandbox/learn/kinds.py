"""The kinds of fitted models as plain data: a closed family, told apart by ``kind``.

Numbers are texts: values exact rationals, errors the shortest decimals of their doubles (``""``: not known). Every kind
is *encoded columns, affine functions of them, and a rule* (``scoring.py``), so that one code predicts for all.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from cloister.sandbox.learn.features import Feature

Mode = Literal["confidential", "mock", "teaching"]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every part of a document."""


class Coefficient(_Part, frozen=True):
    """A coefficient with the standard errors of privacy noise and of sampling."""

    name: str
    value: str
    stderr: str
    sampling: str


class Weight(_Part, frozen=True):
    """A number of a model by the encoded column (or whatever else) it belongs to, with the error of the noise."""

    name: str
    value: str
    stderr: str = ""


class Target(_Part, frozen=True):
    """What is predicted, with its public bounds."""

    name: str
    low: str
    high: str


class Classes(_Part, frozen=True):
    """What is predicted, if it is one of several labels; of a condition ``("false", "true")``."""

    name: str
    labels: tuple[str, ...]
    condition: bool


class Training(_Part, frozen=True):
    """What the model was made from (all tables, in words), and the choices made, by the learner's parameters."""

    table: str
    title: str
    rows: str
    unit: str
    rows_per_unit: int
    purposes: tuple[str, ...]
    missing: Literal["refuse", "drop", "indicator"]
    parameters: dict[str, str]


class Metrics(_Part, frozen=True):
    """How well it describes the rows it was made from; ``margin`` is the data over the noise."""

    n: str
    n_stderr: str
    r2: str
    r2_stderr: str
    residual: str
    margin: str


class Paid(_Part, frozen=True):
    """What one more account paid: zCDP ``rho`` (exact), and the epsilon it amounts to at ``delta``."""

    population: str
    rho: str
    epsilon: str
    delta: str


class Privacy(_Part, frozen=True, omit_defaults=True):
    """The price of the one release: zCDP ``rho`` (exact), the epsilon it amounts to, and what the noise is.

    ``noise`` is the standard deviation of every number of ``noisy`` (words). ``others`` are there where tables of
    several accounts were used: each of them is charged.
    """

    population: str
    rho: str
    epsilon: str
    delta: str
    noise: str
    noisy: str
    others: tuple[Paid, ...] = ()

    @property
    def accounts(self) -> tuple[Paid, ...]:
        """Every account that was charged."""
        return (Paid(self.population, self.rho, self.epsilon, self.delta), *self.others)


class Provenance(_Part, frozen=True):
    """Digests that lead back to contract, plan and receipt (``""``: a mock release has no receipt)."""

    contract: str
    plan: str
    release: str
    receipt: str


class Made(_Part, frozen=True):
    """The algorithm that made a model, as the registry has it (``contract/algorithms.py``), and its code's digest."""

    name: str
    version: int
    code: str


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", kw_only=True):
    """What every model says of itself. ``notes`` are what the data made necessary (a class without rows, ...)."""

    format: Literal["cloister.model"] = "cloister.model"
    version: Literal[2] = 2
    mode: Mode
    assurance: str
    algorithm: Made
    features: tuple[Feature, ...]
    reliable: bool
    notes: tuple[str, ...] = ()
    training: Training
    privacy: Privacy
    provenance: Provenance


class LinearRegression(Head, frozen=True, tag="LinearRegression"):
    """A number as an affine function of the encoded columns."""

    target: Target
    intercept: Coefficient
    coefficients: tuple[Coefficient, ...]
    metrics: Metrics

    @property
    def lines(self) -> tuple[Coefficient, ...]:
        """The intercept and the coefficients."""
        return (self.intercept, *self.coefficients)


class _LogOdds(Head, frozen=True):
    """The log odds of the second class are ``intercept`` plus weights times encoded columns."""

    classes: Classes
    n: Weight
    intercept: Weight
    weights: tuple[Weight, ...]


class LogisticRegression(_LogOdds, frozen=True, tag="LogisticRegression"):
    """The log odds of the second class as an affine function of the encoded columns. ``n``: the noisy rows."""


class Additive(_LogOdds, frozen=True, tag="Additive"):
    """The log odds of the second class as a sum of one step function per feature (kinds ``levels`` and ``bins``)."""


class Output(_Part, frozen=True):
    """The score of one class."""

    label: str
    intercept: Weight
    weights: tuple[Weight, ...]


class MultinomialLogistic(Head, frozen=True, tag="MultinomialLogistic"):
    """A score per class; probabilities are their softmax."""

    classes: Classes
    n: Weight
    outputs: tuple[Output, ...]


class GaussianClass(_Part, frozen=True):
    """A class of ``GaussianNB``.

    ``constant`` is the log of the prior less half the sum of ``log(2 pi variance)``: stored, so that no machine's
    logarithm enters a prediction. ``n`` is the noisy number of rows.
    """

    label: str
    n: Weight
    log_prior: str
    constant: str
    means: tuple[Weight, ...]
    variances: tuple[Weight, ...]


class GaussianNB(Head, frozen=True, tag="GaussianNB"):
    """Numbers that are independent and normal within each class."""

    classes: Classes
    outputs: tuple[GaussianClass, ...]


class CategoricalClass(_Part, frozen=True):
    """A class of ``CategoricalNB``: the log of the prior, and of the probability of every level given the class."""

    label: str
    n: Weight
    log_prior: str
    weights: tuple[Weight, ...]


class CategoricalNB(Head, frozen=True, tag="CategoricalNB"):
    """Levels that are independent within each class."""

    classes: Classes
    outputs: tuple[CategoricalClass, ...]


class Centre(_Part, frozen=True):
    """A centre in the units of the encoded columns, and the noisy number of rows nearest to it."""

    label: str
    n: Weight
    weights: tuple[Weight, ...]


class KMeans(Head, frozen=True, tag="KMeans"):
    """The nearest of the centres, by squared distance after each column is divided by its ``scales``."""

    centres: tuple[Centre, ...]
    scales: tuple[str, ...]


class Component(_Part, frozen=True):
    """A principal component: its variance, the share of the total, and its direction (unit length, scaled columns)."""

    variance: Weight
    share: str
    weights: tuple[Weight, ...]


class PCA(Head, frozen=True, tag="PCA"):
    """Components of the columns less ``centre``, each divided by its ``scales``. ``n``: the noisy rows."""

    n: Weight
    centre: tuple[Weight, ...]
    scales: tuple[str, ...]
    components: tuple[Component, ...]


class Points(_Part, frozen=True):
    """The points an encoded column gives where it is 1."""

    name: str
    points: int


class Scorecard(Head, frozen=True, tag="Scorecard"):
    """Whole points that add up to a score: ``base`` points at odds of ``odds`` to 1, ``pdo`` more double the odds.

    The odds are those against the second class (the event). ``offset`` is what everybody starts with. ``source`` is
    the digest of the model it was made from, ``rounding`` the most points that rounding can have moved a score by.
    """

    classes: Classes
    n: Weight
    base: str
    odds: str
    pdo: str
    offset: int
    points: tuple[Points, ...]
    rounding: str
    source: str


Document = (
    LinearRegression | LogisticRegression | MultinomialLogistic | Additive | GaussianNB | CategoricalNB | KMeans | PCA
    | Scorecard
)  # fmt: skip
KINDS: dict[str, type[Head]] = {
    str(kind.__struct_config__.tag): kind
    for kind in (
        LinearRegression, LogisticRegression, MultinomialLogistic, Additive, GaussianNB, CategoricalNB, KMeans, PCA,
        Scorecard,
    )
}  # fmt: skip
