"""The closed algebra of query plans: what an analyst can ask, and nothing else.

A plan is a tree of frozen structs, encoded as canonical JSON with the node name under ``op``. There is no
function, no SQL, no callable in it. The tree has three levels:

* relations: rows in, rows out; every row belongs to one unit, and the rows of a unit depend on that unit's rows and on
  public inputs only;
* scalars: row-wise expressions over columns; all are total and exact (``Curve``: to one step of its grid);
* primitives that leave the vault: ``VectorSum`` (vectors of integers per cell of closed keys, each with noise),
  ``ThresholdKeys`` (values that occur for many units), and, as a measure of a ``VectorSum``, ``Quantile`` (noisy max).

Semantics, where pandas and SQL differ (the interpreter in ``vault/interpret.py`` is the reference):
comparisons with null are False (``ne`` is True), boolean operators treat null as False, arithmetic with null is
null, ``Filter`` keeps rows whose condition is True, rows with a null key are in no group (``dropna=True``).
Numbers are exact rationals written as ``"18"``, ``"-0.5"`` or ``"1/3"``; dates are ``"2024-01-31"``. Text is compared
code point by code point; a text is at most 256 code points, and what would be longer is cut there.
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
    """A text literal, compared with categories and texts."""

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
    """A comparison of two numbers, dates or booleans; of categories and texts only ``eq`` and ``ne``."""

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


class Only(Node, frozen=True, tag="only"):
    """The term where the condition is True, else null (pandas' ``where`` without a second value)."""

    term: Scalar
    when: Scalar


class Modulo(Node, frozen=True, tag="modulo"):
    """``term - divisor * floor(term / divisor)`` for a public divisor above zero: never negative, as in Python."""

    term: Scalar
    divisor: str


class Round(Node, frozen=True, tag="round"):
    """The term as a multiple of a public ``step`` above zero: rounded down, up, or to the nearest (ties to even)."""

    term: Scalar
    step: str
    kind: Literal["floor", "ceil", "even"]


class Quotient(Node, frozen=True, tag="quotient"):
    """``left / right`` rounded down to a multiple of ``step`` and limited to ``low..high``; null where ``right`` is 0.

    A quotient of columns has no bounds of its own, so the plan states them (multiples of ``step``).
    """

    left: Scalar
    right: Scalar
    low: str
    high: str
    step: str


class Curve(Node, frozen=True, tag="curve"):
    """``log(1 + x)``, ``sqrt(x)`` or ``exp(x)`` rounded down to a multiple of 2^-20.

    Total: below their domain ``log1p`` and ``sqrt`` are null. The last step may differ between engines.
    """

    kind: Literal["log1p", "sqrt", "exp"]
    term: Scalar


class DatePart(Node, frozen=True, tag="date_part"):
    """A part of a date as a whole number: ``weekday`` is 0 for Monday, ``week`` the ISO week."""

    part: Literal["year", "quarter", "month", "week", "day", "weekday", "dayofyear"]
    term: Scalar


class DateFloor(Node, frozen=True, tag="date_floor"):
    """The first day of the period a date lies in (weeks begin on Monday)."""

    unit: Literal["week", "month", "quarter", "year"]
    term: Scalar


class DateShift(Node, frozen=True, tag="date_shift"):
    """The date ``days`` days later (a public whole number, may be negative)."""

    term: Scalar
    days: int


class Letters(Node, frozen=True, tag="letters"):
    """A text with its ASCII letters in lower or upper case, or without ASCII white space at both ends."""

    kind: Literal["lower", "upper", "strip"]
    term: Scalar


class Length(Node, frozen=True, tag="length"):
    """The number of code points of a text."""

    term: Scalar


class Matches(Node, frozen=True, tag="matches"):
    """Whether a text starts with, ends with or contains a public text (no patterns)."""

    kind: Literal["starts_with", "ends_with", "contains"]
    term: Scalar
    text: str


class Slice(Node, frozen=True, tag="slice"):
    """The code points ``start <= i < stop`` of a text, counted from 0."""

    term: Scalar
    start: int
    stop: int


class Replace(Node, frozen=True, tag="replace"):
    """The text with every occurrence of a public text replaced by another, from left to right."""

    term: Scalar
    old: str
    new: str


class Concat(Node, frozen=True, tag="concat"):
    """Texts one after the other."""

    terms: tuple[Scalar, ...]


class Recode(Node, frozen=True, tag="recode"):
    """A text as a category with the public domain ``labels`` and, last, ``(other)`` for everything else."""

    term: Scalar
    labels: tuple[str, ...]


class Parse(Node, frozen=True, tag="parse"):
    """A text such as ``-12.5`` as a number limited to ``low..high`` and rounded down to a multiple of ``step``.

    An optional sign, 1 to 12 digits and at most 6 decimals; every other text is null.
    """

    term: Scalar
    low: str
    high: str
    step: str


Scalar = (
    Col | Number | Text | Boolean | Date | Arithmetic | Scale | Negate | Abs | Compare | And | Or | Not | IsNull
    | Fill | Case | IsIn | Clip | Cut | Only | Modulo | Round | Quotient | Curve | DatePart | DateFloor | DateShift
    | Letters | Length | Matches | Slice | Replace | Concat | Recode | Parse
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


class Units(Node, frozen=True, tag="units"):
    """Distinct units."""

    name: str


class Ratio(Node, frozen=True, tag="ratio"):
    """Sum of one bounded number over the sum of another, over the rows where neither is null."""

    name: str
    of: Scalar
    over: Scalar


class Variance(Node, frozen=True, tag="variance"):
    """Variance of the non-null values, or its square root; ``ddof`` as in pandas."""

    name: str
    of: Scalar
    root: bool = False
    ddof: Literal[0, 1] = 1


class Covariance(Node, frozen=True, tag="covariance"):
    """Covariance of two numbers over the rows where neither is null, or their correlation."""

    name: str
    of: tuple[Scalar, Scalar]
    correlation: bool = False
    ddof: Literal[0, 1] = 1


class Quantile(Node, frozen=True, tag="quantile"):
    """Quantiles of a number or date at ``at`` (fractions in (0, 1)), each by the noisy maximum over public candidates.

    The candidates are the term's grid, or at most ``MAX_CANDIDATES`` evenly spaced points of it.
    """

    name: str
    of: Scalar
    at: tuple[str, ...]


class Clipped(Node, frozen=True, tag="clipped"):
    """Rows in which storage limited a value that ``of`` depends on: out of bounds, or out of domain."""

    name: str
    of: Scalar


class Capped(Node, frozen=True, tag="capped"):
    """Rows of units that had more rows than storage keeps."""

    name: str


Measure = Count | Sum | Mean | Gram | Units | Ratio | Variance | Covariance | Quantile | Clipped | Capped


class VectorSum(Node, frozen=True, tag="vector_sum"):
    """The release primitive: the measures' integer components per cell of the closed keys, with noise.

    ``rho`` is the price asked (zCDP, an exact fraction as text); the charge is at most that. ``draw`` tells independent
    answers to one question apart: each is charged.
    """

    source: Relation
    measures: tuple[Measure, ...]
    rho: str
    keys: tuple[str, ...] = ()
    draw: int = 0
    version: Literal[1] = 1


class ThresholdKeys(Node, frozen=True, tag="threshold_keys"):
    """Which values of the keys occur for many units: values whose noisy number of units is above a threshold.

    A unit counts for at most ``groups`` values. The price is ``rho`` and, for values that only one unit has, ``delta``.
    """

    source: Relation
    keys: tuple[str, ...]
    groups: int
    rho: str
    delta: str
    draw: int = 0
    version: Literal[1] = 1

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What is told about every value: for how many units it occurs."""
        return (Units("units"),)


Plan = VectorSum | ThresholdKeys
