"""Queries: the closed kinds of vector sums a learner can ask of the encoded rows, and how far one row reaches in each.

A ``Form`` is public before anything runs: it fixes how many integers a step has and the L2 norm of what one row adds.
A query is a form with integers that may depend on earlier noisy answers; nothing in them can raise the reach. With
``z`` the encoded row (``SCALE`` at the constant) and all numbers integers:

* ``gram``: the upper triangle of ``sum z z'``, row by row;
* ``gradient``, one output: ``sum r z`` with ``r = (p - y) min(1, clip / max(p, 1 - p))``, ``p = sigmoid(w z)``, in
  multiples of 1 / ``RESIDUAL``: at most ``clip`` whatever the class. The score ``w z`` is rounded to a multiple of
  1 / ``LINK_STEPS``, limited to +-``LINK_END`` and looked up in a public table for each class (``link.py``);
* ``gradient``, K outputs: ``sum r_k z`` for each class k, with ``r = softmax(w_1 z, ..., w_K z) - e_y`` where every
  probability is rounded down;
* ``nearest``: for each centre ``sum z`` over the rows it is nearest to (the first, of equally near ones). The first
  column is ``SCALE`` times their number.

``cap`` limits the length of the row: where ``n = ceil(|z|)`` is above it, ``r`` becomes ``r cap / n`` rounded towards
zero. Only the columns ``first`` to ``stop - 1`` are added up; the score is of all.
"""

from __future__ import annotations

import msgspec

from cloister.plan.learning.encoding import SCALE, Encoding

RESIDUAL = 2**12
WEIGHT_SCALE = 2**16
MAX_WEIGHT = 2**22
LINK_STEPS = 2**8
LINK_END = 12
SCORE_SHIFT = (SCALE * WEIGHT_SCALE // LINK_STEPS).bit_length() - 1


class GramForm(msgspec.Struct, frozen=True, tag_field="kind", tag="gram"):
    """The upper triangle of ``sum z z'``."""


class GradientForm(msgspec.Struct, frozen=True, tag_field="kind", tag="gradient"):
    """Residuals times columns: integers output by output, and for each column by column.

    Attributes:
        outputs: 1 for two classes, else the number of classes.
        first: The first column that is added up.
        stop: The column after the last.
        clip: The largest residual, at most ``RESIDUAL``; with several outputs it is ``RESIDUAL``.
        cap: The largest length of a row, in multiples of 1 / ``SCALE``; 0: as long as it is.
    """

    outputs: int
    first: int
    stop: int
    clip: int = RESIDUAL
    cap: int = 0


class NearestForm(msgspec.Struct, frozen=True, tag_field="kind", tag="nearest"):
    """Rows by nearest centre: integers centre by centre, and for each column by column."""

    clusters: int


Form = GramForm | GradientForm | NearestForm


class Gram(msgspec.Struct, frozen=True):
    """Ask for a Gram."""

    form: GramForm = GramForm()


class Gradient(msgspec.Struct, frozen=True):
    """Ask for a gradient at ``weights``: for each output one per column, in multiples of 1 / ``WEIGHT_SCALE``.

    Every weight is within +-``MAX_WEIGHT``.
    """

    form: GradientForm
    weights: tuple[tuple[int, ...], ...]


class Nearest(msgspec.Struct, frozen=True):
    """Ask which rows are nearest to ``centres``: for each one integer per column but the first, within +-SCALE."""

    form: NearestForm
    centres: tuple[tuple[int, ...], ...]


Query = Gram | Gradient | Nearest


class Reach(msgspec.Struct, frozen=True):
    """How many integers a form has, the squared L2 norm one row adds at most, and the largest integer it adds."""

    width: int
    squared: int
    largest: int


def reach(form: Form, coded: Encoding) -> Reach:
    """Return the reach of a form on rows of an encoding.

    Gram: with ``|z|^2 <= parts SCALE^2`` and ``sum z_i^4 <= SCALE^2 |z|^2``, the squares of the upper triangle add up
    to ``(|z|^4 + sum z_i^4) / 2 <= SCALE^4 parts (parts + 1) / 2``. Gradient: ``|r|^2 |z|^2``, where of K outputs one
    residual is at most ``RESIDUAL`` in size and the others add up to at most as much, so ``|r|^2 <= 2 RESIDUAL^2``.

    Raises:
        ValueError: The form is none a learner may ask: a defect of the learner.
    """
    match form:
        case GramForm():
            width = coded.width * (coded.width + 1) // 2
            return Reach(width, SCALE**4 * coded.parts * (coded.parts + 1) // 2, SCALE**2)
        case GradientForm():
            return _gradient(form, coded)
        case NearestForm():
            if form.clusters < 1:
                raise ValueError("there is no centre")
            return Reach(form.clusters * coded.width, SCALE**2 * coded.parts, SCALE)


def check_query(query: Query, coded: Encoding) -> None:
    """Check that a query's integers have the shape and the limits of its form, so that scores are exact.

    Raises:
        ValueError: They have not: a defect of the learner.
    """
    match query:
        case Gram():
            return
        case Gradient():
            rows, shape, most = query.weights, (query.form.outputs, coded.width), MAX_WEIGHT
        case Nearest():
            rows, shape, most = query.centres, (query.form.clusters, coded.width - 1), SCALE
    inside = all(len(row) == shape[1] and all(-most <= value <= most for value in row) for row in rows)
    if len(rows) != shape[0] or not inside:
        raise ValueError("the integers of a query are within its limits")


def _gradient(form: GradientForm, coded: Encoding) -> Reach:
    single = form.outputs == 1
    usable = 1 <= form.clip <= RESIDUAL if single else form.clip == RESIDUAL
    outputs = 1 if len(coded.classes) == 2 else len(coded.classes)
    if not usable or form.outputs != outputs or form.cap < 0 or not 0 <= form.first < form.stop <= coded.width:
        raise ValueError("no gradient of this encoding")
    length = SCALE**2 * coded.touched(form.first, form.stop)
    length = min(length, form.cap**2) if form.cap else length
    return Reach(
        form.outputs * (form.stop - form.first), (1 if single else 2) * form.clip**2 * length, form.clip * SCALE
    )
