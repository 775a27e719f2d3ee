"""What a handle does not do, why, and the nearest thing it does: one table, read by frames, columns and group-bys.

A refused *method* is an object that raises when it is called, indexed or iterated, so that libraries that only
look for a name go on, and the analyst's call gets its explanation. A refused *property* raises when it is read.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NoReturn

from cloister.errors import PlanError

ROWS = "rows never leave the enclave"
_ROWS_CLAUSE = "only released aggregates leave (release gate)"


class ShapeRefusedError(PlanError, TypeError):
    """Also a ``TypeError``, so that ``list(frame)`` and friends fall back to what they can do without it."""


class UnknownColumnError(PlanError, KeyError, AttributeError):
    """A column that is not there; also a ``KeyError`` and an ``AttributeError``, as in pandas."""


@dataclasses.dataclass(frozen=True)
class Reason:
    """Why a name is refused, with templates of the nearest forms.

    In a template ``{f}`` is the handle, ``{num}`` one of its number columns, ``{cat}`` one of its categories and
    ``{val}`` a value of it, ``{c}`` the column asked (columns only).
    """

    why: str
    nearest: tuple[str, ...]
    clause: str = ""
    is_property: bool = False


def _names(text: str, reason: Reason) -> dict[str, Reason]:
    return dict.fromkeys(text.split(), reason)


_LOOK = Reason(ROWS, ("{f}.mock(5)", "{f}.count()", "{f}.{cat}.value_counts()"), _ROWS_CLAUSE)
_POSITION = Reason(
    f"{ROWS}, and they have no positions or labels",
    ("{f}[{f}.{num} >= 18]", "{f}.loc[{f}.{num} >= 18]", "{f}.mock(5).iloc[0]"),
    _ROWS_CLAUSE,
    is_property=True,
)
_EXPORT = Reason(
    f"{ROWS}; released aggregates are ordinary pandas and can be written",
    ('{f}.groupby("{cat}").{num}.mean().to_csv("means.csv")', '{f}.mock(100).to_csv("mock.csv")'),
    _ROWS_CLAUSE,
)
_VALUES = dataclasses.replace(_EXPORT, nearest=("{f}.{num}.mean()", "{f}.mock(100).values"), is_property=True)
_FUNCTION = Reason(
    "Python functions cannot travel to the data: the vault runs a closed algebra only",
    (
        "{f}.{num} * 2 + 1",
        "cl.case(({f}.{num} < 18, 0), ({f}.{num} < 65, 1), default=2)",
        "cl.cut({f}.{num}, [0, 18, 65, 120])",
    ),
)
_JOIN = Reason(
    "joining tables is not in this version of the algebra",
    ('{f}.groupby("{cat}").{num}.mean()  # on each table; then join what was released', "{f}.assign(x=1)"),
)
_EXTREME = Reason(
    "a minimum or maximum is one person's value",
    ("{f}.{num}.mean()", "({f}.{num} >= 50).mean()", "cl.cut({f}.{num}, [0, 25, 50, 75]).value_counts()"),
    "each person's influence on a released value is bounded",
)
_QUANTILE = Reason(
    "quantiles are not in this version of the algebra",
    ("cl.cut({f}.{num}, [0, 25, 50, 75]).value_counts()", "({f}.{num} >= 50).mean()"),
)
_SPREAD = Reason(
    "it is not a release of its own in this version; a noisy Gram matrix holds it",
    ('cl.gram({f}, ["{num}"]).std()', 'cl.gram({f}, ["{num}"]).cov()', "{f}.{num}.mean()"),
)
_ORDER = Reason(
    "rows have no order that leaves the enclave",
    ("{f}.{cat}.value_counts()", '{f}.groupby("{cat}").{num}.mean().sort_values()'),
)
_DISTINCT = Reason(
    "which values occur is a fact about people; the declared domain is public",
    ("{f}.{cat}.domain", "{f}.{cat}.value_counts()"),
)
_SUMMARY = Reason(
    "it would spend the budget on many statistics at once, half of them not releasable (min, max)",
    ("{f}.dtypes", "{f}.{num}.mean()", "{f}.count()", "{f}.mock(100).describe()"),
)
_RESHAPE = Reason(
    "reshaping rows is not in this version of the algebra; reshape the released table instead",
    ('{f}.groupby("{cat}").{num}.mean().reset_index()', '{f}.groupby("{cat}").size()'),
)
_PLOT = Reason(
    "a plot needs rows; plot a release instead, with its error bars",
    (
        '{f}.groupby("{cat}").{num}.mean().release.plot.bar()',
        "cl.cut({f}.{num}, [0, 25, 50, 75]).value_counts(sort=False).release.plot.bar()",
    ),
)
_PLOT_PROPERTY = dataclasses.replace(_PLOT, is_property=True)
_SIZE = Reason(
    "how many rows there are is a fact about people; it leaves with noise, as a count",
    ("{f}.count()", "{f}.{num}.count()", '{f}.groupby("{cat}").size()'),
    "actual sizes never leave",
    is_property=True,
)

COMMON: dict[str, Reason] = {
    **_names("head tail sample take nlargest nsmallest first last truncate compare", _LOOK),
    **_names("iloc iat at", _POSITION),
    **_names("xs squeeze item get_value pop", dataclasses.replace(_POSITION, is_property=False)),
    **_names("values array index T", _VALUES),
    **_names("shape size empty", _SIZE),
    **_names("memory_usage info", dataclasses.replace(_SIZE, is_property=False)),
    **_names(
        "to_csv to_parquet to_numpy to_dict to_list tolist to_excel to_json to_sql to_pickle to_records to_string"
        " to_html to_latex to_markdown to_feather to_hdf to_arrow to_clipboard to_xarray to_stata to_orc iterrows"
        " itertuples items keys copy_rows",
        _EXPORT,
    ),
    **_names(
        "apply map applymap transform aggregate_with eval expanding ewm rolling resample replace combine", _FUNCTION
    ),
    **_names("merge join append concat combine_first update align reindex", _JOIN),
    **_names("min max idxmin idxmax argmin argmax cummax cummin", _EXTREME),
    **_names("median quantile rank mode", _QUANTILE),
    **_names("std var sem skew kurt kurtosis corr cov autocorr corrwith", _SPREAD),
    **_names("sort_values sort_index shift diff cumsum cumprod pct_change ffill bfill interpolate", _ORDER),
    **_names("unique nunique drop_duplicates duplicated is_unique", _DISTINCT),
    **_names("describe", _SUMMARY),
    **_names("pivot pivot_table melt stack unstack explode set_index reset_index transpose get_dummies", _RESHAPE),
    **_names("hist boxplot", _PLOT),
    **_names("plot", _PLOT_PROPERTY),
    **_names("prod product", _FUNCTION),
}

COLUMN: dict[str, Reason] = {
    **COMMON,
    **_names(
        "str cat",
        Reason(
            "text functions are not in this version of the algebra; categories have a public domain",
            ("{f}.{cat} == {val!r}", "{f}.{cat}.isin([{val!r}])", "{f}.{cat}.domain"),
            is_property=True,
        ),
    ),
    **_names(
        "dt",
        Reason(
            "parts of dates are not in this version of the algebra; dates compare and subtract",
            ('{c} >= "2024-01-01"', '{c} - "2022-01-01"  # days', '{c}.between("2023-01-01", "2023-12-31")'),
            is_property=True,
        ),
    ),
    **_names(
        "floordiv mod divmod round floor ceil",
        Reason("rounding is not in this version of the algebra", ("cl.cut({c}, [0, 10, 20, 30])", "{c} / 10")),
    ),
    **_names("all any", _EXTREME),
    **_names(
        "to_frame astype convert_dtypes",
        Reason("columns keep the type the card declares", ("{f}[[{cat!r}]]", "{f}.dtypes", "{c} * 1.0")),
    ),
}

GROUPED: dict[str, Reason] = {
    **{name: reason for name, reason in COMMON.items() if name not in {"size", "count"}},
    **_names("apply filter transform pipe_rows", _FUNCTION),
    **_names("nth cumcount ngroup get_group groups indices", _LOOK),
    **_names("ohlc", _EXTREME),
}


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
    return kind(
        f"api.{name.strip('_')}",
        f"{handle}.{name}: {reason.why}",
        clause=reason.clause,
        nearest=tuple(form.format(**words) for form in reason.nearest),
        next_step="docs/analyst-api.md lists what works and why the rest does not",
    )


def length(words: dict[str, str], name: str = "len") -> PlanError:
    """Return the refusal of ``len(handle)``."""
    return explain(name, _SIZE, words)


def rows(words: dict[str, str], name: str) -> PlanError:
    """Return the refusal of anything that would need the rows themselves, such as ``np.asarray(handle)``."""
    return explain(name, dataclasses.replace(_VALUES, is_property=False), words)


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
