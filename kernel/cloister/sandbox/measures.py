"""From pandas' words for aggregates to the measures of a plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import pandas as pd

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.sandbox import release, shares
from cloister.sandbox.answer import Answer, Shown
from cloister.sandbox.ask import Ask
from cloister.sandbox.rows import Rows
from cloister.sandbox.terms import Term

NAMES = ("count", "sum", "mean", "size", "std", "var", "sem", "median", "nunique")
_CALLED = {"count", "sum", "mean", "size", "median"}


def measure(name: str, func: str, term: Term | None) -> a.Measure:
    """Return the measure ``func`` of a term; ``size`` counts rows whatever is missing in them.

    Raises:
        PlanError: No such aggregate, or not one of such values.
    """
    if func == "size" or term is None:
        return a.Count(name)
    if func == "count":
        # A column declared complete is counted as rows: one plan, one answer, whichever column is asked.
        return a.Count(name, term.scalar if term.grid.nullable else None)
    if func == "nunique":
        return _units(name, term)
    if term.grid.kind not in {"number", "bool"} and not (func == "median" and term.grid.kind == "date"):
        dated = term.grid.kind == "date"
        raise PlanError(
            "plan.types",
            f"the {func} of a {_word(term)} has no meaning",
            nearest=("(visits.date - '2022-01-01').mean()  # days",) if dated else ("visits.sex.value_counts()",),
        )
    match func:
        case "sum":
            return a.Sum(name, term.scalar)
        case "mean":
            return a.Mean(name, term.scalar)
        case "median":
            return a.Quantile(name, term.scalar, ("1/2",))
        case _:
            return a.Variance(name, term.scalar, root=func.startswith("std"), ddof=0 if func.endswith("0") else 1)


def spread(func: str, ddof: int) -> str:
    """Return the word for ``std`` or ``var`` with a divisor of ``n - ddof``.

    Raises:
        PlanError: Neither 0 nor 1.
    """
    if ddof not in {0, 1}:
        raise PlanError("api.option", "ddof is 0 or 1", nearest=("visits.age.var(ddof=0)",))
    return func if ddof == 1 else f"{func}0"


def parts(func: str, term: Term | None) -> tuple[a.Measure, ...]:
    """Return the measures, unnamed, that ``func`` of a term is computed from."""
    if func == "sem":
        return measure("", "std", term), measure("", "count", term)
    return (measure("", func, term),)


def _units(name: str, term: Term) -> a.Units:
    if term.grid.kind == "opaque" and isinstance(term.scalar, a.Col):
        return a.Units(name)
    raise PlanError(
        "api.nunique",
        "which values occur is a fact about people; how many people there are is released with noise",
        nearest=("visits.patient_id.nunique()", "visits.sex.domain", "visits.sex.value_counts()"),
    )


def function_name(func: Any) -> str:
    """Return the aggregate a pandas-style function stands for (``"mean"``, ``np.mean``, ``sum``, ``len``).

    Raises:
        PlanError: It stands for none.
    """
    name = {"len": "size"}.get(getattr(func, "__name__", ""), getattr(func, "__name__", func))
    if callable(func) and getattr(func, "__module__", "") not in {"numpy", "builtins"}:
        name = None
    if name not in NAMES or (callable(func) and name not in _CALLED):
        shown = func if isinstance(func, str) else getattr(func, "__name__", repr(func))
        raise PlanError(
            "api.agg",
            f"{shown} is not an aggregate that can be released",
            clause="Python functions cannot travel to the data",
            nearest=('visits.groupby("sex").cost.agg(["count", "mean", "std"])', 'visits.cost.agg("sum")'),
        )
    return str(name)


def scalar(rows: Rows, name: str | None, func: str, term: Term) -> Ask[Any]:
    """Ask for one number."""
    found, names = collect({name or func: (func, term)})
    return Ask(rows, found, lambda answer: answer.scalar(names[name or func]), shown=tuple(names.values()))


def row(rows: Rows, items: Mapping[Any, tuple[str, Term | None]], label: Any = None) -> Ask[pd.Series]:
    """Ask for several numbers at once, as a Series."""
    found, names = collect(items)
    return Ask(rows, found, lambda answer: answer.row(names, label), shown=tuple(names.values()))


def table(rows: Rows, keys: dict[str, Term], items: Mapping[Any, tuple[str, Term | None]]) -> Ask[pd.DataFrame]:
    """Ask for several columns per cell of the keys."""
    found, names = collect(items)
    return Ask(rows, found, lambda answer: answer.frame(names), keys, tuple(names.values()))


def series(rows: Rows, keys: dict[str, Term], func: str, term: Term | None, label: Any) -> Ask[pd.Series]:
    """Ask for one column per cell of the keys."""
    name = str(label) if label is not None else func
    found, names = collect({name: (func, term)})
    return Ask(rows, found, lambda answer: answer.series(names[name], label), keys, tuple(names.values()))


def value_counts(rows: Rows, keys: dict[str, Term], options: Mapping[str, Any], groups: int = 0) -> Ask[pd.Series]:
    """Ask for the rows per value, sorted (within the first ``groups`` keys) and normalised after the release."""
    if options["dropna"] is not True:
        raise PlanError(
            "api.option", "missing values are not counted with the others", nearest=("visits.bmi.isna().mean()",)
        )

    def present(answer: Answer) -> Any:
        found = answer.series("count", "count")
        if options["normalize"]:
            found = shares.of_all(found)
        if options["sort"]:
            ordered = found.sort_values(ascending=options["ascending"], kind="stable")
            if groups:
                ordered = ordered.sort_index(level=list(range(groups)), sort_remaining=False, kind="stable")
            found = release.reshape(found, lambda part: part.reindex(ordered.index))
        return found

    return Ask(rows, (a.Count("count"),), present, keys)


def aggregates(
    spec: Any, named: Mapping[str, Any], columns: Mapping[str, Term]
) -> tuple[dict[Any, tuple[str, Term | None]], bool]:
    """Read an ``agg`` specification over several columns.

    Returns:
        The aggregates by output label, and whether one aggregate of every column was asked (a flat result).
    """
    if named:
        if spec is not None:
            raise PlanError("api.agg", "give either functions or name=(column, function) pairs")
        items: dict[Any, tuple[str, Term | None]] = {}
        for label, pair in named.items():
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise PlanError(
                    "api.agg",
                    "named aggregates are pairs",
                    nearest=('visits.groupby("sex").agg(rate=("smoker", "mean"))',),
                )
            items[label] = (function_name(pair[1]), column_of(columns, pair[0]))
        return items, False
    if isinstance(spec, Mapping):
        nested = any(_is_list(funcs) for funcs in spec.values())
        items = {}
        for column, funcs in spec.items():
            for func in funcs if _is_list(funcs) else [funcs]:
                name = function_name(func)
                items[(column, name) if nested else column] = (name, column_of(columns, column))
        return items, not nested
    if _is_list(spec):
        return {
            (column, function_name(f)): (function_name(f), term) for column, term in columns.items() for f in spec
        }, False
    name = function_name(spec)
    return {column: (name, term) for column, term in columns.items()}, True


def single(spec: Any, named: Mapping[str, Any], term: Term) -> dict[Any, tuple[str, Term | None]]:
    """Read an ``agg`` specification over one column."""
    if named:
        return {label: (function_name(func), term) for label, func in named.items()}
    return {function_name(func): (function_name(func), term) for func in (spec if _is_list(spec) else [spec])}


def only_numbers(columns: Mapping[str, Term], func: str, numeric_only: bool) -> dict[str, Term]:
    """Return the columns ``func`` applies to.

    Raises:
        PlanError: A column is not a number and ``numeric_only`` was not said, as in pandas; or none is left.
    """
    if func in {"count", "size", "nunique"}:
        return dict(columns)
    kept = {name: term for name, term in columns.items() if term.grid.kind in {"number", "bool"}}
    if (len(kept) < len(columns) and not numeric_only) or not kept:
        others = [name for name in columns if name not in kept]
        raise PlanError(
            "plan.types",
            f"the {func} of {', '.join(others) or 'no column'} has no meaning",
            nearest=(f"visits[{list(kept)!r}].{func}()", f"visits.{func}(numeric_only=True)"),
        )
    return kept


def plain(skipna: bool = True, min_count: int = 0) -> None:
    """Refuse options that would make a missing value poison the result.

    Raises:
        PlanError: ``skipna=False`` or ``min_count``.
    """
    if skipna is not True or min_count:
        raise PlanError(
            "api.option", "missing values are always left out of sums and means", nearest=("visits.bmi.isna().mean()",)
        )


def words(rows: Rows, columns: Mapping[str, Term] | None = None) -> dict[str, str]:
    """Return the names used in the nearest forms of a refusal: the table and columns it really has."""
    kinds = (
        {name: term.grid.kind for name, term in columns.items()}
        if columns is not None
        else {column.name: column.type for column in rows.card.columns if column.name not in rows.card.key}
    )
    numbers = [name for name, kind in kinds.items() if kind in {"number", "int", "decimal"}]
    declared = {column.name for column in rows.card.columns if column.domain}
    texts = [name for name, kind in kinds.items() if kind == "category" or name in declared]
    first = next(iter(kinds), "column")
    category = (texts or [first])[0]
    declared_category = rows.card.column(category)
    domain = (declared_category.domain or ()) if declared_category else ()
    value = next(iter(domain), "value")
    dates = [name for name, kind in kinds.items() if kind == "date"]
    order = (dates or numbers or [first])[0]
    number = (numbers or [first])[0]
    second = next((name for name in numbers if name != number), number)
    return {
        "f": rows.label,
        "num": number,
        "num2": second,
        "cat": category,
        "val": value,
        "key": rows.key[0],
        "order": order,
        "date": (dates or [first])[0],
    }


def collect(items: Mapping[Any, tuple[str, Term | None]]) -> tuple[tuple[a.Measure, ...], dict[Any, Shown]]:
    """Return the measures, each once, and what every label shows of them.

    Raises:
        PlanError: Nothing to aggregate, or no such aggregate.
    """
    found: dict[a.Measure, str] = {}
    names: dict[Any, Shown] = {}
    if not items:
        raise PlanError("api.agg", "nothing to aggregate")
    for label, (func, term) in items.items():
        name = ".".join(map(str, label)) if isinstance(label, tuple) else str(label)
        made = parts(func, term)
        held = [found.setdefault(part, name if not index else f"{name}.n") for index, part in enumerate(made)]
        names[label] = held[0] if len(held) == 1 else (func, *held)
    return tuple(msgspec.structs.replace(made, name=name) for made, name in found.items()), names


def column_of(columns: Mapping[str, Term], name: Any) -> Term:
    """Return a column by name.

    Raises:
        PlanError: There is none.
    """
    if name not in columns:
        from cloister.sandbox import refuse  # noqa: PLC0415 (only on a mistake)

        raise refuse.unknown_column(name, list(columns), "the group-by")
    return columns[name]


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | Mapping)


def _word(term: Term) -> str:
    words = {"opaque": "unit key", "text": "text without a domain", "category": "category", "date": "date"}
    return words[term.grid.kind]
