"""Subqueries with one row per unit: ``SELECT key, SUM(x) AS total FROM ... GROUP BY key`` and ``SELECT DISTINCT key``.

What is computed per unit stays where the rows are (``PerUnit`` of the algebra), so the outer query can aggregate it. It
is the plan of ``visits.groupby("patient_id").agg(total=("x", "sum"))``, or of ``visits.drop_duplicates("patient_id")``.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from cloister.sandbox.column import Column
from cloister.sandbox.frame import Frame
from cloister.sandbox.sql_scalars import Reader, match
from cloister.sandbox.sql_text import Source
from cloister.sandbox.unit import is_key

_FUNCTIONS: Mapping[type[exp.Expr], str] = {
    exp.Count: "count",
    exp.Sum: "sum",
    exp.Avg: "mean",
    exp.Min: "min",
    exp.Max: "max",
    exp.LogicalOr: "any",
    exp.LogicalAnd: "all",
}
_FORM = "SELECT AVG(total) FROM (SELECT {key}, SUM(x) AS total FROM {rows} GROUP BY {key}) t"


def grouped(select: exp.Select, frame: Frame, reader: Reader, source: Source) -> Frame:
    """Return one row per unit (and closed columns) of a subquery with GROUP BY.

    Raises:
        PlanError: ``sql.staged``: the groups are not units; or an aggregate that there is not per unit.
    """
    clause = select.args["group"]
    source.only(clause, "expressions")
    by = [_plain(part, frame, source) for part in clause.expressions]
    _of_units(by, frame, clause, source)
    wide, named, shown = frame.copy(), dict[str, tuple[str, str]](), dict[str, str]()
    for part in select.expressions:
        inside = part.unalias()
        name = part.alias or (inside.name if isinstance(inside, exp.Column) else "")
        if not name:
            raise source.refuse(part, "a computed column needs a name", "SUM(cost) AS total", code="sql.name")
        if isinstance(inside, exp.Column):
            key = _plain(inside, frame, source)
            if key not in by:
                raise source.refuse(part, f"{inside.name} is neither grouped nor aggregated", "MAX(age) AS age")
            # The key itself names the rows that come out; it is no column of theirs.
            if not is_key(frame._rows, frame._columns, key):
                shown[name] = key
            continue
        own = f"_unit_{len(named)}"
        of, function = _aggregate(inside, reader, source)
        if of is None:
            named[own] = by[0], "size"
        else:
            wide[f"{own}_of"] = of
            named[own] = f"{own}_of", function
        shown[name] = own
    if not named:
        return distinct(select, frame, source)
    found = wide.per_unit([key for key in by if not is_key(frame._rows, frame._columns, key)], **named)
    return Frame(found._rows, {name: found._columns[column] for name, column in shown.items()})


def distinct(select: exp.Select, frame: Frame, source: Source) -> Frame:
    """Return one row per unit (and closed columns) of ``SELECT DISTINCT``, or of a GROUP BY without aggregates.

    Raises:
        PlanError: ``sql.distinct``: the columns do not hold the unit key.
    """
    if asked := select.args.get("distinct"):
        source.only(asked)
    columns = {part.alias_or_name: _plain(part.unalias(), frame, source) for part in select.expressions}
    _of_units(list(columns.values()), frame, select, source, code="sql.distinct")
    found = frame.drop_duplicates(list(columns.values()))
    return Frame(found._rows, {name: found._columns[column] for name, column in columns.items()})


def _aggregate(node: exp.Expr, reader: Reader, source: Source) -> tuple[Column | None, str]:
    """Return what is aggregated per unit (``None``: the rows), and how."""
    function = _FUNCTIONS.get(type(node))
    if function is None:
        raise source.refuse(
            node, "this is not computed per unit", "COUNT(*) AS n", "SUM(x) AS s", "AVG(x) AS m", "MAX(x) AS most",
            code="sql.staged",
        )  # fmt: skip
    source.only(node, "this", "expressions", "big_int")
    if isinstance(node.this, exp.Distinct):
        source.only(node.this, "expressions")
        if not isinstance(node, exp.Count) or len(node.this.expressions) != 1:
            raise source.refuse(node, "only COUNT(DISTINCT x) of one column", "COUNT(DISTINCT region) AS n")
        return reader.column(node.this.expressions[0]), "nunique"
    if isinstance(node, exp.Count) and isinstance(node.this, exp.Star | exp.Literal):
        return None, "size"
    return reader.column(node.this), function


def _plain(node: exp.Expr, frame: Frame, source: Source) -> str:
    name = match(node.name, frame._columns) if isinstance(node, exp.Column) else None
    if name is None:
        raise source.refuse(node, "rows of one unit are grouped by columns as they stand", _form(frame))
    return name


def _of_units(by: list[str], frame: Frame, node: exp.Expr, source: Source, code: str = "sql.staged") -> None:
    keys = {name for name in by if is_key(frame._rows, frame._columns, name)}
    if len(keys) < len(frame._rows.key):
        raise source.refuse(
            node,
            f"what the data computes in a subquery is one row per {frame._rows.card.unit}: group by its key; what is "
            "released is put together in pandas, which is free",
            _form(frame),
            code=code,
        )


def _form(frame: Frame) -> str:
    return _FORM.format(key=frame._rows.key[0], rows=frame._rows.label)
