"""``roc_auc``, ``ks``, ``log_loss`` and the other figures of a score: each a number that knows its release."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from cloister.errors import PlanError
from cloister.sandbox import release
from cloister.sandbox.ask import Ask, Terminal
from cloister.sandbox.learn.metrics import counts as asking
from cloister.sandbox.learn.metrics import spec
from cloister.sandbox.learn.metrics.counts import Counts
from cloister.sandbox.learn.metrics.edges import BINS, Edges, edges_of

Made = Callable[[Edges], spec.Figure]


def shown(figure: spec.Figure, found: Counts) -> Any:
    """Return a figure bound to its release: a number, or a Series over groups."""
    parts = figure.parts(found)
    note = note_of(figure, found)
    if found.groups is None:
        return release.number(parts, found.fact, note)
    return release.bind(
        {name: pd.Series(part, found.groups, name=figure.name) for name, part in parts.items()}, found.fact, note
    )


def note_of(figure: spec.Figure, found: Counts) -> str:
    """Return what was done to the score, and how far that may move the figure."""
    bins = found.edges.bins
    far = figure.hidden(found)
    moved = f": without bins it would lie within {far:.2g}" if far else ""
    return f"{figure.name} from counts per class in {bins} public bins of the score; {figure.words}{moved}"


def _figure(made: Made, y: Any, score: Any, *, bins: Any, by: Any, pos_label: Any) -> Ask[Any]:
    # The columns are looked at first: a wrong one is explained as such, not as one without a range.
    asking.checked(y, score, pos_label)
    figure = made(edges_of(score._term, bins=bins))
    return asking.ask(
        y,
        score,
        lambda found: shown(figure, found),
        figures=((figure.name, figure.held),),
        bins=bins,
        by=by,
        pos_label=pos_label,
    )


def _roc_auc(y: Any, score: Any, *, bins: Any = BINS, by: Any = None, pos_label: Any = None) -> Ask[Any]:
    """Release the area under the ROC curve of a score.

    Args:
        y: The target: a condition, or a closed column with ``pos_label``.
        score: A number; the higher, the more likely positive.
        bins: How many public bins the score is counted in, or their edges.
        by: Closed columns: the figure in each of their groups.
        pos_label: The value of ``y`` that is positive.

    The other figures of the same score, with the same arguments and precision, are the same release: recalled, free.

    Raises:
        PlanError: Not columns of the same rows, or a target that is no condition.
    """
    return _figure(lambda _: spec.roc_auc(), y, score, bins=bins, by=by, pos_label=pos_label)


def _gini(y: Any, score: Any, *, bins: Any = BINS, by: Any = None, pos_label: Any = None) -> Ask[Any]:
    """Release the Gini coefficient of a score, ``2 AUC - 1``; see ``roc_auc``."""
    return _figure(lambda _: spec.gini(), y, score, bins=bins, by=by, pos_label=pos_label)


def _ks(y: Any, score: Any, *, bins: Any = BINS, by: Any = None, pos_label: Any = None) -> Ask[Any]:
    """Release the Kolmogorov-Smirnov distance of a score between the two classes; see ``roc_auc``.

    A maximum over noisy distances: noise alone makes it larger than it is. Its interval allows for that.
    """
    return _figure(lambda _: spec.ks(), y, score, bins=bins, by=by, pos_label=pos_label)


def _average_precision(y: Any, score: Any, *, bins: Any = BINS, by: Any = None, pos_label: Any = None) -> Ask[Any]:
    """Release the average precision of a score; see ``roc_auc``."""
    return _figure(lambda _: spec.average_precision(), y, score, bins=bins, by=by, pos_label=pos_label)


def _log_loss(y: Any, score: Any, *, bins: Any = BINS, by: Any = None, pos_label: Any = None) -> Ask[Any]:
    """Release the mean log loss of a probability, limited to [0.001, 0.999]; see ``roc_auc``."""
    return _figure(lambda edges: spec.log_loss(probability(edges)), y, score, bins=bins, by=by, pos_label=pos_label)


def _brier(y: Any, score: Any, *, bins: Any = BINS, by: Any = None, pos_label: Any = None) -> Ask[Any]:
    """Release the Brier score, the mean squared error of a probability; see ``roc_auc``."""
    return _figure(lambda edges: spec.brier(probability(edges)), y, score, bins=bins, by=by, pos_label=pos_label)


def probability(edges: Edges) -> Edges:
    """Return the edges of a score that is a probability.

    Raises:
        PlanError: ``api.metrics.probability``: it may lie outside [0, 1].
    """
    if not edges.probability:
        raise PlanError(
            "api.metrics.probability",
            f"the score may lie between {float(edges.low):.4g} and {float(edges.high):.4g}: no probability",
            nearest=("metrics.log_loss(y, score.clip(0, 1))",),
        )
    return edges


roc_auc: Terminal[Any] = Terminal(_roc_auc)
gini: Terminal[Any] = Terminal(_gini)
ks: Terminal[Any] = Terminal(_ks)
average_precision: Terminal[Any] = Terminal(_average_precision)
log_loss: Terminal[Any] = Terminal(_log_loss)
brier: Terminal[Any] = Terminal(_brier)
