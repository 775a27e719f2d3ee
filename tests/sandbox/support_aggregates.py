"""Aggregates, cross-tables, plots and library functions that work as in pandas (see ``support.py``)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from support import Works

import cloister.sandbox as cl

SEXES = ["F", "M", "X", "(other)"]


def described(values: pd.Series, levels: tuple[float, ...] = (0.01, 0.25, 0.5, 0.75, 0.99)) -> pd.Series:
    """What ``describe`` holds here, computed with pandas."""
    found = values.quantile(list(levels), interpolation="lower")
    found.index = pd.Index([f"{100 * level:g}%" for level in levels])
    return pd.concat([values.agg(["count", "mean", "std"]), found])


def pivoted(d: pd.DataFrame, func: str) -> pd.DataFrame:
    """The pivot table over the whole domains."""
    return d.groupby(["sex", "region"], observed=False).cost.agg(func).unstack()


WORKS = [
    Works("Series.count", lambda d: d.bmi.count()),
    Works("Series.sum", lambda d: d.cost.sum()),
    Works("Series.mean", lambda d: d.bmi.mean(), remark="of a condition: the rate"),
    Works("Series.agg", lambda d: d.cost.agg(["count", "mean"])),
    Works("Series.aggregate", lambda d: d.cost.aggregate(["count", "sum"])),
    Works("Series.value_counts", lambda d: d.region.value_counts(), remark="every value of the domain is listed"),
    Works("Series.groupby", lambda d: d.cost.groupby(d.sex, observed=False).mean()),
    Works("DataFrame.count", lambda d: d.count()),
    Works("DataFrame.sum", lambda d: d[["age", "cost"]].sum()),
    Works("DataFrame.mean", lambda d: d.mean(numeric_only=True)),
    Works("DataFrame.agg", lambda d: d.agg({"age": "mean", "cost": "sum"})),
    Works("DataFrame.aggregate", lambda d: d.aggregate({"age": "mean", "cost": "sum"})),
    Works("DataFrame.value_counts", lambda d: d[["sex", "smoker"]].value_counts().sort_index()),
    Works("DataFrame.groupby", lambda d: d.groupby("sex", observed=False).cost.mean()),
    Works("GroupBy.size", lambda d: d.groupby("region", observed=False).size()),
    Works("GroupBy.count", lambda d: d.groupby("region", observed=False).bmi.count()),
    Works("GroupBy.sum", lambda d: d.groupby("region", observed=False).cost.sum()),
    Works("GroupBy.mean", lambda d: d.groupby("region", observed=False).cost.mean()),
    Works("GroupBy.agg", lambda d: d.groupby("sex", observed=False).agg(n=("cost", "count"), rate=("smoker", "mean"))),
    Works("GroupBy.aggregate", lambda d: d.groupby("sex", observed=False).cost.aggregate(["count", "mean"])),
    Works("GroupBy.value_counts", lambda d: d.groupby("sex", observed=False).region.value_counts()),
    Works("GroupBy.ngroups", lambda d: d.groupby("sex", observed=False).ngroups, lambda d: 4),
    Works(
        "DataFrame.resample",
        lambda d: d.resample("ME", on="date").agg(n=("cost", "count"), mean=("cost", "mean")),
        remark="all periods of the public range",
    ),
    Works("DataFrame.resample", lambda d: d.resample("QS", on="date").bmi.mean(), case="quarters"),
    Works("DataFrame.resample", lambda d: d.resample("W", on="date").size(), case="weeks"),
    Works("DataFrame.resample", lambda d: d.resample("YE", on="date")[["age", "cost"]].std(), case="years"),
    Works(
        "DataFrame.set_index",
        lambda d: d.set_index("date").cost.resample("MS").sum(),
        remark="of a date, to resample by",
    ),
    Works("DataFrame.set_index", lambda d: d.set_index("date")[["age", "cost"]].resample("YS").mean(), case="columns"),
    Works("np.mean", lambda d: np.mean(d.age)),
    Works("np.sum", lambda d: np.sum(d.cost)),
    Works("Series.std", lambda d: d.bmi.std()),
    Works("Series.std", lambda d: d.age.std(ddof=0), case="ddof"),
    Works("Series.var", lambda d: d.bmi.var(), lambda d: d.bmi.var()),
    Works("Series.sem", lambda d: d.bmi.sem()),
    Works("Series.median", lambda d: d.age.median()),
    Works("Series.quantile", lambda d: d.bmi.quantile(0.25, interpolation="lower"), remark="a public value each"),
    Works("Series.quantile", lambda d: d.age.quantile([0.2, 0.5, 0.8], interpolation="lower"), case="list"),
    Works(
        "Series.describe",
        lambda d: d.age.describe(),
        lambda d: described(d.age),
        remark="1 % and 99 % quantiles stand for minimum and maximum",
    ),
    Works("Series.nunique", lambda d: d.patient_id.nunique(), remark="people: of the unit key only"),
    Works("Series.cov", lambda d: d.age.cov(d.bmi)),
    Works("Series.corr", lambda d: d.age.corr(d.bmi)),
    Works(
        "Series.value_counts",
        lambda d: int(d.age.value_counts(bins=[0, 40, 80], sort=False).sum()),
        lambda d: int(((d.age >= 0) & (d.age < 80)).sum()),
        case="bins",
        remark="bins are closed on the left",
    ),
    Works("Series.agg", lambda d: d.bmi.agg(["mean", "std", "var", "sem", "count"]), case="spread"),
    Works("Series.hist", lambda d: len(d.age.hist(bins=4).patches), lambda d: 4, remark="released counts, drawn"),
    Works(
        "Series.plot",
        lambda d: len(d.age.plot.hist(bins=5).patches),
        lambda d: 5,
        remark="`plot.hist`, `plot.box`, `plot.bar`, each a release",
    ),
    Works("DataFrame.std", lambda d: d[["age", "bmi"]].std()),
    Works("DataFrame.var", lambda d: d[["age", "bmi"]].var()),
    Works("DataFrame.sem", lambda d: d[["age", "bmi"]].sem()),
    Works("DataFrame.median", lambda d: d[["age", "cost"]].quantile(0.5, interpolation="lower")),
    Works("DataFrame.quantile", lambda d: d[["age", "bmi"]].quantile([0.25, 0.75], interpolation="lower")),
    Works(
        "DataFrame.describe",
        lambda d: d[["age", "smoker"]].describe(),
        lambda d: pd.DataFrame({name: described(d[name]) for name in ("age",)}),
    ),
    Works("DataFrame.cov", lambda d: d[["age", "bmi", "cost"]].cov()),
    Works("DataFrame.corr", lambda d: d[["age", "bmi", "cost"]].corr()),
    Works(
        "DataFrame.pivot_table",
        lambda d: d.pivot_table(values="cost", index="sex", columns="region", aggfunc="sum"),
        lambda d: pivoted(d, "sum"),
    ),
    Works(
        "DataFrame.pivot_table",
        lambda d: d.pivot_table(values="cost", index="sex", columns="smoker"),
        lambda d: d.pivot_table(values="cost", index="sex", columns="smoker", observed=False).reindex(SEXES),
        case="mean",
    ),
    Works(
        "DataFrame.pivot_table",
        lambda d: d.pivot_table(values=["cost", "age"], index="sex", aggfunc=["mean", "sum"]),
        lambda d: d.pivot_table(values=["cost", "age"], index="sex", aggfunc=["mean", "sum"], observed=False)[
            [("mean", "cost"), ("mean", "age"), ("sum", "cost"), ("sum", "age")]
        ],
        case="several",
    ),
    Works("GroupBy.std", lambda d: d.groupby("sex", observed=False).bmi.std()),
    Works("GroupBy.var", lambda d: d.groupby("smoker").age.var()),
    Works("GroupBy.sem", lambda d: d.groupby("smoker").bmi.sem()),
    Works("GroupBy.median", lambda d: d.groupby("smoker").cost.quantile(0.5, interpolation="lower")),
    Works("GroupBy.quantile", lambda d: d.groupby("smoker").age.quantile([0.25, 0.75], interpolation="lower")),
    Works(
        "GroupBy.describe",
        lambda d: d.groupby("smoker").age.describe(percentiles=[0.25, 0.5, 0.75]),
        lambda d: (
            pd.DataFrame({flag: described(d.age[d.smoker == flag], (0.25, 0.5, 0.75)) for flag in (False, True)}).T
        ),
    ),
    Works(
        "GroupBy.nunique",
        lambda d: d.groupby("sex", observed=False).patient_id.nunique(),
        remark="people: of the unit key only",
    ),
    Works("np.std", lambda d: np.std(d.age)),
    Works("np.var", lambda d: np.var(d.age)),
    Works("np.median", lambda d: np.median(d.cost), lambda d: d.cost.quantile(0.5, interpolation="lower")),
    Works("np.percentile", lambda d: np.percentile(d.bmi, 25), lambda d: d.bmi.quantile(0.25, interpolation="lower")),
    Works("np.quantile", lambda d: np.quantile(d.age, 0.9), lambda d: d.age.quantile(0.9, interpolation="lower")),
    Works("np.corrcoef", lambda d: np.corrcoef(d.age, d.cost)[0, 1]),
    Works("np.cov", lambda d: np.cov(d.age, d.cost)[0, 0]),
    Works(
        "np.average", lambda d: np.average(d.cost, weights=d.age), lambda d: float(np.average(d.cost, weights=d.age))
    ),
    Works("cl.ratio_of_sums", lambda d: cl.ratio_of_sums(d.cost, d.age), lambda d: d.cost.sum() / d.age.sum()),
    Works(
        "cl.weighted_mean",
        lambda d: cl.weighted_mean(d.bmi, d.age),
        lambda d: (d.bmi * d.age).sum() / d.age[d.bmi.notna()].sum(),
    ),
    Works("cl.crosstab", lambda d: cl.crosstab(d.sex, d.region, d.cost, aggfunc="mean"), lambda d: pivoted(d, "mean")),
    Works(
        "cl.crosstab",
        lambda d: cl.crosstab(d.smoker, d.age >= 50, normalize="index"),
        lambda d: pd.crosstab(d.smoker, d.age >= 50, normalize="index"),
        case="normalised",
    ),
    Works("cl.crosstab", remark="`tests/sandbox/test_pandas_equality.py`"),
    Works("cl.gram", remark="`tests/sandbox/test_pandas_equality.py`"),
]
