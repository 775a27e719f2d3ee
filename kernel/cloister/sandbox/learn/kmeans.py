"""``KMeans``: clusters of rows, by Lloyd's algorithm on noisy sums.

    model = KMeans(n_clusters=3, epsilon=1).fit(visits[["age", "cost"]])
    visits.groupby(model.predict(visits)).cost.mean()

Features are scaled to [-1, 1] by their public bounds, and initial centres are drawn in them by ``random_state``: they
are public. One release, one charge, all steps planned before it runs (``plan/learning/kmeans.py``).
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, ClassVar, Self, cast

import numpy as np

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.gaussian import deviation
from cloister.plan.learning.encoding import MAX_COLUMNS, SCALE
from cloister.plan.learning.natural import centres, halves
from cloister.plan.learning.program import Centres
from cloister.sandbox import literals
from cloister.sandbox.answer import Fact
from cloister.sandbox.ask import Ask
from cloister.sandbox.cost import Cost
from cloister.sandbox.frame import Frame
from cloister.sandbox.learn import asking, fit_terms, fits, origin, remarks
from cloister.sandbox.learn import features as enc
from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn.checks import MAX_CLASSES
from cloister.sandbox.learn.clusters import KMeansModel
from cloister.sandbox.learn.rounding import near
from cloister.sandbox.precision import Precision

SURE = 3.0


class KMeans(KMeansModel):
    """Clusters of numbers, conditions and categories.

    Args:
        n_clusters: How many centres.
        max_iter: How many times rows are assigned to the nearest centre; every time costs an equal part of the price.
        random_state: Of the initial centres, which depend on it and on the card alone.
        epsilon: Privacy price of the fit; or
        share: the price as a share of your total. With neither, the contract's default share.
        missing: ``"refuse"`` features that may be missing, ``"drop"`` such rows, or mark them by an ``"indicator"``.

    Attributes:
        cluster_centers_: Centres in the units of the encoded columns (``get_feature_names_out()``).
        sizes_: Noisy numbers of rows nearest to each centre in the last step.
        scale_: What every column is divided by before distances are taken.
    """

    form: ClassVar[str] = 'KMeans(n_clusters=3, epsilon=1).fit(visits[["age", "cost"]])'

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        max_iter: int = 8,
        random_state: int = 0,
        epsilon: float | None = None,
        share: float | None = None,
        missing: enc.Missing = "refuse",
    ) -> None:
        self.n_clusters = n_clusters
        self.max_iter = max_iter
        self.random_state = random_state
        self.epsilon = epsilon
        self.share = share
        self.missing = missing

    def fit(self, X: Frame, y: Any = None) -> Self:  # noqa: N803, ARG002 (scikit-learn's names)
        """Release the steps of the fit, all in one charge, and compute the centres from them.

        Raises:
            PlanError: Not a handle, or columns a model cannot use. Nothing was charged.
        """
        self._document, self._fact = self._ask(X).release(Precision(self.epsilon, self.share))
        return self

    def cost(self, X: Frame, y: Any = None, *, epsilon: Any = None, share: Any = None) -> Cost:  # noqa: N803, ARG002
        """Return what fitting would cost, and the noise in a sum of a step (in rows); nothing is spent."""
        own = epsilon is None and share is None
        return self._ask(X).cost(Precision(self.epsilon, self.share) if own else Precision(epsilon, share))

    def _ask(self, X: Any) -> Ask[tuple[k.KMeans, Fact]]:  # noqa: N803
        learner = a.KMeans(
            _whole("n_clusters", self.n_clusters, 1, MAX_CLASSES),
            _whole("max_iter", self.max_iter, 1, 100),
            _whole("random_state", self.random_state, 0, 2**32 - 1),
        )
        if self.missing not in enc.MISSING:
            raise PlanError("api.learn.parameter", f"missing= is one of {', '.join(map(repr, enc.MISSING))}")
        asking.check_frame(X, self.form)
        origin.check_allowed("KMeans", X._rows)
        rows, features = enc.describe(X, self.missing, every=True, most=MAX_COLUMNS - 1)
        features = fit_terms.plain(features)

        def present(found: fits.Fitted) -> tuple[k.KMeans, Fact]:
            error = deviation(found.sigmas[-1]) / SCALE
            head = origin.head(
                "KMeans",
                rows,
                features,
                found.fact,
                missing=self.missing,
                parameters={
                    "n_clusters": learner.clusters, "max_iter": learner.steps, "random_state": learner.seed,
                },
                noise=error,
                noisy="every number of rows of a cluster, and every sum of a column scaled to [-1, 1]",
            )  # fmt: skip
            return _document(found, head, error), found.fact

        encoded = fit_terms.encoded(Frame(rows, X._columns), features)
        return fits.ask(rows, encoded, None, learner, present)


def _document(found: fits.Fitted, head: dict[str, Any], error: float) -> k.KMeans:
    model, coded = cast(Centres, found.model), found.planned.coded
    names = [column.name for column in enc.columns(head["features"])]
    made, notes = [], []
    for place, (size, centre) in enumerate(zip(model.sizes, centres(model, coded), strict=True)):
        rows = k.Weight("rows", literals.text_of(near(size, error)), repr(error))
        weights = tuple(k.Weight(name, literals.text_of(value)) for name, value in zip(names, centre, strict=True))
        made.append(k.Centre(str(place), rows, weights))
        if size < max(SURE * error, 1.0):
            notes.append(f"cluster {place} may have no rows: its centre stayed where it was")
    scales = tuple(literals.text_of(half or Fraction(1)) for _, half in halves(coded))
    held = np.array(found.raw[-len(made) * coded.width :], dtype=float).reshape(len(made), coded.width) / SCALE
    rows, *counts = held.sum(axis=0).tolist()
    of_all = (coded, names, counts, rows, error * len(made) ** 0.5)
    notes += [*remarks.at_an_end(*of_all), *remarks.of_labels(*of_all)]
    total, reach = sum(model.sizes), SURE * error * len(model.sizes) ** 0.5
    if total < reach:
        notes.insert(0, remarks.NO_ROWS)
    return k.KMeans(**head, centres=tuple(made), scales=scales, reliable=total >= reach, notes=tuple(notes))


def _whole(name: str, value: Any, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise PlanError("api.learn.parameter", f"{name}= is a whole number from {least} to {most}")
    return value
