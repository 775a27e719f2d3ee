"""Random well-typed scalars over the columns of a schema: every node of the algebra, on every kind of value."""

from __future__ import annotations

import random

from cloister.plan import algebra as a
from cloister.plan.rules import children

TEXTS = ("red", "RED", "green", "blue", "black", "(other)", "", "x" * 300, "b\x00lue", "é", "e\u0301", "😀" * 200,
         "it's", '"quoted"', "; DROP TABLE t0; --", " red", "red\t\n", "\x0b\x0c", "-12.5", "+007", "12.", "1e5",
         "999999999999.999999", "-999999999999.999999", "1234567890123", "٣", "İ", "a\u202eb", "$p0", "\\",
         "%")  # fmt: skip
PIECES = ("r", "e", "", "red", "\x00", "😀", "́", "it's", " ", "-", "12", "zzz", "lu", "x")
EDGES = (("-3", "0", "1/2", "9"), ("0", "1", "2", "3", "4", "5"), ("-7/3", "-1/3", "1/2", "5/3"),
         ("-1000000", "-500", "300000"))  # fmt: skip


class ScalarFuzz:
    """Draws scalars; ``column`` names one of each kind.

    A Curve is never drawn: its last step is the engine's, so what is made of it need not be equal.
    """

    rng: random.Random

    def column(self, *kinds: str) -> a.Scalar | None:
        """A column of one of these kinds, if there is one."""
        raise NotImplementedError

    def any(self, depth: int) -> a.Scalar:
        kinds = [self.number, self.number, self.bool, self.category, self.date, self.text]
        return self.rng.choice(kinds)(depth)

    def literal(self) -> a.Number:
        return a.Number(
            self.rng.choice(["0", "1", "-1", "2", "0.25", "-7.5", "1/3", "5", "100", "-1000000", "10000000000"])
        )

    def number(self, depth: int) -> a.Scalar:
        rng, leaf = self.rng, self.column("number", "number", "bool") or self.literal()
        if depth == 0:
            return rng.choice([leaf, leaf, self.literal()])
        inner = self.number(depth - 1)
        return rng.choice([
            lambda: leaf, lambda: self.bool(depth - 1),
            lambda: a.Arithmetic(rng.choice(["add", "sub", "mul"]), inner, self.number(depth - 1)),
            lambda: a.Arithmetic("mul", inner, inner),
            lambda: a.Arithmetic("sub", self.date(depth - 1), self.date(0)),
            lambda: a.Scale(inner, rng.choice(["2", "-0.5", "1/3", "-3"])),
            lambda: a.Negate(inner), lambda: a.Abs(inner),
            lambda: a.Fill(inner, self.literal()),
            lambda: a.Case(self.bool(depth - 1), inner, self.number(depth - 1)),
            lambda: a.Clip(inner, rng.choice(["-5", "-1/2", "0"]), rng.choice(["0", "1/3", "4", "900"])),
            lambda: a.Only(inner, self.bool(depth - 1)),
            lambda: a.Modulo(inner, rng.choice(["1", "2", "7", "1/3", "0.75", "100", "100000000000"])),
            lambda: self._round(inner), lambda: self._round(inner),
            lambda: self._quotient(inner, self.number(depth - 1)), lambda: self._quotient(inner, leaf),
            lambda: a.DatePart(rng.choice(["year", "quarter", "month", "week", "day", "weekday", "dayofyear"]),
                               self.date(depth - 1)),
            lambda: a.Length(self.any_text(depth - 1)),
            lambda: self._parse(self.any_text(depth - 1)),
        ])()  # fmt: skip

    def _round(self, inner: a.Scalar) -> a.Round:
        step = self.rng.choice(["1", "2", "0.5", "0.1", "1/3", "10", "3/7", "100000"])
        return a.Round(inner, step, self.rng.choice(["floor", "ceil", "even", "even"]))

    def _quotient(self, left: a.Scalar, right: a.Scalar) -> a.Quotient:
        low, high, step = self.rng.choice(
            [("0", "1", "0.01"), ("-4", "4", "1/3"), ("-100", "100", "1"), ("2", "2", "1"), ("-1", "0", "1/1024")]
        )
        return a.Quotient(left, right, low, high, step)

    def _parse(self, inner: a.Scalar) -> a.Parse:
        low, high, step = self.rng.choice(
            [("-100", "100", "0.5"), ("0", "2000000", "1"), ("-999999999999", "999999999999", "0.25"),
             ("-13", "13", "1/3"), ("5", "9", "0.000001"), ("-10", "30", "10")]
        )  # fmt: skip
        return a.Parse(inner, low, high, step)

    def bool(self, depth: int) -> a.Scalar:
        rng, leaf = self.rng, self.column("bool") or a.Boolean(True)
        if depth == 0:
            return rng.choice([leaf, a.Boolean(rng.random() < 0.5), a.IsNull(self.number(0))])
        compare = rng.choice(["eq", "ne", "lt", "le", "gt", "ge"])
        inner = self.bool(depth - 1)
        return rng.choice([
            lambda: leaf,
            lambda: a.Compare(compare, self.number(0), self.literal()),
            lambda: a.Compare(compare, self.literal(), self.number(depth - 1)),
            lambda: a.Compare(compare, self.number(depth - 1), self.number(depth - 1)),
            lambda: a.Compare(compare, self.date(depth - 1), self.date(0)),
            lambda: a.Compare(rng.choice(["eq", "ne"]), self.category(depth - 1), self.category(0)),
            lambda: a.Compare(rng.choice(["eq", "ne"]), self.any_text(depth - 1), self.any_text(depth - 1)),
            lambda: a.And((inner, self.bool(depth - 1))), lambda: a.Or((inner, self.bool(depth - 1))),
            lambda: a.Not(inner), lambda: a.Not(leaf), lambda: a.And((leaf, inner)),
            lambda: a.IsNull(self.any(depth - 1)), lambda: a.Fill(inner, a.Boolean(True)),
            lambda: a.IsIn(self.number(depth - 1), (self.literal(), self.literal())),
            lambda: a.IsIn(self.category(depth - 1), (a.Text("red"), a.Text("nowhere"))),
            lambda: a.IsIn(self.text(depth - 1), tuple(a.Text(rng.choice(TEXTS)) for _ in range(3))),
            lambda: a.Case(inner, self.bool(depth - 1), self.bool(0)),
            lambda: a.Only(inner, self.bool(0)),
            lambda: a.Matches(rng.choice(["starts_with", "ends_with", "contains"]), self.any_text(depth - 1),
                              rng.choice(PIECES)),
        ])()  # fmt: skip

    def category(self, depth: int) -> a.Scalar:
        rng, leaf = self.rng, self.column("category") or a.Text("red")
        if depth == 0:
            return rng.choice([leaf, leaf, a.Text(rng.choice(["red", "(other)", "violet"]))])
        return rng.choice([
            lambda: leaf, lambda: a.Cut(self.number(depth - 1), rng.choice(EDGES)),
            lambda: a.Cut(self.date(0), ("2024-01-01", "2024-02-01", "2024-04-01")),
            lambda: a.Case(self.bool(depth - 1), self.category(depth - 1), self.category(0)),
            lambda: a.Fill(self.category(depth - 1), a.Text(rng.choice(["red", "missing"]))),
            lambda: a.Only(self.category(depth - 1), self.bool(0)),
            lambda: self._changed(self.category(depth - 1)),
            lambda: a.Concat((self.category(depth - 1), self.category(0))),
            lambda: a.Recode(self.any_text(depth - 1), rng.choice([("red",), ("RED", "blue", ""), ("b\x00lue", "é")])),
        ])()  # fmt: skip

    def _changed(self, term: a.Scalar) -> a.Scalar:
        """A text scalar with one term, which keeps closed what is closed."""
        rng = self.rng
        start = rng.choice([0, 1, 3, 255, 300])
        return rng.choice([
            a.Letters(rng.choice(["lower", "upper", "strip"]), term),
            a.Slice(term, start, start + rng.choice([0, 1, 4, 256])),
            a.Replace(term, rng.choice(["r", "e", "x", "\x00", "😀"]), rng.choice(PIECES)),
        ])  # fmt: skip

    def text(self, depth: int) -> a.Scalar:
        """A free text, if there is a column of it."""
        rng, leaf = self.rng, self.column("text")
        if leaf is None:
            return self.category(depth)
        if depth == 0:
            return leaf
        return rng.choice([
            lambda: leaf, lambda: self._changed(self.text(depth - 1)), lambda: self._changed(self.text(depth - 1)),
            lambda: a.Concat((self.text(depth - 1), a.Text(rng.choice(PIECES)), self.category(0))),
            lambda: a.Concat((self.category(0), self.text(0), self.text(depth - 1))),
            lambda: a.Case(self.bool(depth - 1), self.text(depth - 1), self.any_text(0)),
            lambda: a.Fill(self.text(depth - 1), a.Text(rng.choice(TEXTS))),
            lambda: a.Only(self.text(depth - 1), self.bool(0)),
        ])()  # fmt: skip

    def any_text(self, depth: int) -> a.Scalar:
        return self.rng.choice([self.text, self.text, self.category])(depth)

    def date(self, depth: int) -> a.Scalar:
        rng, leaf = self.rng, self.column("date") or a.Date("2024-02-29")
        if depth == 0:
            return rng.choice([leaf, leaf, a.Date(rng.choice(["2024-01-01", "2023-12-31", "2024-02-29"]))])
        return rng.choice([
            lambda: leaf, lambda: a.Clip(self.date(depth - 1), "2024-01-15", "2024-05-01"),
            lambda: a.Fill(self.date(depth - 1), a.Date("2024-02-01")),
            lambda: a.Case(self.bool(depth - 1), self.date(depth - 1), self.date(0)),
            lambda: a.Only(self.date(depth - 1), self.bool(0)),
            lambda: a.DateFloor(rng.choice(["week", "month", "quarter", "year"]), self.date(depth - 1)),
            lambda: a.DateShift(self.date(depth - 1), rng.choice([-400, -1, 0, 7, 100_000])),
            lambda: a.Arithmetic(rng.choice(["add", "sub"]), self.date(depth - 1),
                                 a.Round(self.number(depth - 1), "1", "even")),
            lambda: a.Arithmetic("add", a.Round(self.number(0), "2", "floor"), self.date(0)),
        ])()  # fmt: skip


def nodes_of(node: a.Scalar) -> set[type]:
    """The types of all nodes of an expression."""
    return {type(node)}.union(*(nodes_of(child) for child in children(node)))
