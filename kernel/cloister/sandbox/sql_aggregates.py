"""Aggregates of SQL as the aggregates of the sandbox: which function of which column, under which name.

Names are chosen as pandas' forms choose them, so that one question has one plan in both languages and its answer is
recalled: ``AVG(bmi)`` is ``visits.bmi.mean()``, ``AVG(bmi) AS m, COUNT(*) AS n`` is ``agg(m=..., n=...)``.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import msgspec
from sqlglot import exp

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.sandbox import literals, measures
from cloister.sandbox.column import Column
from cloister.sandbox.sql_scalars import Reader
from cloister.sandbox.sql_text import Source
from cloister.sandbox.terms import Term

_PLAIN: dict[type[exp.Expr], str] = {exp.Count: "count", exp.Sum: "sum", exp.Avg: "mean", exp.CountIf: "sum"}
_SPREADS: dict[type[exp.Expr], tuple[bool, Literal[0, 1]]] = {
    exp.Variance: (False, 1), exp.VariancePop: (False, 0),
    exp.Stddev: (True, 1), exp.StddevSamp: (True, 1), exp.StddevPop: (True, 0),
}  # fmt: skip
_PAIRS: dict[type[exp.Expr], tuple[bool, Literal[0, 1]]] = {
    exp.Corr: (True, 1), exp.CovarSamp: (False, 1), exp.CovarPop: (False, 0),
}  # fmt: skip
_QUANTILES = (exp.Median, exp.Quantile, exp.PercentileCont, exp.WithinGroup)
KINDS = (exp.AggFunc, exp.Filter, exp.WithinGroup)


@dataclasses.dataclass(frozen=True)
class Aggregate:
    """A function of a column (``None``: of rows), with the name of that column.

    ``ready`` is the measure, where it is not one of the sandbox's own words.
    """

    func: str
    term: Term | None
    column: str | None
    ready: a.Measure | None = None

    def measure(self, name: str) -> a.Measure:
        """Return the measure under a name."""
        if self.ready is not None:
            return msgspec.structs.replace(self.ready, name=name)
        return measures.measure(name, self.func, self.term)


def is_aggregate(node: exp.Expr) -> bool:
    """Return whether a node is an aggregate (and not one of its parts)."""
    return isinstance(node, KINDS)


def read(node: exp.Expr, reader: Reader, source: Source) -> Aggregate:
    """Return the aggregate a node stands for.

    Raises:
        PlanError: Not an aggregate that can be released.
    """
    if isinstance(node, exp.Filter):
        return _filtered(node, reader, source)
    if isinstance(node, exp.Min | exp.Max):
        raise source.refuse(
            node,
            "a minimum or maximum is one person's value",
            "SELECT AVG(age) FROM visits",
            "SELECT COUNT_IF(age >= 90) FROM visits",
            code="sql.extreme",
        )
    if isinstance(node, _QUANTILES):
        return _quantile(node, reader, source)
    if type(node) in _SPREADS:
        source.only(node, "this")
        root, ddof = _SPREADS[type(node)]
        column = _numeric(node.this, reader, source)
        made: a.Measure = a.Variance("", column._term.scalar, root, ddof)
        return Aggregate("std" if root else "var", column._term, column.name, made)
    if type(node) in _PAIRS:
        source.only(node, "this", "expression")
        correlation, ddof = _PAIRS[type(node)]
        pair = _numeric(node.this, reader, source), _numeric(node.expression, reader, source)
        made = a.Covariance("", (pair[0]._term.scalar, pair[1]._term.scalar), correlation, ddof)
        return Aggregate("corr" if correlation else "cov", pair[0]._term, pair[0].name, made)
    func = _PLAIN.get(type(node))
    if func is None:
        raise source.refuse(node, f"{node.key.upper()} is not an aggregate that can be released", "AVG(cost)")
    source.only(node, "this", "big_int")
    inside = node.this
    if isinstance(node, exp.Count) and isinstance(inside, exp.Star):
        return Aggregate("size", None, None)
    if isinstance(inside, exp.Distinct):
        named = inside.expressions
        if isinstance(node, exp.Count) and len(named) == 1 and reader.is_key(named[0]):
            return Aggregate("nunique", None, reader.column(named[0]).name, a.Units(""))
        raise source.refuse(
            node, "which values occur is a fact about people", "SELECT COUNT(*) FROM visits", code="sql.distinct"
        )
    if isinstance(node, exp.CountIf):
        return _of("sum", reader.holds(inside), None)
    if isinstance(node, exp.Count) and isinstance(inside, exp.Literal):
        return Aggregate("size", None, None)
    if isinstance(inside, exp.Case) and inside.args.get("default") is None:
        if isinstance(node, exp.Count) and (when := _one_branch(inside)) is not None:
            return _of("sum", reader.holds(when), None)
        if isinstance(node, exp.Sum):
            return _of("sum", reader.lift(reader.case(inside, 0), inside), None)
    if func == "sum" and not isinstance(inside, exp.Column) and _is_condition(inside):
        return _of("sum", reader.holds(inside), None)
    column = reader.column(inside)
    try:
        measures.measure("", func, column._term)
    except PlanError as error:
        raise source.refuse(
            node, error.reason, "SELECT sex, COUNT(*) FROM visits GROUP BY sex", code=error.code
        ) from error
    return _of(func, column, column.name)


def names(found: list[tuple[str | None, Aggregate]]) -> list[str]:
    """Return a name for each aggregate, given its alias, as the nearest pandas form would name it."""
    if len(found) == 1:
        one = found[0][1]
        return [one.column or one.func]
    columns = [one.column for _, one in found]
    if all(alias for alias, _ in found):
        wanted = [alias or "" for alias, _ in found]
    elif len(set(columns)) == 1:
        wanted = [one.func for _, one in found]
    elif len(set(columns)) == len(columns) and None not in columns:
        wanted = [column or "" for column in columns]
    else:
        wanted = [f"{one.column}.{one.func}" if one.column else one.func for _, one in found]
    taken: list[str] = []
    for name in wanted:
        number, free = 2, name
        while free in taken:
            free, number = f"{name}_{number}", number + 1
        taken.append(free)
    return taken


def _of(func: str, column: Any, name: str | None) -> Aggregate:
    return Aggregate(func, column._term, name)


def _is_condition(node: exp.Expr) -> bool:
    return isinstance(node, exp.Predicate | exp.Connector | exp.Not)


def _one_branch(node: exp.Case) -> exp.Expr | None:
    """Return the condition of ``CASE WHEN c THEN 1 END``."""
    (*rest, branch) = node.args["ifs"]
    plain = not rest and node.this is None and isinstance(branch.args["true"], exp.Literal)
    return branch.this if plain else None


def _numeric(node: exp.Expr, reader: Reader, source: Source) -> Column:
    column = reader.column(node)
    if column._term.grid.kind not in {"number", "bool"}:
        raise source.refuse(node, "a number is needed here", "STDDEV(cost)", code="plan.types")
    return column


def _quantile(node: exp.Expr, reader: Reader, source: Source) -> Aggregate:
    """``MEDIAN(x)``, ``QUANTILE(x, q)`` and ``PERCENTILE_CONT(q) WITHIN GROUP (ORDER BY x)``."""
    level: exp.Expr
    if isinstance(node, exp.WithinGroup):
        source.only(node.this, "this")
        ordered = node.expression.expressions
        if not isinstance(node.this, exp.PercentileCont) or len(ordered) != 1 or ordered[0].args.get("desc"):
            raise source.refuse(node, "quantiles are written like this", "MEDIAN(cost)", "QUANTILE(cost, 0.9)")
        inside, level = ordered[0].this, node.this.this
    else:
        source.only(node, "this", "quantile", "expression")
        inside = node.this
        level = node.args.get("quantile") or node.args.get("expression") or exp.Literal.number("0.5")
    column, value = reader.column(inside), reader.value(level)
    if column._term.grid.kind not in {"number", "date"}:
        raise source.refuse(node, "quantiles are of numbers and dates", "MEDIAN(cost)", code="plan.types")
    if isinstance(value, bool | str) or not hasattr(value, "__float__") or not 0 < float(value) < 1:
        raise source.refuse(node, "the level of a quantile is between 0 and 1", "QUANTILE(cost, 0.9)")
    made = a.Quantile("", column._term.scalar, (literals.number_text(value),))
    return Aggregate("quantile", column._term, column.name, made)


def _filtered(node: exp.Filter, reader: Reader, source: Source) -> Aggregate:
    source.only(node, "this", "expression")
    inside, when = node.this, node.expression.this
    if isinstance(inside, exp.Count) and isinstance(inside.this, exp.Star):
        return _of("sum", reader.holds(when), None)
    if isinstance(inside, exp.Sum):
        choice = exp.Case(ifs=[exp.If(this=when.copy(), true=inside.this.copy())], default=exp.Literal.number(0))
        return _of("sum", reader.lift(reader.case(choice), node), None)
    if type(inside) in {exp.Avg, exp.Count} and isinstance(inside.this, exp.Expr):
        source.only(inside, "this", "big_int")
        return _of(_PLAIN[type(inside)], reader.filtered(inside.this, when), None)
    raise source.refuse(node, "FILTER goes with COUNT, SUM and AVG", "SELECT STDDEV(cost) FROM visits WHERE age >= 65")
