"""Why a name of pandas is refused, with forms that work: one table per kind of handle and accessor."""

from __future__ import annotations

import dataclasses

ROWS = "rows never leave the enclave"
_ROWS_CLAUSE = "only released aggregates leave (release gate)"


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
VALUES = dataclasses.replace(_EXPORT, nearest=("{f}.{num}.mean()", "{f}.mock(100).values"), is_property=True)
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
SIZE = Reason(
    "how many rows there are is a fact about people; it leaves with noise, as a count",
    ("{f}.count()", "{f}.{num}.count()", '{f}.groupby("{cat}").size()'),
    "actual sizes never leave",
    is_property=True,
)

COMMON: dict[str, Reason] = {
    **_names("head tail sample take nlargest nsmallest first last truncate compare", _LOOK),
    **_names("iloc iat at", _POSITION),
    **_names("xs squeeze item get_value pop", dataclasses.replace(_POSITION, is_property=False)),
    **_names("values array index T", VALUES),
    **_names("shape size empty", SIZE),
    **_names("memory_usage info", dataclasses.replace(SIZE, is_property=False)),
    **_names(
        "to_csv to_parquet to_numpy to_dict to_list tolist to_excel to_json to_sql to_pickle to_records to_string"
        " to_html to_latex to_markdown to_feather to_hdf to_arrow to_clipboard to_xarray to_stata to_orc iterrows"
        " itertuples copy_rows",
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

_LABELS = Reason(
    "rows have no labels here, so there is nothing to order, select or rename by them",
    ("{f}[{f}.{num} >= 18]", '{f}.groupby("{cat}").{num}.mean().sort_index()', '{f}.rename(columns={{"{num}": "x"}})'),
)
_TIMES = Reason(
    "days have no time and no time zone here, and rows no index of dates",
    ("{f}[{f}.{num} >= 18]", '{f}.groupby("{cat}").size()', "{f}.mock(5)"),
)
_TRUTH = Reason(
    "whether it holds for every row, or for any, is one person's value; the rate is released with noise",
    ("({f}.{num} >= 18).mean()", "({f}.{num} >= 18).sum()"),
    "each person's influence on a released value is bounded",
)
_DIVIDE = Reason(
    "dividing by a column has no public bounds",
    ("{f}.{num} / 100", "{f}.{num} * 0.5", "{f}.{num}.mean()"),
)
_EXPONENT = Reason("a column cannot be an exponent", ("{f}.{num} ** 2", "{f}.{num}.pow(3)"))
_LOOK_OF = Reason(
    "a handle has no display options; released tables are ordinary pandas",
    ("{f}.mock(5)", '{f}.groupby("{cat}").{num}.mean().to_frame().style'),
    is_property=True,
)
_BUILD = Reason(
    "a handle stands for rows of the contract's tables and is not made from values",
    ("{f}.mock(5)", "{f}.assign(x=1)", "{f}[[{cat!r}]]"),
)
_DOT = Reason(
    "products of whole columns leave as aggregates",
    ("({f}.{num} * {f}.{num}).sum()", 'cl.gram({f}, ["{num}"]).cov()'),
)
_EQUAL = Reason(
    "whether two tables are equal is one person's value; the rate of equal rows is released with noise",
    ("({f}.{num} == {f}.{num}).mean()",),
)
_TYPES = Reason(
    "columns keep the type the card declares",
    ("{f}[[{cat!r}]]", "{f}.dtypes", "{f}.{num} * 1.0"),
)
_ELEMENTS = Reason(
    "it works column by column",
    ("{f}.{num}.isna()", "{f}.{num} * 2", "{f}.assign({num}={f}.{num}.clip(0, 50))"),
)
_SORTED = Reason(
    "which row comes first, or whether rows are in order, is a fact about people",
    ("{f}.{num}.mean()", "cl.cut({f}.{num}, [0, 25, 50, 75]).value_counts(sort=False)"),
)
_SORTED_PROPERTY = dataclasses.replace(_SORTED, is_property=True)

FRAME: dict[str, Reason] = {
    **COMMON,
    **_names("all any", _TRUTH),
    **_names(
        "add_prefix add_suffix",
        Reason(
            "columns are renamed with a function",
            ("{f}.rename(columns=str.upper)", '{f}.rename(columns="x_{{}}".format)'),
        ),
    ),
    **_names(
        "reindex_like rename_axis reorder_levels set_axis swaplevel droplevel first_valid_index last_valid_index asof",
        _LABELS,
    ),
    **_names("asfreq at_time between_time to_period to_timestamp tz_convert tz_localize", _TIMES),
    **_names("attrs flags style sparse list struct", _LOOK_OF),
    **_names("set_flags", dataclasses.replace(_LOOK_OF, is_property=False)),
    **_names("axes", SIZE),
    **_names("from_dict from_records from_arrow", _BUILD),
    **_names("to_xml to_iceberg", _EXPORT),
    **_names("dot", _DOT),
    **_names("equals", _EQUAL),
    **_names("astype convert_dtypes infer_objects", _TYPES),
    **_names(
        "insert isetitem select",
        Reason("columns have names, not positions", ("{f}.assign(x=1)", "{f}[[{cat!r}]]")),
    ),
    **_names("div divide truediv rdiv rtruediv floordiv rfloordiv mod rmod", _DIVIDE),
    **_names("pow rpow", _EXPONENT),
    **_names(
        "abs add clip eq ge gt isin isna isnull le lt mask mul multiply ne notna notnull radd rmul round rsub sub"
        " subtract where",
        _ELEMENTS,
    ),
}  # fmt: skip

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
    **_names("all any", _TRUTH),
    **_names("to_frame astype convert_dtypes infer_objects", _TYPES),
    **_names(
        "add_prefix add_suffix reindex_like rename_axis reorder_levels set_axis swaplevel droplevel first_valid_index"
        " last_valid_index asof drop filter get",
        _LABELS,
    ),
    **_names("asfreq at_time between_time to_period to_timestamp tz_convert tz_localize", _TIMES),
    **_names("attrs flags sparse list struct", _LOOK_OF),
    **_names("set_flags", dataclasses.replace(_LOOK_OF, is_property=False)),
    **_names("axes nbytes", SIZE),
    **_names("items keys", _EXPORT),
    **_names("hasnans", dataclasses.replace(_TRUTH, nearest=("{c}.isna().mean()",), is_property=True)),
    **_names("is_monotonic_decreasing is_monotonic_increasing", _SORTED_PROPERTY),
    **_names("argsort searchsorted", _SORTED),
    **_names("factorize", _DISTINCT),
    **_names("repeat", _RESHAPE),
    **_names("from_arrow", _BUILD),
    **_names("dot", _DOT),
    **_names("equals", _EQUAL),
    **_names("rdiv rtruediv rfloordiv rmod rdivmod", _DIVIDE),
    **_names("rpow", _EXPONENT),
    **_names("case_when", _FUNCTION),
}  # fmt: skip

UNIT: dict[str, Reason] = {}

GROUPED: dict[str, Reason] = {
    **{name: reason for name, reason in COMMON.items() if name not in {"size", "count"}},
    **_names("apply filter transform pipe_rows", _FUNCTION),
    **_names("nth cumcount ngroup get_group groups indices", _LOOK),
    **_names("ohlc", _EXTREME),
    **_names("all any", _TRUTH),
    **_names("is_monotonic_decreasing is_monotonic_increasing", _SORTED_PROPERTY),
    **_names("dtype ndim", dataclasses.replace(_TYPES, is_property=True)),
    **_names("pipe", Reason("a group-by is a step, not a value", ('{f}.pipe(lambda d: d.groupby("{cat}").size())',))),
}
