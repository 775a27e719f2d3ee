"""Why aggregates, reshapings and plots of pandas are refused, each with the nearest form that is released."""

from __future__ import annotations

from collections.abc import Mapping

from cloister.sandbox.reasons import Reason

WORK: dict[str, frozenset[str]] = {
    "DataFrame": frozenset(["std", "var", "sem", "median", "quantile", "describe", "cov", "corr", "pivot_table"]),
    "Series": frozenset(
        ["std", "var", "sem", "median", "quantile", "describe", "cov", "corr", "nunique", "hist", "plot"]
    ),
    "GroupBy": frozenset(["std", "var", "sem", "median", "quantile", "describe", "nunique"]),
}
"""Aggregates that work, by owner: no longer refused."""

_BOUNDED = "each person's influence on a released value is bounded"
_ONE = Reason(
    "a minimum or maximum is one person's value",
    ("{f}.{num}.quantile([0.01, 0.99])", "({f}.{num} >= 50).mean()"),
    _BOUNDED,
)
_WHICH = Reason(
    "which row holds the extreme is a fact about one person; which group does is asked of released values",
    ('{f}.groupby("{cat}").{num}.mean().{name}()', "{f}.{num}.quantile(0.99)"),
    _BOUNDED,
)
_RUNNING = Reason(
    "a running extreme needs an order of rows that leaves the enclave",
    ("{f}.{num}.quantile([0.01, 0.99])", "cl.cut({f}.{num}, [0, 25, 50, 75]).value_counts(sort=False).cumsum()"),
)
_MODE = Reason(
    "the most frequent value is read from released counts",
    ("{f}.{cat}.value_counts().nlargest(1)", "{f}.{cat}.value_counts()"),
)
_TOP = Reason(
    "the largest values are single people's; the largest groups are taken of released values",
    ('{f}.groupby("{cat}").{num}.sum().{name}(2)', "{f}.{cat}.value_counts().{name}(2)"),
    "only released aggregates leave (release gate)",
)
_RANK = Reason(
    "a rank tells how many people lie below one person's value",
    ("({f}.{num} < 40).mean()", "{f}.{num}.quantile([0.25, 0.5, 0.75])"),
)
_HIGHER = Reason(
    "third and fourth moments are not measures of the algebra; powers of a centred column are",
    ("(({f}.{num} - 40) ** 3).mean()", "{f}.{num}.quantile([0.05, 0.25, 0.5, 0.75, 0.95])"),
)
_WITH = Reason("columns are correlated by name", ('{f}[["{num}", "{num2}"]].corr()', "{f}.{num}.corr({f}.{num2})"))
_AFTER = Reason(
    "a correlation with earlier rows needs a lag within each person first",
    ("{f}.{num}.corr({f}.{num2})", "{f}.{num}.var()"),
)
_PEOPLE = Reason(
    "which values occur is a fact about people; how many people there are is released with noise",
    ("{f}.{key}.nunique()", "{f}.{cat}.domain", "{f}.{cat}.value_counts()"),
)
_GROUPED_PAIRS = Reason(
    "it is asked of one group at a time, or of all rows",
    ('{f}[{f}["{cat}"] == {val!r}][["{num}", "{num2}"]].{name}()', "{f}.{num}.{name}({f}.{num2})"),
)
_PLOT = Reason(
    "a plot needs rows; one column's histogram or a released table is drawn with error bars",
    ("{f}.{num}.plot.hist(bins=20)", '{f}.groupby("{cat}").{num}.mean().release.plot.bar()'),
    is_property=True,
)
_HIST = Reason(
    "a histogram is released column by column",
    ("{f}.{num}.plot.hist(bins=20)", '{f}.groupby("{cat}").{num}.mean().release.plot.bar()'),
)
_BOXPLOT = Reason(
    "boxes are drawn of released quantiles",
    ("{f}.{num}.plot.box()", '{f}.groupby("{cat}").{num}.quantile([0.25, 0.5, 0.75]).release.plot.box()'),
)
_PIVOT = Reason(
    "rows have no labels to pivot by; aggregates per cell are a pivot table",
    ('{f}.pivot_table(values="{num}", index="{cat}", aggfunc="mean")', '{f}.groupby("{cat}").{num}.mean()'),
)
_DUMMIES = Reason(
    "one condition per value of the public domain",
    ("{f}.assign(is_it=({f}.{cat} == {val!r}))", "{f}.{cat}.value_counts(normalize=True)"),
)
_NUMBERS = Reason(
    "groups have no numbers: their labels are the public values of the keys",
    ('{f}.groupby("{cat}").ngroups', '{f}.groupby("{cat}").size()'),
)
_OHLC = Reason("first, last, highest and lowest are single people's values", ("{f}.{num}.describe()",), _BOUNDED)

REFUSED: dict[str, Reason] = {
    **dict.fromkeys(("min", "max"), _ONE),
    **dict.fromkeys(("idxmin", "idxmax", "argmin", "argmax"), _WHICH),
    **dict.fromkeys(("cummax", "cummin"), _RUNNING),
    **dict.fromkeys(("nlargest", "nsmallest"), _TOP),
    **dict.fromkeys(("skew", "kurt", "kurtosis"), _HIGHER),
    **dict.fromkeys(("cov", "corr"), _GROUPED_PAIRS),
    "mode": _MODE,
    "rank": _RANK,
    "corrwith": _WITH,
    "autocorr": _AFTER,
    "nunique": _PEOPLE,
    "plot": _PLOT,
    "hist": _HIST,
    "boxplot": _BOXPLOT,
    "pivot": _PIVOT,
    "get_dummies": _DUMMIES,
    "ngroup": _NUMBERS,
    "ohlc": _OHLC,
}


def over(owner: str, table: Mapping[str, Reason]) -> dict[str, Reason]:
    """Return the refusals of one kind of handle: aggregates have their own reasons, those that work have none."""
    kept = {name: REFUSED.get(name, reason) for name, reason in table.items() if name not in WORK[owner]}
    return {name: _own(name, reason) for name, reason in kept.items()}


def _own(name: str, reason: Reason) -> Reason:
    """Write the refused name into forms that use the same name on released values."""
    if not any("{name}" in form for form in reason.nearest):
        return reason
    word = {"argmax": "idxmax", "argmin": "idxmin"}.get(name, name)
    forms = tuple(form.replace("{name}", word) for form in reason.nearest)
    return Reason(reason.why, forms, reason.clause, reason.is_property)
