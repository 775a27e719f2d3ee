"""What a handle does not do, why, and the nearest thing it does, said in the words of the handle.

A refused *method* is an object that raises when it is called, indexed or iterated, so that libraries that only
look for a name go on, and the analyst's call gets its explanation. A refused *property* raises when it is read.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NoReturn

from cloister.errors import PlanError
from cloister.sandbox import entries, reasons, reasons_aggregates
from cloister.sandbox.reasons import CAT, COMMON, DT, ROWS, SIZE, STR, UNIT, VALUES, Reason

__all__ = ["CAT", "COLUMN", "COMMON", "DT", "FRAME", "GROUPED", "ROWS", "STR", "UNIT", "Reason"]

FRAME = reasons_aggregates.over("DataFrame", reasons.FRAME)
COLUMN = reasons_aggregates.over("Series", reasons.COLUMN)
GROUPED = reasons_aggregates.over("GroupBy", reasons.GROUPED)
_OWNERS = {
    "DataFrame": FRAME, "Series": COLUMN, "GroupBy": GROUPED, "groupby(unit key)": UNIT, "Series.dt": DT,
    "Series.str": STR, "Series.cat": CAT,
}  # fmt: skip


class ShapeRefusedError(PlanError, TypeError):
    """Also a ``TypeError``, so that ``list(frame)`` and friends fall back to what they can do without it."""


class UnknownColumnError(PlanError, KeyError, AttributeError):
    """A column that is not there; also a ``KeyError`` and an ``AttributeError``, as in pandas."""


def reason(owner: str, name: str) -> Reason | None:
    """Return why ``name`` of an owner, such as ``Series.dt``, is refused, if it is."""
    return _OWNERS[owner].get(name)


class Refused:
    """A method that is refused: it explains itself when it is used."""

    def __init__(self, name: str, error: PlanError) -> None:
        self.__name__ = name
        self.__doc__ = f"Refused.\n\n{error}"
        self._error = error

    def __call__(self, *_args: Any, **_options: Any) -> NoReturn:
        """Raise the refusal."""
        raise fresh(self._error)

    def __getitem__(self, _key: Any) -> NoReturn:
        raise fresh(self._error)

    def __iter__(self) -> NoReturn:
        raise fresh(self._error)

    def __repr__(self) -> str:
        return f"<refused: {self.__name__}>\n{self._error}"


def fresh(error: PlanError) -> PlanError:
    """Return a copy of ``error`` without the traceback of an earlier raise."""
    return type(error)(error.code, error.reason, clause=error.clause, next_step=error.next_step, nearest=error.nearest)


def look_up(table: dict[str, Reason], name: str, words: dict[str, str]) -> Refused:
    """Return the refused method ``name``, or raise if it is a refused property.

    Raises:
        PlanError: ``name`` is a refused property.
        KeyError: ``name`` is not in the table.
    """
    reason = table[name]
    error = explain(name, reason, words)
    if reason.is_property:
        raise error
    return Refused(name, error)


def explain(name: str, reason: Reason, words: dict[str, str]) -> PlanError:
    """Return the refusal of ``name`` in the words of one handle."""
    handle = words.get("c") or words.get("f", "frame")
    kind = ShapeRefusedError if name in {"shape", "size", "len", "empty"} else PlanError
    found = kind(
        f"api.{name.strip('_')}",
        f"{handle}.{name}: {reason.why}",
        clause=reason.clause,
        nearest=tuple(form.format(**words) for form in reason.nearest),
        next_step="docs/analyst-api.md lists what works and why the rest does not",
    )
    return entries.instead(found, words)


class AccessorError(PlanError, AttributeError):
    """An accessor of another kind of column; also an ``AttributeError``, as in pandas."""


def no_accessor(name: str, words: dict[str, str]) -> AccessorError:
    """Return the refusal of ``.dt`` of what is no date, ``.str`` and ``.cat`` of what is no text."""
    kinds = {"dt": "dates and their differences", "str": "texts and categories", "cat": "categories"}
    forms = {"dt": "{f}.{date}.dt.year", "str": "{f}.{cat}.str.len()", "cat": "{f}.{cat}.cat.codes"}
    return AccessorError(
        f"api.{name}", f"{words['c']}.{name}: only {kinds[name]} have it", nearest=(forms[name].format(**words),)
    )


def unknown_part(name: str, owner: Any, words: dict[str, str]) -> AccessorError:
    """Return the refusal of a name that a handle or a part of one does not have, with the most similar names."""
    import difflib  # noqa: PLC0415 (only needed on a mistake)

    handle = words.get("c") or words.get("f", "frame")
    known = [item for item in dir(owner) if not item.startswith("_")]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or known[:3]
    return AccessorError(
        "api.attribute",
        f"{handle} has no {name!r}",
        next_step=f"it has {', '.join(known)}",
        nearest=tuple(f"{handle}.{item}" for item in near),
    )


def part(words: dict[str, str], name: str) -> dict[str, str]:
    """Return the words of a part of a column, such as its ``str``."""
    return {**words, "c": f"{words['c']}.{name}"}


def length(words: dict[str, str], name: str = "len") -> PlanError:
    """Return the refusal of ``len(handle)``."""
    return explain(name, SIZE, words)


def rows(words: dict[str, str], name: str) -> PlanError:
    """Return the refusal of anything that would need the rows themselves, such as ``np.asarray(handle)``."""
    return explain(name, dataclasses.replace(VALUES, is_property=False), words)


def truth() -> PlanError:
    """Return the refusal of ``if handle:``, ``a and b``, ``a < b < c``."""
    return PlanError(
        "api.truth",
        "whether this is true differs from row to row, so it cannot steer Python (if, and, or, not, a < b < c)",
        nearest=(
            "(visits.age >= 18) & (visits.sex == 'F')",
            "visits.age.between(18, 65)",
            "(visits.age >= 18).mean()  # the rate",
        ),
    )


def unknown_column(name: object, columns: list[str], table: str) -> UnknownColumnError:
    """Return the refusal of a column that is not there, with the most similar names."""
    import difflib  # noqa: PLC0415 (only needed on a mistake)

    near = difflib.get_close_matches(str(name), columns, n=3, cutoff=0.5)
    return UnknownColumnError(
        "plan.column",
        f"{table} has no column {name!r}",
        nearest=tuple(repr(item) for item in near),
        next_step=f"columns: {', '.join(columns)}",
    )


def unknown_table(name: object, tables: list[str]) -> UnknownColumnError:
    """Return the refusal of a table that is not in the contract, with the most similar names."""
    import difflib  # noqa: PLC0415 (only needed on a mistake)

    near = difflib.get_close_matches(str(name), tables, n=3, cutoff=0.4)
    return UnknownColumnError(
        "plan.table",
        f"the contract has no table {name!r}",
        nearest=tuple(f"cl.table({item!r})" for item in near),
        next_step=f"tables: {', '.join(tables)}",
    )
