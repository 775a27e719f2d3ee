"""What a fit encodes, as expressions: in an order in which its columns are those of the features of the document.

A gap of a category, or of a number in bins, is one more label; of a number or condition it is filled, and a condition
of its own marks it (``missing="indicator"``).
"""

from __future__ import annotations

import dataclasses

import msgspec

from cloister.plan import algebra as a
from cloister.sandbox import literals, terms
from cloister.sandbox.frame import Frame
from cloister.sandbox.learn.features import FLAGS, Feature
from cloister.sandbox.terms import Term


def plain(features: tuple[Feature, ...]) -> tuple[Feature, ...]:
    """Return the features with one column for a condition: half the squared length of two."""
    return tuple(
        msgspec.structs.replace(feature, kind="condition") if feature.kind == "flag" else feature
        for feature in features
    )


def binned(frame: Frame, features: tuple[Feature, ...], bins: int) -> tuple[Feature, ...]:
    """Return the features with every number in at most ``bins`` bins of equal width, by its public bounds."""
    return tuple(
        _binned(frame._columns[feature.name], feature, bins) if feature.kind == "number" else feature
        for feature in features
    )


def _binned(term: Term, feature: Feature, bins: int) -> Feature:
    grid = term.grid
    points = grid.hi - grid.lo + 1
    count = min(bins, points)
    places = [grid.lo + points * index // count for index in range(count + 1)]
    edges = tuple(literals.text_of(place * grid.step) for place in places)
    return msgspec.structs.replace(feature, kind="bins", edges=edges, fill=None if feature.fill is None else "")


def encoded(frame: Frame, features: tuple[Feature, ...]) -> list[Term]:
    """Return the expressions of a fit, in the order of the features."""
    return [term for feature in features for term in _terms(frame._columns[feature.name], feature)]


def _terms(term: Term, feature: Feature) -> list[Term]:
    match feature.kind:
        case "levels" | "category":
            found = dataclasses.replace(term, labels=())
        case "bins":
            found = terms.node(a.Cut(term.scalar, feature.edges), term)
        case "flag":
            return [_flag(term, gaps=feature.fill is not None)]
        case _:
            if feature.fill is None:
                return [term]
            value: a.Scalar = a.Boolean(False) if feature.kind == "condition" else a.Number(feature.fill)
            return [terms.node(a.Fill(term.scalar, value), term, terms.node(value)), terms.is_null(term)]
    if feature.fill is None:
        return [found]
    gap = a.Text(_new_label(found.grid.domain))
    return [terms.node(a.Fill(found.scalar, gap), found, terms.node(gap))]


def _flag(term: Term, *, gaps: bool) -> Term:
    no, yes = (terms.node(a.Text(label)) for label in FLAGS)
    found = terms.case(terms.negation(term), no, yes)
    return terms.case(terms.negation(terms.is_null(term)), found, terms.node(a.Text("(missing)"))) if gaps else found


def _new_label(domain: tuple[str, ...]) -> str:
    label = "(missing)"
    while label in domain:
        label += "'"
    return label
