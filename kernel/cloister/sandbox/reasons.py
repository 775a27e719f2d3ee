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
        '{f}.{cat}.map({{"{val}": 1}})',
        "cl.case(({f}.{num} < 18, 0), ({f}.{num} < 65, 1), default=2)",
        "cl.cut({f}.{num}, [0, 18, 65, 120])",
    ),
)
_JOIN = Reason(
    "rows have no labels to be matched by: tables of people are aligned on the unit key, public rows looked up",
    (
        '{f}.merge({f}.per_unit(rows=("{num}", "count")), on="{key}")',
        'cl.concat([{f}, {f}], keys=["first", "second"])',
        '{f}.merge(pd.DataFrame({{"{cat}": ["{val}"], "x": [1]}}), on="{cat}", how="left")',
    ),
)
_EXTREME = Reason(
    "a minimum or maximum is one person's value",
    (
        "{f}.{num}.mean()",
        '{f}.groupby("{key}").{num}.max().mean()',
        "({f}.{num} >= 50).mean()",
        "cl.cut({f}.{num}, [0, 25, 50, 75]).value_counts()",
    ),
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
    "rows follow each other within a unit only: say which order, and whose rows",
    (
        '{f}.sort_values("{order}").groupby("{key}").{num}.shift(1)',
        '{f}.within(order="{order}").{num}.diff()',
        '{f}.within(order="{order}").cumcount()',
    ),
)
_FILLED = Reason(
    "a value before or after it is one person's; a constant or another column can stand in",
    ("{f}.{num}.fillna(0)", "{f}.{num}.combine_first({f}.{num})", '{f}.within(order="{order}").{num}.shift(1)'),
)
_INDEX_ORDER = Reason(
    "rows have no index; released tables have one",
    ('{f}.groupby("{cat}").{num}.mean().sort_index()', '{f}.sort_values("{order}")'),
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
    **_names("sort_values shift diff cumsum cumprod pct_change", _ORDER),
    **_names("sort_index", _INDEX_ORDER),
    **_names("ffill bfill interpolate", _FILLED),
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
    "dividing by a column has no public bounds: state them",
    ("cl.ratio(1, {f}.{num}, low=0, high=1, step=0.001)", "{f}.{num} / 100"),
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


def _without(table: dict[str, Reason], works: str) -> dict[str, Reason]:
    """Return a table without the names that work on this kind of handle."""
    gone = set(works.split())
    return {name: reason for name, reason in table.items() if name not in gone}


FRAME: dict[str, Reason] = {
    **_without(
        COMMON,
        "merge join concat sort_values reset_index replace eval pop insert drop_duplicates floordiv mod round"
        " resample set_index",
    ),
    **_names("all any", _TRUTH),
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
    **_names("isetitem select", Reason("columns have names here", ("{f}.assign(x=1)", '{f}[["{cat}"]]'))),
    **_names("rdiv rtruediv rfloordiv rmod", _DIVIDE),
    **_names("rpow", _EXPONENT),
}

COLUMN: dict[str, Reason] = {
    **_without(COMMON, "map replace combine_first merge join concat"),
    **_names("all any", _TRUTH),
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
}

_NO_TIME = Reason(
    "a date is a day: it has no time and no time zone",
    ("{f}.{date}.dt.year", '{f}.{date}.dt.to_period("M")', '{f}.{date} >= "2024-01-01"'),
)
_NO_FORMAT = Reason(
    "a date is not written as a text; its parts and periods are columns",
    ("{f}.{date}.dt.month_name()", '{f}.{date}.dt.to_period("M")', "{f}.{date}.dt.year * 100 + {f}.{date}.dt.month"),
)
DT: dict[str, Reason] = {
    **_names(
        "hour minute second microsecond nanosecond time timetz tz unit freq",
        dataclasses.replace(_NO_TIME, is_property=True),
    ),
    **_names("as_unit tz_convert tz_localize to_pydatetime ceil round", _NO_TIME),
    **_names("strftime", _NO_FORMAT),
}

_PATTERN = Reason(
    "patterns could run without end and are not in the algebra; a plain text can be looked for",
    ('{f}.{cat}.str.contains("{val}", regex=False)', '{f}.{cat}.str.startswith("{val}")', "{f}.{cat}.str[0:1]"),
)
_LIST = Reason(
    "a text in several pieces is not a column; a part of it is",
    ("{f}.{cat}.str[0:1]", '{f}.{cat}.str.removeprefix("{val}")', '{f}.{cat}.str.replace("{val}", "")'),
)
_LETTERS = Reason(
    "only ASCII letters change their case, and only white space at both ends is stripped",
    ("{f}.{cat}.str.lower()", "{f}.{cat}.str.upper()", "{f}.{cat}.str.strip()"),
)
_CLASS = Reason(
    "classes of letters and digits are not in the algebra; what a text is or contains is",
    ('{f}.{cat}.str.contains("{val}", regex=False)', '{f}.{cat}.isin(["{val}"])', "{f}.{cat}.str.len() > 0"),
)
_PADDED = Reason(
    "texts are not padded; they can be joined, sliced and measured",
    ('"0" + {f}.{cat}', "{f}.{cat}.str.len()", '{f}.{cat}.str.cat({f}.{cat}, sep="-")'),
)
_PLACE = Reason(
    "where a text stands in another is not in the algebra; whether it does is",
    ('{f}.{cat}.str.contains("{val}", regex=False)', "{f}.{cat}.str.len()"),
)
STR: dict[str, Reason] = {
    **_names("count extract extractall findall", _PATTERN),
    **_names("split rsplit partition rpartition join get_dummies", _LIST),
    **_names("casefold lstrip rstrip swapcase title translate normalize removesuffix slice_replace", _LETTERS),
    **_names("isalnum isalpha isascii isdecimal isdigit islower isnumeric isspace istitle isupper", _CLASS),
    **_names("center ljust rjust pad zfill wrap", _PADDED),
    **_names("find rfind index rindex", _PLACE),
    **_names("encode decode", Reason("texts stay texts", ("{f}.{cat}.str.len()", "{f}.{cat}.str.lower()"))),
}

_DOMAIN = Reason(
    "the domain is what the card declares; values can be renamed, left out or recoded",
    (
        '{f}.{cat}.cat.rename_categories({{"{val}": "x"}})',
        '{f}.{cat}.cat.remove_categories(["{val}"])',
        'cl.recode({f}.{cat}, ["{val}"])',
    ),
)
CAT: dict[str, Reason] = {
    **_names("add_categories remove_unused_categories", _DOMAIN),
    **_names(
        "as_ordered",
        Reason("domains have no order; numbers have", ("{f}.{cat}.cat.codes", '{f}.{cat}.map({{"{val}": 1}}) > 0')),
    ),
}

_PER_UNIT = Reason(
    "it is not computed per unit",
    (
        '{f}.groupby("{key}").agg(rows=("{num}", "count"), total=("{num}", "sum"))',
        '{f}.groupby("{key}").{num}.max()',
        '{f}.sort_values("{order}").groupby("{key}").{num}.shift(1)',
    ),
)
_FIRST = Reason(
    "the first row in an order is kept whole, missing values and all",
    ('{f}.sort_values("{order}").groupby("{key}").head(1)', '{f}.sort_values("{order}").groupby("{key}").tail(1)'),
)
_WHO = Reason(
    "which units there are is a fact about people",
    ('{f}.groupby("{key}").size().mean()', "{f}.count()"),
    _ROWS_CLAUSE,
)
UNIT: dict[str, Reason] = {
    **_names(
        "median quantile std var sem skew kurt prod ohlc corr cov corrwith describe value_counts apply pipe cumprod"
        " cummax cummin pct_change rolling expanding ewm resample fillna idxmin idxmax unique hist boxplot plot dtype"
        " ndim is_monotonic_increasing is_monotonic_decreasing filter take",
        _PER_UNIT,
    ),
    **_names("first last nth nlargest nsmallest", _FIRST),
    **_names("groups indices ngroups get_group ngroup sample", _WHO),
    **_names("ffill bfill", _FILLED),
}

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
