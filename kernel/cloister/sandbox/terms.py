"""Row-wise expressions: a scalar of the algebra with its exact type, built one node at a time.

The types are those of ``plan/rules.py``, the very rules the vault applies again; so a mistake is explained in the
cell that makes it, before anything is sent. Only what pandas means differently is decided here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, Literal

from cloister.contract.card import Card
from cloister.contract.card import Column as CardColumn
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.grid import Grid, of_column
from cloister.plan.rules import children, combine
from cloister.sandbox import literals

MAX_NODES = 5_000
Comparison = Literal["eq", "ne", "lt", "le", "gt", "ge"]


@dataclasses.dataclass(frozen=True)
class Term:
    """A scalar, its grid, its size in nodes, the analyst's names for the bins of a cut, whether it counts days.

    ``freq``: the bins are periods (as pandas calls their frequency), and their names dates.
    """

    scalar: a.Scalar
    grid: Grid
    size: int = 1
    labels: tuple[str, ...] = ()
    days: bool = False
    freq: str = ""

    @property
    def domain(self) -> tuple[str, ...]:
        """The values a category can take, in order, as they are shown."""
        return self.labels or self.grid.domain


def of_card(card: Card, column: CardColumn) -> Term:
    """Return the term of a declared column."""
    return Term(a.Col(column.name), of_column(card.name, column, is_key=card.identifies(column.name)))


def node(scalar: a.Scalar, *parts: Term) -> Term:
    """Return the typed term of ``scalar``, whose direct sub-expressions are ``parts``.

    Raises:
        PlanError: The kinds do not fit, a range cannot be kept exactly, or the expression is too large.
    """
    size = 1 + sum(part.size for part in parts)
    if size > MAX_NODES:
        raise PlanError(
            "plan.size",
            f"this expression has more than {MAX_NODES:,} parts",
            next_step="build it in fewer steps; repeated self-multiplication doubles it every time",
        )
    return Term(scalar, combine(scalar, tuple(part.grid for part in parts)), size)


def literal(value: Any, like: Grid | None) -> Term:
    """Return ``value`` as a literal that can stand beside a value of type ``like``.

    Raises:
        PlanError: Not a literal of the plan language, or a missing value.
    """
    if literals.is_missing(value):
        raise PlanError(
            "plan.missing", "nothing equals a missing value", next_step="use .isna(), .notna() or fillna(value)"
        )
    if literals.is_date(value) or (like is not None and like.kind == "date" and isinstance(value, str)):
        return node(a.Date(literals.date_text(value)))
    if isinstance(value, str):
        return node(a.Text(value))
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return node(a.Boolean(bool(value)))
    return node(a.Number(literals.number_text(value)))


def arithmetic(kind: Literal["add", "sub", "mul"], left: Term, right: Term) -> Term:
    """Return ``left + right``, ``left - right`` or ``left * right``; two dates subtract to days."""
    if left.grid.kind == right.grid.kind == "bool":
        raise PlanError(
            "plan.types",
            "arithmetic on two conditions",
            nearest=(
                "(visits.age >= 65) & visits.smoker",
                "(visits.age >= 65) * 1 + visits.smoker * 1  # how many hold",
            ),
        )
    found = node(a.Arithmetic(kind, left.scalar, right.scalar), left, right)
    return dataclasses.replace(found, days=left.grid.kind == right.grid.kind == "date")


def sum_of(left: Term, right: Term) -> Term:
    """Return ``left + right``; of two texts, one after the other."""
    texts = ("category", "text")
    if left.grid.kind in texts and right.grid.kind in texts:
        return node(a.Concat((left.scalar, right.scalar)), left, right)
    return arithmetic("add", left, right)


def later(term: Term, days: int) -> Term:
    """Return a date ``days`` days later."""
    return node(a.DateShift(term.scalar, days), term) if days else term


def scale(term: Term, factor: Fraction) -> Term:
    """Return ``term`` times a public non-zero rational."""
    return term if factor == 1 else node(a.Scale(term.scalar, literals.text_of(factor)), term)


def negate(term: Term) -> Term:
    """Return ``-term``."""
    return node(a.Negate(term.scalar), term)


def absolute(term: Term) -> Term:
    """Return ``|term|``."""
    return node(a.Abs(term.scalar), term)


def compare(kind: Comparison, left: Term, right: Term) -> Term:
    """Return a comparison; the literal, if there is one, stands on the right."""
    if isinstance(left.scalar, a.Number | a.Text | a.Boolean | a.Date):
        flipped: dict[Comparison, Comparison] = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}
        kind, left, right = flipped.get(kind, kind), right, left
    if left.labels or right.labels:
        raise PlanError(
            "plan.types",
            "a cut with its own labels is for grouping",
            next_step="compare the number itself",
            nearest=("visits.age.between(18, 65)",),
        )
    return node(a.Compare(kind, left.scalar, right.scalar), left, right)


def every(left: Term, right: Term) -> Term:
    """Return ``left & right``; chains become one node."""
    return _joined(a.And, left, right)


def some(left: Term, right: Term) -> Term:
    """Return ``left | right``; chains become one node."""
    return _joined(a.Or, left, right)


def exclusive(left: Term, right: Term) -> Term:
    """Return ``left ^ right``."""
    return some(every(left, negation(right)), every(negation(left), right))


def negation(term: Term) -> Term:
    """Return ``~term``."""
    return node(a.Not(term.scalar), term)


def is_null(term: Term) -> Term:
    """Return whether ``term`` is missing; never, for a column that is declared complete."""
    return node(a.IsNull(term.scalar), term) if term.grid.nullable else node(a.Boolean(False))


def fill(term: Term, value: Any) -> Term:
    """Return ``term`` with a literal where it is missing."""
    right = literal(value, term.grid)
    return node(a.Fill(term.scalar, right.scalar), term, right) if term.grid.nullable else term


def case(when: Term, then: Term, otherwise: Term) -> Term:
    """Return ``then`` where ``when`` holds, else ``otherwise``."""
    return node(a.Case(when.scalar, then.scalar, otherwise.scalar), when, then, otherwise)


def only(term: Term, when: Term) -> Term:
    """Return ``term`` where ``when`` holds, else missing."""
    return node(a.Only(term.scalar, when.scalar), term, when)


def is_in(term: Term, values: Iterable[Any]) -> Term:
    """Return whether ``term`` equals one of the literals."""
    found = [literal(value, term.grid) for value in values if not literals.is_missing(value)]
    parts = list({part.scalar: part for part in found}.values())
    if not parts:
        return node(a.Boolean(False))
    return node(a.IsIn(term.scalar, tuple(part.scalar for part in parts)), term, *parts)


def clip(term: Term, lower: Any, upper: Any) -> Term:
    """Return ``term`` limited to public bounds; a missing bound is the one the type already has."""
    text = literals.date_text if term.grid.kind == "date" else literals.number_text
    if literals.is_missing(lower) and literals.is_missing(upper):
        return term
    low = literals.grid_text(term.grid, term.grid.lo) if literals.is_missing(lower) else text(lower)
    high = literals.grid_text(term.grid, term.grid.hi) if literals.is_missing(upper) else text(upper)
    return node(a.Clip(term.scalar, low, high), term)


def cut(term: Term, edges: Sequence[Any], labels: Sequence[str] | None) -> Term:
    """Return the bin a number or date falls in; bins are closed on the left."""
    text = literals.date_text if term.grid.kind == "date" else literals.number_text
    texts = tuple(text(edge) for edge in edges)
    names = tuple(str(label) for label in labels or ())
    if names and (len(names) != len(texts) - 1 or len(set(names)) != len(names)):
        raise PlanError("plan.cut", f"{len(texts) - 1} bins need as many different labels, not {len(names)}")
    return dataclasses.replace(node(a.Cut(term.scalar, texts), term), labels=names)


def note_domain(term: Term, values: Iterable[Any]) -> None:
    """Warn if a text is not in the public domain of a category: the answer would be paid for, and be nothing."""
    import warnings  # noqa: PLC0415 (only on a mistake)

    if term.grid.kind != "category":
        return
    for value in values:
        if isinstance(value, str) and value not in term.grid.domain:
            warnings.warn(
                f"{value!r} is not in the declared domain ({', '.join(term.grid.domain[:12])}); no row can have it",
                UserWarning,
                stacklevel=4,
            )


def _joined(kind: type[a.And] | type[a.Or], left: Term, right: Term) -> Term:
    parts: list[Term] = []
    for term in (left, right):
        if isinstance(term.scalar, kind):
            parts.extend(Term(child, Grid("bool", 0, 1, uses=term.grid.uses), 1) for child in children(term.scalar))
        else:
            parts.append(term)
    terms = tuple(dict.fromkeys(part.scalar for part in parts))
    if len(terms) == 1:
        return left
    joined = combine(kind(tuple(part.scalar for part in parts)), tuple(part.grid for part in parts))
    return Term(kind(terms), joined, left.size + right.size + 1)
