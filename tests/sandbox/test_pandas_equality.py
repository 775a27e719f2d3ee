"""pandas names mean what pandas means: with the noise off every method equals pandas on the same rows (S2-N18)."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sandbox_world as world

import cloister.sandbox as cl

Both = Callable[[Any], Any]

# The same code runs on the handle and on a DataFrame.
SAME: dict[str, Both] = {
    "count": lambda d: d.bmi.count(),
    "count of a complete column": lambda d: d.age.count(),
    "count of the key": lambda d: d.patient_id.count(),
    "sum": lambda d: d.cost.sum(),
    "sum of decimals": lambda d: d.bmi.sum(),
    "sum of a condition": lambda d: (d.age >= 65).sum(),
    "mean": lambda d: d.age.mean(),
    "mean with missing values": lambda d: d.bmi.mean(),
    "rate": lambda d: (d.age >= 65).mean(),
    "rate of a boolean column": lambda d: d.smoker.mean(),
    "getitem": lambda d: d["age"].mean(),
    "add": lambda d: (d.age + d.cost).mean(),
    "add a constant": lambda d: (d.age + 1.5).mean(),
    "radd": lambda d: (1 + d.age).sum(),
    "sub": lambda d: (d.cost - d.age).sum(),
    "rsub": lambda d: (100 - d.age).sum(),
    "mul": lambda d: (d.age * d.smoker).sum(),
    "rmul": lambda d: (0.1 * d.cost).mean(),
    "truediv": lambda d: (d.cost / 3).mean(),
    "div by a decimal": lambda d: (d.cost / 0.5).mean(),
    "pow 2": lambda d: (d.age**2).mean(),
    "pow 3": lambda d: (d.age**3).sum(),
    "neg": lambda d: (-d.age).mean(),
    "pos": lambda d: (+d.age).mean(),
    "abs": lambda d: abs(d.cost - 1000).mean(),
    "abs()": lambda d: (d.cost - 1000).abs().mean(),
    "np.abs": lambda d: np.abs(d.cost - 1000).mean(),
    "np.square": lambda d: np.square(d.age).mean(),
    "np.mean": lambda d: np.mean(d.age),
    "np.sum": lambda d: np.sum(d.cost),
    "numpy scalar on the left": lambda d: (np.float64(2.5) * d.age).mean(),
    "add()": lambda d: d.age.add(2).mean(),
    "sub()": lambda d: d.age.sub(2).mean(),
    "mul()": lambda d: d.age.mul(2).mean(),
    "div()": lambda d: d.age.div(4).mean(),
    "pow()": lambda d: d.age.pow(2).mean(),
    "rsub()": lambda d: d.age.rsub(2).mean(),
    "==": lambda d: (d.sex == "F").sum(),
    "== with missing": lambda d: (d.bmi == 30.1).sum(),
    "!=": lambda d: (d.sex != "F").sum(),
    "!= with missing": lambda d: (d.bmi != 30.1).sum(),
    "<": lambda d: (d.bmi < 30.1).sum(),
    "<=": lambda d: (d.bmi <= 30.1).sum(),
    ">": lambda d: (d.bmi > 30.1).sum(),
    ">=": lambda d: (d.bmi >= 30.1).sum(),
    "constant on the left": lambda d: (30 < d.age).sum(),  # noqa: SIM300
    "eq()": lambda d: d.age.eq(40).sum(),
    "ne()": lambda d: d.age.ne(40).sum(),
    "lt()": lambda d: d.age.lt(40).sum(),
    "le()": lambda d: d.age.le(40).sum(),
    "gt()": lambda d: d.age.gt(40).sum(),
    "ge()": lambda d: d.age.ge(40).sum(),
    "columns compared": lambda d: (d.age * 20 > d.cost).mean(),
    "&": lambda d: ((d.age >= 18) & (d.age < 65) & d.smoker).sum(),
    "|": lambda d: ((d.age < 18) | (d.sex == "M")).sum(),
    "^": lambda d: ((d.age < 50) ^ d.smoker).sum(),
    "~": lambda d: (~(d.bmi > 30)).sum(),
    "date with a text": lambda d: (d.date >= "2023-01-01").sum(),
    "date with a timestamp": lambda d: (d.date < pd.Timestamp("2023-06-15")).sum(),
    "date with numpy": lambda d: (d.date < np.datetime64("2023-06-15")).sum(),
    "date between": lambda d: d.date.between("2023-01-01", "2023-12-31").mean(),
    "between": lambda d: d.age.between(30, 60).sum(),
    "between left": lambda d: d.age.between(30, 60, inclusive="left").sum(),
    "between neither": lambda d: d.age.between(30, 60, inclusive="neither").sum(),
    "isin texts": lambda d: d.region.isin(["north", "west"]).sum(),
    "isin numbers": lambda d: d.age.isin({40, 41, 42}).sum(),
    "isin nothing": lambda d: d.age.isin([]).sum(),
    "isna": lambda d: d.bmi.isna().sum(),
    "isnull of a complete column": lambda d: d.age.isnull().sum(),
    "notna": lambda d: d.bmi.notna().mean(),
    "fillna": lambda d: d.bmi.fillna(25).mean(),
    "dropna": lambda d: d.bmi.dropna().mean(),
    "clip": lambda d: d.cost.clip(100, 900).mean(),
    "clip lower": lambda d: d.cost.clip(lower=100).mean(),
    "clip upper": lambda d: d.cost.clip(upper=900.5).mean(),
    "where": lambda d: d.cost.where(d.smoker, 0).mean(),
    "mask": lambda d: d.cost.mask(d.smoker, 0).mean(),
    "arithmetic with missing": lambda d: (d.bmi + d.age).mean(),
    "filter": lambda d: d[d.age >= 18].bmi.mean(),
    "filter twice": lambda d: d[d.age >= 18].pipe(lambda a: a[a.sex == "F"].cost.sum()),
    "filter by a column of the unfiltered table": lambda d: d[d.age >= 18].loc[d.sex == "F"].cost.sum(),
    "filter with a lambda": lambda d: d[lambda x: x.age >= 18].cost.mean(),
    "filter of a column": lambda d: d.bmi[d.age >= 18].mean(),
    "loc": lambda d: d.loc[d.age >= 18].cost.mean(),
    "loc with a column": lambda d: d.loc[d.age >= 18, "cost"].mean(),
    "loc with columns": lambda d: d.loc[d.smoker, ["cost", "age"]].mean(),
    "loc all rows": lambda d: d.loc[:, "cost"].mean(),
    "query": lambda d: d.query("age >= 18 and sex == 'F'").cost.sum(),
    "query with or, not, in": lambda d: d.query("not (age < 18 or region in ['north', 'east'])").cost.sum(),
    "query with & |": lambda d: d.query("age > 30 & sex == 'F' | smoker").cost.sum(),
    "query chained": lambda d: d.query("18 <= age < 65").age.mean(),
    "query arithmetic": lambda d: d.query("cost > age * 20 + 1").age.mean(),
    "query !=": lambda d: d.query("sex != 'F'").cost.sum(),
    "query boolean column": lambda d: d.query("~smoker").cost.sum(),
    "query == list": lambda d: d.query("sex == ['F', 'M']").cost.sum(),
    "query methods": lambda d: d.query("bmi.notna() and age.between(20, 40)").cost.sum(),
    "query date": lambda d: d.query("date >= '2023-01-01'").cost.sum(),
    "assign": lambda d: d.assign(double=d.age * 2).double.mean(),
    "assign with a lambda": lambda d: d.assign(bmi2=lambda x: x.bmi**2).bmi2.mean(),
    "assign uses the ones before": lambda d: d.assign(a=lambda x: x.age * 2, b=lambda x: x.a + 1).b.mean(),
    "assign a constant": lambda d: d.assign(one=1).one.sum(),
    "assign replaces": lambda d: d.assign(age=d.age * 2).age.mean(),
    "rename": lambda d: d.rename(columns={"age": "years"}).years.mean(),
    "rename with a function": lambda d: d.rename(columns=str.upper).AGE.mean(),
    "drop": lambda d: d.drop(columns=["bmi", "patient_id", "date", "sex", "region"]).mean(),
    "select columns": lambda d: d[["age", "cost"]].mean(),
    "filter columns by name": lambda d: d.filter(like="co").mean(),
    "select_dtypes": lambda d: d.select_dtypes("int64").sum(),
    "frame dropna": lambda d: d.dropna().cost.sum(),
    "frame dropna subset": lambda d: d.dropna(subset=["bmi"]).cost.sum(),
    "frame count": lambda d: d.count(),
    "frame sum": lambda d: d[["age", "cost", "smoker"]].sum(),
    "frame mean numeric_only": lambda d: d.mean(numeric_only=True),
    "frame agg text": lambda d: d[["age", "cost"]].agg("mean"),
    "frame agg dict": lambda d: d.agg({"age": "mean", "cost": "sum"}),
    "column agg list": lambda d: d.cost.agg(["count", "sum", "mean"]),
    "column agg text": lambda d: d.cost.agg("mean"),
    "pipe": lambda d: d.pipe(lambda x: x[x.age > 50]).cost.mean(),
    "groupby mean": lambda d: d.groupby("sex", observed=False).bmi.mean(),
    "groupby item": lambda d: d.groupby("sex", observed=False)["cost"].sum(),
    "groupby size": lambda d: d.groupby("region", observed=False).size(),
    "groupby count": lambda d: d.groupby("region", observed=False).bmi.count(),
    "groupby two keys": lambda d: d.groupby(["sex", "smoker"], observed=False).cost.sum(),
    "groupby columns": lambda d: d.groupby(["sex"], observed=False)[["age", "cost"]].mean(),
    "groupby boolean": lambda d: d.groupby("smoker").age.mean(),
    "groupby a condition": lambda d: d.groupby(d.age >= 50).cost.mean(),
    "groupby frame count": lambda d: d.groupby("sex", observed=False).count(),
    "groupby numeric_only": lambda d: d.groupby("sex", observed=False).mean(numeric_only=True),
    "groupby agg list": lambda d: d.groupby("sex", observed=False).cost.agg(["count", "mean", "sum"]),
    "groupby agg text": lambda d: d.groupby("sex", observed=False).cost.agg("mean"),
    "groupby agg function": lambda d: d.groupby("sex", observed=False).cost.agg("sum"),
    "groupby agg named": lambda d: d.groupby("sex", observed=False).agg(n=("cost", "count"), rate=("smoker", "mean")),
    "groupby agg named on a column": lambda d: d.groupby("sex", observed=False).cost.agg(n="count", avg="mean"),
    "groupby agg dict": lambda d: d.groupby("sex", observed=False).agg({"cost": "sum", "age": "mean"}),
    "groupby agg dict of lists": lambda d: d.groupby("sex", observed=False).agg(
        {"cost": ["sum", "mean"], "age": ["mean"]}
    ),
    "groupby of a column": lambda d: d.cost.groupby(d.sex, observed=False).mean(),
    "groupby then filter": lambda d: d[d.age > 30].groupby("sex", observed=False).cost.mean(),
    "value_counts": lambda d: d.region.value_counts(),
    "value_counts normalised": lambda d: d.region.value_counts(normalize=True),
    "value_counts ascending": lambda d: d.region.value_counts(ascending=True),
    "value_counts of booleans": lambda d: d.smoker.value_counts(),
    "group value_counts": lambda d: d.groupby("sex", observed=False).region.value_counts(),
}


@functools.cache
def frame() -> pd.DataFrame:
    return world.reference(world.VISITS)


@pytest.mark.parametrize("name", SAME)
def test_the_same_code_gives_the_same_result(name: str, quiet: cl.Frame) -> None:
    equal(SAME[name](quiet.copy()), SAME[name](frame().copy()))


def test_how_much_is_covered() -> None:
    assert len(SAME) >= 100


def test_days_between_dates(quiet: cl.Frame) -> None:
    equal((quiet.date - "2022-01-01").mean(), (frame().date - pd.Timestamp("2022-01-01")).dt.days.mean())


def test_setitem_changes_the_handle(quiet: cl.Frame) -> None:
    ours, theirs = quiet.copy(), frame().copy()
    for d in (ours, theirs):
        d["senior"] = d.age >= 65
        d["age"] = d.age + 1
        d.loc[d.age > 90, "age"] = 90
        del d["bmi"]
    assert list(ours) == list(theirs)
    equal(ours.senior.mean(), theirs.senior.mean())
    equal(ours.age.mean(), theirs.age.mean())
    equal(ours.groupby("senior").age.mean(), theirs.groupby("senior").age.mean())
    assert "senior" not in quiet


def test_a_column_taken_before_a_change_keeps_its_meaning(quiet: cl.Frame) -> None:
    ours, theirs = quiet.copy(), frame().copy()
    before, reference = ours.age, theirs.age
    for d in (ours, theirs):
        d["age"] = d.age * 0 + 7
    equal(before.mean(), reference.mean())
    equal(ours[before > 50].age.sum(), theirs[reference > 50].age.sum())


def test_query_reads_variables_of_the_caller(quiet: cl.Frame) -> None:
    regions, limit = ["north", "south"], datetime.date(2023, 1, 1)
    text = "region in @regions and date >= @limit"
    theirs = frame()[frame().region.isin(regions) & (frame().date >= pd.Timestamp(limit))]
    equal(quiet.query(text).cost.sum(), theirs.cost.sum())


def test_cut_is_pandas_cut_closed_on_the_left(quiet: cl.Frame) -> None:
    edges = [0, 18, 40, 65, 111]
    ours = quiet.groupby(cl.cut(quiet.age, edges)).cost.mean()
    theirs = frame().groupby(pd.cut(frame().age, edges, right=False), observed=False).cost.mean()
    theirs.index = theirs.index.astype(str)
    equal(ours, theirs)
    assert list(cl.cut(quiet.age, edges).value_counts(sort=False).index) == list(theirs.index)


def test_cut_with_labels_and_dates(quiet: cl.Frame) -> None:
    d = frame()
    ours = quiet.assign(group=cl.cut(quiet.age, [0, 50, 111], labels=["young", "old"]))
    theirs = d.assign(group=pd.cut(d.age, [0, 50, 111], right=False, labels=["young", "old"]))
    equal(ours.groupby("group").cost.mean(), theirs.groupby("group", observed=False).cost.mean())
    years = ["2022-01-01", "2023-01-01", "2024-01-01"]
    counts = cl.cut(quiet.date, years).value_counts(sort=False)
    bins = pd.cut(d.date, pd.to_datetime(years), right=False)
    assert counts.tolist() == bins.value_counts(sort=False).tolist()


def test_case_and_where(quiet: cl.Frame) -> None:
    d = frame()
    ours = cl.case((quiet.age < 18, "child"), (quiet.age < 65, "adult"), default="senior")
    theirs = pd.Series(np.select([d.age < 18, d.age < 65], ["child", "adult"], "senior"))
    ours_counts, theirs_counts = ours.value_counts(), theirs.value_counts()
    assert {k: v for k, v in ours_counts.items() if v} == theirs_counts.to_dict()
    equal(cl.where(quiet.smoker, quiet.cost, 0).mean(), np.where(d.smoker, d.cost, 0).mean())
    equal(np.where(quiet.smoker, quiet.cost, 0).mean(), np.where(d.smoker, d.cost, 0).mean())


def test_crosstab(quiet: cl.Frame) -> None:
    theirs = frame().groupby(["sex", "region"], observed=False).size().unstack()
    equal(cl.crosstab(quiet.sex, quiet.region), theirs)


def test_gram_gives_moments_and_a_regression(quiet: cl.Frame) -> None:
    d = frame()[["age", "bmi", "cost"]].dropna()
    gram = cl.gram(quiet, ["age", "bmi", "cost"])
    assert gram.n == pytest.approx(len(d))
    equal(gram.mean(), d.mean(), 1e-3)
    equal(gram.std(), d.std(ddof=0), 1e-3)
    equal(gram.corr(), d.corr(), 1e-2)
    x = np.column_stack([np.ones(len(d)), d[["age", "bmi"]]])
    theirs = np.linalg.lstsq(x, d.cost.to_numpy(), rcond=None)[0]
    assert gram.ridge("cost", alpha=0).to_numpy() == pytest.approx(theirs, rel=0.02)


def test_cap_bounds_rows_per_unit(quiet: cl.Frame) -> None:
    patients = frame().patient_id.nunique()
    assert quiet.cap(1).age.count() == patients
    pairs = frame().groupby(["patient_id", "region"], observed=True).ngroups
    assert quiet.cap(1, by="region").groupby("region").size().sum() == pairs


def equal(ours: Any, theirs: Any, tolerance: float = 1e-9) -> None:
    """Compare values and labels; how pandas stores an index of categories is not compared."""
    if isinstance(theirs, pd.DataFrame):
        assert type(ours) is pd.DataFrame
        pd.testing.assert_frame_equal(
            plain(ours), plain(theirs), check_dtype=False, check_names=False, rtol=tolerance, atol=1e-12
        )
    elif isinstance(theirs, pd.Series):
        assert type(ours) is pd.Series
        ours, theirs = plain(ours), plain(theirs)
        assert sorted(map(str, ours.index)) == sorted(map(str, theirs.index))
        pd.testing.assert_series_equal(ours, theirs.reindex(ours.index), check_dtype=False, rtol=tolerance, atol=1e-12)
        assert list(ours) == pytest.approx(
            list(theirs), rel=max(tolerance, 1e-6), nan_ok=True
        )  # the same order of values
    else:
        assert isinstance(ours, int | float)
        assert ours == pytest.approx(theirs, rel=tolerance, abs=1e-12)


def plain(table: Any) -> Any:
    """Replace categorical indexes by plain ones."""
    table = table.copy()
    if isinstance(table.index, pd.MultiIndex):
        levels = [table.index.get_level_values(i).astype(object) for i in range(table.index.nlevels)]
        table.index = pd.MultiIndex.from_arrays(levels, names=table.index.names)
    else:
        table.index = table.index.astype(object)
    if isinstance(table, pd.DataFrame) and not isinstance(table.columns, pd.MultiIndex):
        table.columns = table.columns.astype(object)
    table.attrs.clear()
    return table


def test_two_keys_of_one_name_are_two_keys(quiet: cl.Frame) -> None:
    d = frame()
    ours = quiet.groupby([quiet.age >= 50, quiet.age >= 30]).cost.mean()
    theirs = d.groupby([d.age >= 50, d.age >= 30]).cost.mean()
    assert ours.index.names == ["age", "age_2"]
    for label, value in theirs.items():
        assert ours[label] == pytest.approx(value)
    assert cl.crosstab(quiet.age >= 50, quiet.age >= 30).to_numpy().sum() == len(d)
    assert quiet.groupby("sex").sex.value_counts()[("F", "F")] == (d.sex == "F").sum()


def test_a_cap_by_a_derived_key_groups_by_the_same_key(quiet: cl.Frame) -> None:
    d = frame()
    old = quiet.age >= 50
    capped = quiet.assign(old=old).cap(1, by="old", groups=2)
    pairs = d.groupby([d.patient_id, d.age >= 50]).ngroups
    assert capped.groupby("old").size().sum() == pairs
    assert capped[capped.sex == "F"].groupby("old").size().sum() <= pairs
