"""What the charged sums of a fit say of its rows: none, a class nobody is in, a label nobody has, columns that stand.

Post-processing of what is released for the model anyway: nothing is asked for it, nothing is charged. What noise alone
would show is not taken for data: everything here is compared with ``SURE`` standard errors of its noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cloister.plan.gaussian import deviation
from cloister.plan.learning.classes import outputs_of
from cloister.plan.learning.encoding import SCALE, Encoding
from cloister.plan.learning.queries import RESIDUAL, GradientForm, GramForm, NearestForm
from cloister.plan.learning.solving import symmetric
from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn.fits import Fitted

SURE = 3.0
"""Standard errors of noise that say nothing of data."""
RELATED = 0.9
"""The correlation from which a descent leaves weights of two columns several per cent from where they belong."""
NO_ROWS = "no more rows than noise would show: the numbers of this model are noise"
_SHOWN = 6


def of_matrix(names: Sequence[str], matrix: np.ndarray, noise: float, target: str = "") -> tuple[str, ...]:
    """Return what a Gram says.

    Args:
        names: Its columns but the constant, which is the first, and the target, if it is the last.
        matrix: Sums of products, of columns in [-1, 1].
        noise: Standard error of every entry.
        target: Name of the target.
    """
    rows = float(matrix[0, 0])
    if rows <= SURE * noise:
        return (NO_ROWS,)
    mean = np.clip(matrix[0, 1:] / max(rows, 1.0), -1.0, 1.0)
    spread, least = np.diag(matrix)[1:] - mean**2 * rows, SURE * noise * np.sqrt(1 + 4 * mean**2 + mean**4)
    # A column that spreads evenly over its range has a spread of a third: where it would not be seen, none is missed.
    still = (spread <= least) & (2 * least < rows / 3)
    found = standing([name for name, stands in zip(names, still, strict=False) if stands])
    if target and still[-1]:
        found += (f"{target} differs from row to row no more than noise would show: there is nothing to predict",)
    return found


def of_pairs(names: Sequence[str], matrix: np.ndarray, noise: float) -> tuple[str, ...]:
    """Return which columns of a Gram are so strongly related that a descent does not tell their weights apart.

    Args:
        names: Its columns but the constant, which is the first.
        matrix: Sums of products, of columns in [-1, 1].
        noise: Standard error of every entry.
    """
    rows = max(float(matrix[0, 0]), 1.0)
    mean = np.clip(matrix[0, 1:] / rows, -1.0, 1.0)
    moved = matrix[1:, 1:] - np.outer(mean, mean) * rows
    spread = np.sqrt(np.maximum(np.diag(moved), SURE * noise))
    both = np.outer(spread, spread)
    # A correlation that is not known to a tenth may be a larger one, and of columns without a spread there is none.
    related = (np.abs(moved) > RELATED * both) & (noise < both / 10)
    pairs = [(one, other) for one in range(len(names)) for other in range(one) if related[one, other]]
    if not pairs:
        return ()
    told = _listed([f"{names[other]} and {names[one]}" for one, other in pairs])
    return (f"{told}: strongly related; their weights say something together, not one by one",)


def of_fit(found: Fitted, names: Sequence[str]) -> tuple[str, ...]:
    """Return what the first sums of a fit say of its columns: a Gram, or the counts of labels."""
    planned, coded = found.planned, found.planned.coded
    step, noise = planned.steps[0], deviation(found.sigmas[0]) / SCALE
    raw = found.raw[: step.reach.width]
    if step.form == GramForm():
        noise /= SCALE
        matrix = np.array(symmetric(raw, coded.width, 1.0 / (SCALE * SCALE)))
        numbers = [block.start for block in coded.blocks if not block.labels]
        kept = np.ix_([0, *numbers], [0, *numbers])
        called = [names[column - 1] for column in numbers]
        told = of_matrix(called, matrix[kept], noise)
        if told != (NO_ROWS,):
            told = (*told, *of_pairs(called, matrix[kept], noise))
        # Of a label the sum and the sum of squares are two counts of the same rows.
        rows, *counts = (np.diag(matrix) + matrix[0]) / 2
        noise /= math.sqrt(2.0)
    elif step.form == NearestForm(1):
        rows, *counts = (value / SCALE for value in raw)
        told = () if rows > SURE * noise else (NO_ROWS,)
    else:
        return ()
    return told if told == (NO_ROWS,) else (*told, *of_labels(coded, names, counts, rows, noise))


def of_labels(
    coded: Encoding, names: Sequence[str], counts: Sequence[float], rows: float, error: float
) -> tuple[str, ...]:
    """Return what the counts of labels say; ``counts`` and ``names`` are those of all columns but the constant."""
    blocks = [range(block.start - 1, block.start - 1 + block.width) for block in coded.blocks if block.labels]
    return of_counts([([names[at] for at in block], [counts[at] for at in block]) for block in blocks], rows, error)


def at_an_end(
    coded: Encoding, names: Sequence[str], sums: Sequence[float], rows: float, error: float
) -> tuple[str, ...]:
    """Return which numbers and conditions are at one end of their range in every row: all that sums can say of them."""
    numbers = [block.start - 1 for block in coded.blocks if not block.labels]
    if rows <= 4 * SURE * error:
        return ()
    return standing([names[at] for at in numbers if abs(sums[at]) >= rows - SURE * math.sqrt(2.0) * error])


def of_counts(blocks: Sequence[tuple[Sequence[str], Sequence[float]]], rows: float, error: float) -> tuple[str, ...]:
    """Return which labels all rows have, and which have no rows that noise could not explain.

    Args:
        blocks: The labels of every category, with how many rows have each.
        rows: How many there are.
        error: Standard error of every count.
    """
    gone, all_of = [], []
    for names, counts in blocks:
        most = max(range(len(names)), key=counts.__getitem__)
        if rows > 4 * SURE * error and counts[most] >= rows - SURE * math.sqrt(2.0) * error:
            all_of.append(names[most])
        elif rows / len(names) > 2 * SURE * error:
            # With an even share of the rows it would be seen: where it would not, none is missed.
            gone += [name for name, count in zip(names, counts, strict=True) if count <= SURE * error]
    found = standing(all_of)
    if gone:
        found += (f"no more rows than noise would show of {_listed(gone)}: nothing is known of such rows",)
    return found


def standing(names: Sequence[str]) -> tuple[str, ...]:
    """Say which columns do not vary."""
    if not names:
        return ()
    return (
        f"{_listed(names)}: the same in every row, as far as the noise lets see; what the model says of it is little "
        "more than a guess",
    )


def classes_there(found: Fitted) -> tuple[bool, ...]:
    """Return which classes have rows that noise does not explain, from the sums a fit starts with."""
    planned, coded = found.planned, found.planned.coded
    outputs, unit = outputs_of(coded), RESIDUAL * SCALE
    at = planned.steps[0].reach.width
    form = planned.steps[1].form
    if not isinstance(form, GradientForm) or (form.first, form.stop) != (0, 1):
        raise ValueError("a classifier of this zone counts its classes second")
    even = 1.0 / max(outputs, 2)
    rows, rows_error = float(found.rows.value), float(found.rows.stderr)
    away = [value / unit for value in found.raw[at : at + outputs]]
    counts = [even * rows - value for value in away]
    if outputs == 1:
        counts.insert(0, rows - counts[0])
    error = math.hypot(deviation(found.sigmas[1]) / unit, even * rows_error)
    return tuple(count > SURE * error for count in counts)


def absent(gone: Sequence[str], classes: k.Classes, instead: str) -> tuple[str, ...]:
    """Say which classes have no rows that noise could not explain, and what stands ``instead`` of their numbers."""
    if not gone:
        return ()
    found = f"{classes.name}: no more rows than noise would show of {', '.join(gone)}"
    if len(gone) >= len(classes.labels) - 1:
        return (f"{found}; there is nothing to tell apart",)
    return (f"{found}; {instead}",)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
