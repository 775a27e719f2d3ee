"""Predictions on a handle: scores, labels and probabilities as expressions of the plan. Free; nothing is released.

A probability is ``1 / sum exp(s_j - s_k)`` over the classes j, with differences limited to +-12 and ``exp`` on the grid
of ``Curve``: at most 1e-5 from the exact one.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from cloister.plan import algebra as a
from cloister.sandbox import terms, widen
from cloister.sandbox.column import Column
from cloister.sandbox.frame import Frame
from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn.scoring import Scores, scores_of
from cloister.sandbox.rows import Rows
from cloister.sandbox.terms import Term

LIMIT = 12
STEP = Fraction(1, 2**20)


def scores(frame: Frame, document: k.Document) -> Frame:
    """Return the scores of a model as columns, by output.

    Raises:
        PlanError: A feature is not there or of another kind, or the expression is too large.
    """
    found = scores_of(document)
    rows, outputs = _scores(frame, document, found)
    return Frame(rows, dict(zip(found.labels, outputs, strict=True)))


def label(frame: Frame, document: k.Document, classes: k.Classes | None, name: str) -> Column:
    """Return the class (or the number of the centre) of every row; of a condition a condition."""
    found = scores_of(document)
    rows, outputs = _against(frame, document, found)
    if classes is not None and classes.condition:
        return Column(rows, _where_known(_greater(outputs), outputs[1]), name)
    labels = classes.labels if classes is not None else found.labels
    values = [terms.literal(text if classes is not None else int(text), None) for text in labels]
    if len(values) == 1:
        return Column(rows, _where_known(values[0], outputs[0]), name)
    best = values[-1]
    if len(values) == 2:
        best = terms.case(_greater(outputs), values[1], values[0])
    else:
        for place in range(len(values) - 2, -1, -1):
            best = terms.case(_largest(outputs, place), values[place], best)
    return Column(rows, _where_known(best, outputs[-1]), name)


def probabilities(frame: Frame, document: k.Document, classes: k.Classes) -> Frame:
    """Return the probability of every class, one column each."""
    # A limit repeats its term: of a column that costs little.
    rows, outputs = _against(frame, document, scores_of(document), stored=True)
    one = terms.literal(1, None)
    found = {}
    for label_, mine in zip(classes.labels, outputs, strict=True):
        total = one
        for other in outputs:
            if other is not mine:
                apart = terms.clip(terms.arithmetic("sub", other, mine), -LIMIT, LIMIT)
                total = terms.arithmetic("add", total, terms.node(a.Curve("exp", apart.scalar), apart))
        node = a.Quotient(one.scalar, total.scalar, "0", "1", f"{STEP.numerator}/{STEP.denominator}")
        found[f"{classes.name}={label_}"] = terms.node(node, one, total)
    return Frame(rows, found)


def _scores(frame: Frame, document: k.Document, found: Scores, *, stored: bool = False) -> tuple[Rows, list[Term]]:
    outputs = found.on_handle(frame, document.features)
    rows = frame._rows
    if len(outputs) <= 2 and not stored:
        return rows, outputs
    # Scores are compared with each other again and again: each becomes a column, computed once.
    names = [widen.name_of("score", output.scalar) for output in outputs]
    new = {name: output.scalar for name, output in zip(names, outputs, strict=True) if name not in rows.schema.columns}
    if new:
        rows = rows.on(a.Derive(rows.relation, tuple(new.items())))
    return rows, [rows.term(name) for name in names]


def _against(frame: Frame, document: k.Document, found: Scores, *, stored: bool = False) -> tuple[Rows, list[Term]]:
    """Return a score for each class: of log odds, 0 for the first."""
    rows, outputs = _scores(frame, document, found, stored=stored)
    return rows, [terms.literal(0, None), *outputs] if found.rule == "log odds" else outputs


def _greater(outputs: Sequence[Term]) -> Term:
    return terms.compare("gt", terms.arithmetic("sub", outputs[1], outputs[0]), terms.literal(0, None))


def _largest(outputs: Sequence[Term], place: int) -> Term:
    """Return whether a score is at least every later one (earlier ones were not, where this is asked)."""
    found: Term | None = None
    for other in (*outputs[:place], *outputs[place + 1 :]):
        at_least = terms.compare("ge", outputs[place], other)
        found = at_least if found is None else terms.every(found, at_least)
    return found if found is not None else terms.literal(True, None)


def _where_known(found: Term, score: Term) -> Term:
    return terms.only(found, terms.negation(terms.is_null(score))) if score.grid.nullable else found
