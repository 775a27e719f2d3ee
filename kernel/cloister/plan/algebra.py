"""The closed algebra of query plans: what an analyst can ask, and nothing else.

A plan is a tree of frozen structs, encoded as canonical JSON with the node name under ``op``. There is no
function, no SQL, no callable in it. The tree has three levels:

* relations: ``Table`` ``Filter`` ``Derive`` ``Select`` ``Cap``: rows in, rows out; every row belongs to one unit;
* scalars: row-wise expressions over columns; all are total and exact;
* one primitive that leaves the vault: ``VectorSum``, a vector of integer sums per key of a closed domain.

Semantics, where pandas and SQL differ (the interpreter in ``vault/interpret.py`` is the reference):
comparisons with null are False (``ne`` is True), boolean operators treat null as False, arithmetic with null is
null, ``Filter`` keeps rows whose condition is True, rows with a null key are in no group (``dropna=True``).
Numbers are exact rationals written as ``"18"``, ``"-0.5"`` or ``"1/3"``; dates are ``"2024-01-31"``.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="op"):
    """Base of every node."""


# Scalars ---------------------------------------------------------------------------------------------


class Col(Node, frozen=True, tag="col"):
    """A column of the source relation."""

    name: str


class Number(Node, frozen=True, tag="number"):
    """An exact rational literal."""

    value: str


class Text(Node, frozen=True, tag="text"):
    """A text literal, compared with categories."""

    value: str


class Boolean(Node, frozen=True, tag="boolean"):
    """True or False."""

    value: bool


class Date(Node, frozen=True, tag="date"):
    """An ISO 8601 calendar date."""

    value: str


class Arithmetic(Node, frozen=True, tag="arithmetic"):
    """Exact sum, difference or product of two numbers (date - date is a number of days)."""

    kind: Literal["add", "sub", "mul"]
    left: Scalar
    right: Scalar


class Scale(Node, frozen=True, tag="scale"):
    """``term * factor`` by a non-zero public rational: division by a constant stays exact."""

    term: Scalar
    factor: str


class Negate(Node, frozen=True, tag="negate"):
    """``-term``."""

    term: Scalar


class Abs(Node, frozen=True, tag="abs"):
    """``|term|``."""

    term: Scalar


class Compare(Node, frozen=True, tag="compare"):
    """A comparison of two numbers, dates, booleans, or a category with a text."""

    kind: Literal["eq", "ne", "lt", "le", "gt", "ge"]
    left: Scalar
    right: Scalar


class And(Node, frozen=True, tag="and"):
    """All terms are True."""

    terms: tuple[Scalar, ...]


class Or(Node, frozen=True, tag="or"):
    """Some term is True."""

    terms: tuple[Scalar, ...]


class Not(Node, frozen=True, tag="not"):
    """The term is not True."""

    term: Scalar


class IsNull(Node, frozen=True, tag="is_null"):
    """The term is null."""

    term: Scalar


class Fill(Node, frozen=True, tag="fill"):
    """The term, or the literal where the term is null."""

    term: Scalar
    value: Scalar


class Case(Node, frozen=True, tag="case"):
    """``then`` where the condition is True, else ``otherwise``."""

    when: Scalar
    then: Scalar
    otherwise: Scalar


class IsIn(Node, frozen=True, tag="is_in"):
    """The term equals one of at most 1,000 literals."""

    term: Scalar
    values: tuple[Scalar, ...]


class Clip(Node, frozen=True, tag="clip"):
    """The term limited to the closed interval of two public numbers (or dates)."""

    term: Scalar
    low: str
    high: str


class Cut(Node, frozen=True, tag="cut"):
    """The index of the public bin a number falls in, as a category with a closed domain.

    ``edges`` are ascending; bins are ``[e0,e1)``, ... as ``pd.cut(..., right=False)`` names them; below the
    first and from the last edge on is null.
    """

    term: Scalar
    edges: tuple[str, ...]


Scalar = (
    Col | Number | Text | Boolean | Date | Arithmetic | Scale | Negate | Abs | Compare | And | Or | Not | IsNull
    | Fill | Case | IsIn | Clip | Cut
)  # fmt: skip


# Relations -------------------------------------------------------------------------------------------


class Table(Node, frozen=True, tag="table"):
    """A table of the contract, by its catalogue name (``st_anna.visits``)."""

    name: str


class Filter(Node, frozen=True, tag="filter"):
    """Rows for which the condition is True."""

    source: Relation
    where: Scalar


class Derive(Node, frozen=True, tag="derive"):
    """New or replaced columns; all see the columns of the source."""

    source: Relation
    columns: tuple[tuple[str, Scalar], ...]


class Select(Node, frozen=True, tag="select"):
    """A subset of columns."""

    source: Relation
    columns: tuple[str, ...]


class Cap(Node, frozen=True, tag="cap"):
    """At most ``rows`` rows per unit and value of ``by``, and at most ``groups`` such values per unit.

    Which rows stay is decided by the row hash, which values by a keyed hash of unit and value: both
    depend on the unit's own rows only.
    """

    source: Relation
    rows: int
    by: tuple[str, ...] = ()
    groups: int | None = None


Relation = Table | Filter | Derive | Select | Cap


# Measures and the primitive --------------------------------------------------------------------------


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


Measure = Count | Sum | Mean | Gram


class VectorSum(Node, frozen=True, tag="vector_sum"):
    """The release primitive: the measures' integer components per cell of the closed keys, with noise.

    ``rho`` is the price asked (zCDP, an exact fraction as text); the charge is at most that.
    """

    source: Relation
    measures: tuple[Measure, ...]
    rho: str
    keys: tuple[str, ...] = ()
    version: Literal[1] = 1


Plan = VectorSum
