"""Scalars: row-wise expressions over the columns of one relation; all are total and exact."""

from __future__ import annotations

from typing import Literal

import msgspec


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="op"):
    """Base of every node."""


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
