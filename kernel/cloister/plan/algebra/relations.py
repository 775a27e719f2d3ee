"""Relations: rows in, rows out; the rows of a unit depend on that unit's rows and on public inputs only."""

from __future__ import annotations

from typing import Literal

from cloister.plan.algebra.scalars import Node, Scalar


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


class Align(Node, frozen=True, tag="align"):
    """Every pair of a left and a right row of the same unit; ``left`` also keeps left rows without a partner.

    Both sides must protect the same unit type and normalise its key alike. ``columns`` names the right columns that
    come along and what they are called; on ``left`` they are null where there is no partner.
    """

    left: Relation
    right: Relation
    how: Literal["inner", "left"]
    columns: tuple[tuple[str, str], ...]


class PublicRows(Node, frozen=True, tag="public_rows"):
    """Rows of literals written into the plan: each the values of the lookup's keys, then of its new columns."""

    rows: tuple[tuple[Scalar, ...], ...]


class Reference(Node, frozen=True, tag="reference"):
    """A provider's reference table (its card's unit is ``none``): columns that match the keys, and those taken."""

    table: str
    keys: tuple[str, ...]
    columns: tuple[str, ...]


class Lookup(Node, frozen=True, tag="lookup"):
    """New columns found by key in rows that belong to no unit; each key is there at most once.

    ``keys`` are columns of the source, ``columns`` the names of the new ones. Rows whose key is not found get null, or
    are left out if ``inner``.
    """

    source: Relation
    keys: tuple[str, ...]
    rows: PublicRows | Reference
    columns: tuple[str, ...]
    inner: bool = False


class UnitMeasure(Node, frozen=True, tag="unit_measure"):
    """One number over the rows of a unit; null counts as nothing, and where nothing is left all but counts are null.

    ``count`` rows (or non-null values), ``sum``, ``min``, ``max``, ``mean`` (rounded down to the term's grid), ``any``
    and ``all`` of a condition, ``distinct`` values of a closed term.
    """

    name: str
    kind: Literal["count", "sum", "min", "max", "mean", "any", "all", "distinct"]
    of: Scalar | None = None


class PerUnit(Node, frozen=True, tag="per_unit"):
    """One row per unit, or per unit and value of the closed columns ``by``, that holds ``by`` and the measures.

    Only units and values that occur have a row; rows with a null in ``by`` are in none.
    """

    source: Relation
    measures: tuple[UnitMeasure, ...]
    by: tuple[str, ...] = ()


class Lag(Node, frozen=True, tag="lag"):
    """The value ``rows`` rows earlier (later, if negative) within the unit, or null."""

    name: str
    of: Scalar
    rows: int = 1


class RowNumber(Node, frozen=True, tag="row_number"):
    """The position of the row within the unit, from 1."""

    name: str


class RunningSum(Node, frozen=True, tag="running_sum"):
    """The sum of a number over the unit's rows so far, this one included; null counts as nothing."""

    name: str
    of: Scalar


class Window(Node, frozen=True, tag="window"):
    """New columns computed along the rows of a unit (and value of ``by``) in a total order.

    ``order`` are columns, each ascending or descending, null last; ties are broken by the row hash.
    """

    source: Relation
    order: tuple[tuple[str, Literal["asc", "desc"]], ...]
    functions: tuple[Lag | RowNumber | RunningSum, ...]
    by: tuple[str, ...] = ()


class Stack(Node, frozen=True, tag="stack"):
    """The rows of several relations with the same columns and unit type, one after the other.

    ``column``, if named, is a new category that says which of ``labels`` a row comes from.
    """

    sources: tuple[Relation, ...]
    column: str | None = None
    labels: tuple[str, ...] = ()


class Split(Node, frozen=True, tag="split"):
    """The rows of those units whose hash, salted and taken modulo ``parts``, is one of ``take``.

    Splits with the same salt and parts agree across tables of a contract; disjoint ``take`` share no unit.
    """

    source: Relation
    parts: int
    take: tuple[int, ...]
    salt: str = ""


Relation = Table | Filter | Derive | Select | Cap | Align | Lookup | PerUnit | Window | Stack | Split
