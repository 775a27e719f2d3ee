"""What a handle does not do is refused with forms that work; nothing computes something else in silence."""

from __future__ import annotations

import copy
import json
import pickle
import statistics
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import sandbox_world as world

import cloister as root
import cloister.sandbox as cl
from cloister.errors import CloisterError, MalformedError, PlanError
from cloister.sandbox import refuse

mpl.use("Agg")
import matplotlib.pyplot as plt

HAVE = {"count", "sum", "mean", "size", "agg", "value_counts", "loc", "query", "assign"}


def use(owner: Any, name: str) -> None:
    """Read a refused name and use it as one would."""
    found = getattr(owner, name)
    if callable(found):
        found(1)
    found[0]


def try_forms(forms: tuple[str, ...], visits: cl.Frame) -> None:
    """Every nearest form is code that runs on the handle as it is."""
    assert forms
    for form in forms:
        names = {"visits": visits.copy(), "cl": cl, "np": np, "pd": pd}
        code = form.partition("  #")[0].replace('to_csv("', 'to_csv("/dev/null" or "')
        exec(code, names)  # the forms are ours
    plt.close("all")


@pytest.mark.parametrize("name", sorted(refuse.FRAME))
def test_frames_refuse(name: str, visits: cl.Frame, vault: world.Vault) -> None:
    with pytest.raises(PlanError, match=r"api\.") as caught:
        use(visits, name)
    assert caught.value.reason
    assert not vault.releases()


@pytest.mark.parametrize("name", sorted(refuse.COLUMN))
def test_columns_refuse(name: str, visits: cl.Frame, vault: world.Vault) -> None:
    with pytest.raises(PlanError, match=r"api\."):
        use(visits.bmi, name)
    assert not vault.releases()


@pytest.mark.parametrize("name", sorted(refuse.GROUPED))
def test_group_bys_refuse(name: str, visits: cl.Frame, vault: world.Vault) -> None:
    with pytest.raises(PlanError, match=r"api\."):
        use(visits.groupby("sex"), name)
    assert not vault.releases()


def test_every_nearest_form_works(visits: cl.Frame) -> None:
    forms: dict[str, None] = {}
    words = visits.bmi._words()
    for table in (refuse.FRAME, refuse.GROUPED, refuse.COLUMN, refuse.DT, refuse.STR, refuse.CAT, refuse.UNIT):
        for name, reason in table.items():
            forms |= dict.fromkeys(refuse.explain(name, reason, words).nearest)
    assert len(forms) > 60
    try_forms(tuple(forms), visits)


def test_head_shows_mock_rows_and_says_so(visits: cl.Frame) -> None:
    with pytest.raises(PlanError) as caught:
        visits.head()
    assert "mock" in str(caught.value)
    assert "patient_id" in str(caught.value)
    assert caught.value.nearest[0] == "visits.mock(5)"


LIBRARY: dict[str, Callable[[Any], Any]] = {
    "len": len,
    "bool": bool,
    "int": lambda d: int(d.age),
    "float": lambda d: float(d.age),
    "index": lambda d: [1, 2, 3][d.age],
    "if": lambda d: 1 if d.age > 3 else 2,
    "and": lambda d: d.age > 3 and d.age < 5,
    "chain": lambda d: 3 < d.age < 5,
    "not": lambda d: not d.smoker,
    "in": lambda d: d.age in [1, 2],
    "contains": lambda d: 3 in d.age,
    "iterate": lambda d: list(d.age),
    "builtin sum": lambda d: sum(d.age),
    "builtin max": lambda d: max(d.age),
    "sorted": lambda d: sorted(d.age),
    "floordiv by a column": lambda d: d.age // d.cost,
    "mod by a column": lambda d: d.age % d.cost,
    "mod by zero": lambda d: d.age % 0,
    "format": lambda d: f"{d.age:.2f}",
    "hash": lambda d: {d.age: 1},
    "pickle a column": lambda d: pickle.dumps(d.age),
    "pickle a frame": pickle.dumps,
    "json": lambda d: json.dumps({"x": d.age}),
    "statistics": lambda d: statistics.mean(d.age),
    "np.asarray": lambda d: np.asarray(d.age),
    "np.asarray frame": np.asarray,
    "np.array in a list": lambda d: np.array([d.age, d.bmi], dtype=float),
    "np.max": lambda d: np.max(d.age),
    "np.dot": lambda d: np.dot(d.age, d.bmi),
    "np.log": lambda d: np.log(d.age),
    "np.exp beyond 62 bits": lambda d: np.exp(d.cost),
    "np.add.reduce": lambda d: np.add.reduce(d.age),
    "np.unique": lambda d: np.unique(d.sex),
    "np.concatenate": lambda d: np.concatenate([d.age, d.age]),
    "np.mean frame": np.mean,
    "np.mean of an array by a column": lambda d: np.ones(3) * d.age,
    "pd.DataFrame": pd.DataFrame,
    "pd.Series": lambda d: pd.Series(d.age),
    "pd.Series of a frame": pd.Series,
    "pd.concat": lambda d: pd.concat([d, d]),
    "pd.merge": lambda d: pd.merge(d, d, on="age"),
    "pd.crosstab": lambda d: pd.crosstab(d.sex, d.region),
    "pd.cut": lambda d: pd.cut(d.age, [0, 50, 100]),
    "pd.qcut": lambda d: pd.qcut(d.age, 4),
    "pd.get_dummies": pd.get_dummies,
    "pd.get_dummies column": lambda d: pd.get_dummies(d.sex),
    "pd.to_datetime": lambda d: pd.to_datetime(d.date),
    "pd.isna": lambda d: pd.isna(d.age).any(),
    "pd.pivot_table": lambda d: pd.pivot_table(d, values="cost", index="sex"),
    "pd.unique": lambda d: pd.unique(d.sex),
    "series by a column": lambda d: pd.Series([1, 2]) * d.age,
    "column by a series": lambda d: d.age * pd.Series([1, 2]),
    "plt.hist": lambda d: plt.hist(d.age),
    "plt.plot": lambda d: plt.plot(d.age),
    "plt.scatter": lambda d: plt.scatter(d.age, d.bmi),
    "plt.bar": lambda d: plt.bar(d.sex, d.cost),
    "a column from a list": lambda d: d.assign(x=[1, 2, 3]),
    "a column from a series": lambda d: d.assign(x=pd.Series([1])),
    "a column from an array": lambda d: d.__setitem__("x", np.ones(3)),
    "slice": lambda d: d[:5],
    "column slice": lambda d: d.age[:5],
    "column position": lambda d: d.age[0],
    "loc position": lambda d: d.loc[0],
    "loc set without a mask": lambda d: d.loc.__setitem__((0, "age"), 1),
    "frames compared": lambda d: d == d,  # noqa: PLR0124
    "ratio of columns": lambda d: d.cost / d.age,
    "constant by a column": lambda d: 1 / d.age,
    "division by zero": lambda d: d.age / 0,
    "power of a half": lambda d: d.age**0.5,
    "power by a column": lambda d: 2**d.age,
    "text and number": lambda d: d.age + "x",
    "number compared with text": lambda d: d.age == "x",
    "category ordered": lambda d: d.sex < "M",
    "missing compared": lambda d: d.bmi == np.nan,  # noqa: PLW0177
    "none compared": lambda d: d.bmi == None,  # noqa: E711
    "infinity": lambda d: d.bmi < np.inf,
    "a date with a time": lambda d: d.date > pd.Timestamp("2023-01-01 10:00"),
    "not a date": lambda d: d.date > "soon",
    "key compared": lambda d: d.patient_id == "mock-000001",
    "key isin": lambda d: d.patient_id.isin(["mock-000001"]),
    "which units": lambda d: list(d.groupby("patient_id")),
    "group by a key and a wide number": lambda d: d.groupby(["patient_id", "cost"]).age.mean(),
    "group by a wide number": lambda d: d.groupby("cost").age.mean(),
    "sum of a category": lambda d: d.sex.sum(),
    "mean of a date": lambda d: d.date.mean(),
    "mean of everything": lambda d: d.mean(),
    "group mean of everything": lambda d: d.groupby("sex").mean(),
    "axis=1": lambda d: d[["age", "cost"]].sum(axis=1),
    "skipna=False": lambda d: d.bmi.mean(skipna=False),
    "observed=True": lambda d: d.groupby("sex", observed=True).age.mean(),
    "groupby dropna=False": lambda d: d.groupby("sex", dropna=False).age.mean(),
    "groupby nothing": lambda d: d.groupby().age.mean(),
    "groupby a function": lambda d: d.groupby(lambda x: x),
    "agg of a function": lambda d: d.groupby("sex").cost.agg(lambda x: x.max()),
    "agg of nothing": lambda d: d.cost.agg([]),
    "frame agg list": lambda d: d[["age"]].agg(["mean", "sum"]),
    "value_counts of a wide number": lambda d: d.cost.value_counts(),
    "value_counts with missing": lambda d: d.sex.value_counts(dropna=False),
    "where of a text": lambda d: d.age.where("smoker"),
    "filter by numbers": lambda d: d[d.age],
    "rows of another selection": lambda d: d[d.age > 3].age + d.age,
    "mask of a part on the whole": lambda d: d[d[d.age > 3].smoker],
    "cut by too many": lambda d: cl.cut(d.age, 500),
    "cut of a category": lambda d: cl.cut(d.sex, [0, 50], right=True),
    "cut descending": lambda d: cl.cut(d.age, [50, 0]),
    "cut labels": lambda d: cl.cut(d.age, [0, 50, 100], labels=["a"]),
    "cut of a frame": lambda d: cl.cut(d, [0, 1]),
    "case without conditions": lambda d: cl.case(default=1),
    "case of kinds": lambda d: cl.case((d.smoker, "x"), default=1),
    "crosstab normalised with margins": lambda d: cl.crosstab(d.sex, d.region, normalize=True, margins=True),
    "crosstab of values without a function": lambda d: cl.crosstab(d.sex, d.region, d.cost),
    "margins of medians": lambda d: d.pivot_table("cost", "sex", "region", aggfunc="median", margins=True),
    "pivot_table of everything": lambda d: d.pivot_table(index="sex"),
    "quantile 1": lambda d: d.age.quantile(1),
    "quantile of a category": lambda d: d.sex.quantile(0.5),
    "rank correlation": lambda d: d.age.corr(d.bmi, method="spearman"),
    "ddof of 2": lambda d: d.age.std(ddof=2),
    "describe a category": lambda d: d.sex.describe(),
    "nunique of a category": lambda d: d.sex.nunique(),
    "ratio of a number": lambda d: cl.ratio_of_sums(d.cost, 2),
    "bins of a category": lambda d: d.sex.value_counts(bins=3),
    "np.std as a function": lambda d: d.age.agg([np.std]),
    "plot.scatter": lambda d: d.age.plot.scatter(),
    "gram of a category": lambda d: cl.gram(d, ["sex"]),
    "gram of a column": lambda d: cl.gram(d.age),
    "two precisions": lambda d: d.age.mean(epsilon=0.1, share=0.1),
    "epsilon zero": lambda d: d.age.mean(epsilon=0),
    "epsilon text": lambda d: d.age.mean(epsilon="much"),
    "share above one": lambda d: d.age.mean(share=2),
    "within without n": lambda d: d.age.mean(within=0.1),
    "within below zero": lambda d: d.age.count(within=-1),
    "cost n": lambda d: d.age.mean.cost(n=-1),
    "mock of nothing": lambda d: d.mock(0),
    "cap of nothing": lambda d: d.cap(0).age.count(),
    "rename to one name": lambda d: d.rename(columns={"age": "cost"}),
    "drop rows": lambda d: d.drop([0, 1]),
    "attribute for a new column": lambda d: setattr(d, "new", d.age),
    "empty name": lambda d: d.assign(**{"": d.age}),
    "range": lambda d: ((d.cost**4) ** 4).mean(),
}


@pytest.mark.parametrize("name", LIBRARY)
def test_nothing_returns_silently(name: str, visits: cl.Frame, vault: world.Vault) -> None:
    with pytest.raises((CloisterError, TypeError, ValueError)):
        LIBRARY[name](visits)
    plt.close("all")
    assert not vault.releases()


def test_most_refusals_are_ours(visits: cl.Frame) -> None:
    others = []
    for name, call in LIBRARY.items():
        try:
            call(visits)
        except CloisterError as error:
            assert error.code and error.reason
        except (TypeError, ValueError):
            others.append(name)
    plt.close("all")
    # Libraries that check for their own types before they touch the values.
    assert set(others) <= {"hash", "json", "pd.concat", "pd.merge", "index", "pd.pivot_table", "pd.unique"}, others


@pytest.mark.parametrize(("column", "name"), [("age", "dt"), ("age", "str"), ("date", "cat"), ("bmi", "cat")])
def test_an_accessor_of_another_kind_is_an_attribute_error_with_a_form(
    column: str, name: str, visits: cl.Frame
) -> None:
    with pytest.raises(PlanError, match=rf"api\.{name}") as caught:
        getattr(visits[column], name)
    assert isinstance(caught.value, AttributeError)
    assert not hasattr(visits[column], name)
    try_forms(caught.value.nearest, visits)


def test_scikit_learn_is_refused(visits: cl.Frame) -> None:
    from sklearn.linear_model import LinearRegression
    from sklearn.model_selection import cross_val_score, train_test_split
    from sklearn.preprocessing import StandardScaler

    model = LinearRegression()
    for call in (
        lambda: model.fit(visits[["age"]], visits.cost),
        lambda: StandardScaler().fit(visits[["age"]]),
        lambda: train_test_split(visits, test_size=0.2),
        lambda: cross_val_score(model, visits[["age"]], visits.cost),
    ):
        with pytest.raises(CloisterError):
            call()


@pytest.mark.parametrize(
    "how", ["visits.agee", "visits['agee']", "visits[['age', 'agee']]", "visits.query('agee > 3')"]
)
def test_an_unknown_column_is_a_key_error_with_the_nearest_names(how: str, visits: cl.Frame) -> None:
    with pytest.raises(PlanError, match=r"plan\.column") as caught:
        eval(how, {"visits": visits})
    assert "'age'" in caught.value.nearest
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, AttributeError)
    assert not hasattr(visits, "agee")


@pytest.mark.parametrize(
    "text",
    [
        "", "age >=", "age = 3", "import os", "__import__('os')", "age.mock()", "age.__class__", "[x for x in age]",
        "lambda: 1", "age if age else bmi", "age @ bmi", "age > @missing", "f'{age}'", "age is 3", "age[0] > 1",
        "open('x')", "(age := 3)", "age > 3; age", "`age > 3", "9**9**9", "'a' * 99", "~" * 9_000 + "smoker",
        "(" * 300 + "smoker" + ")" * 300, "age in 3", "3 in [3]", "date.dt.__class__ == 3",
        "date.dt.mock()", "region.str.__class__()",
        "region.str.extract('x')", "date.dt", "region.str > 3", "age.dt.year > 3", "region.str.len.__self__ > 3",
        "age.isin([1]).__class__", "x" * 20_000,
    ],
)  # fmt: skip
def test_a_query_is_data_not_python(text: str, visits: cl.Frame) -> None:
    with pytest.raises(PlanError):
        visits.query(text)


def test_a_query_reaches_columns_with_odd_names(visits: cl.Frame, vault: world.Vault) -> None:
    customers = cl.table("bank.customers").rename(columns={"balance": "my balance"})
    assert customers.query("`my balance` > 3 and `class` == 'a'")._rows.relation.where.terms


def test_a_value_outside_the_domain_is_noticed_before_it_is_paid_for(visits: cl.Frame) -> None:
    with pytest.warns(UserWarning, match="not in the declared domain"):
        visits.sex == "female"  # noqa: B015
    with pytest.warns(UserWarning, match="not in the declared domain"):
        visits.region.isin(["north", "nort"])


def test_the_vaults_refusals_arrive_whole(visits: cl.Frame, vault: world.Vault) -> None:
    with pytest.raises(CloisterError) as caught:
        cl.table("bank.customers").groupby("class").size()
    assert caught.value.code.startswith("contract.")
    assert caught.value.clause


@pytest.mark.parametrize(
    "change",
    [
        {"raw": ["1"]}, {"raw": ["x"] * 2}, {"noise": []}, {"noise": [{"sigma": "nan", "rho": "1"}] * 2},
        {"rho": "1/0"}, {"rho": None}, {"raw": None},
    ],
)  # fmt: skip
def test_a_reply_that_does_not_fit_the_plan_is_refused(
    change: dict[str, Any], visits: cl.Frame, vault: world.Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = vault._release
    monkeypatch.setattr(vault, "_release", lambda plan: {**honest(plan), **change})
    with pytest.raises(MalformedError):
        visits.bmi.mean()


def test_copies_are_handles(visits: cl.Frame) -> None:
    for other in (copy.copy(visits), copy.deepcopy(visits)):
        other["x"] = 1
        assert "x" not in visits
    assert copy.copy(visits.age).name == "age"


def test_an_expression_cannot_grow_without_end(visits: cl.Frame) -> None:
    flag = visits.smoker
    with pytest.raises(PlanError, match=r"plan\.size"):
        for _ in range(20):
            flag = (flag & (visits.age > 3)) ^ flag
    with pytest.raises(AttributeError):
        root.nothing  # noqa: B018


def test_a_refusal_in_a_notebook_is_short_and_names_the_line(visits: cl.Frame, monkeypatch: pytest.MonkeyPatch) -> None:
    from IPython.core.interactiveshell import InteractiveShell

    monkeypatch.delenv("VIRTUAL_ENV", raising=False)  # whatever environment the tests were started from
    shell = InteractiveShell.instance()
    shell.user_ns["visits"] = visits
    shown: list[list[str]] = []
    shell._showtraceback = lambda _kind, _value, lines: shown.append(lines)
    result = shell.run_cell("x = 1\nvisits.iloc[3]", silent=False)
    assert isinstance(result.error_in_exec, PlanError)
    text = "\n".join(shown[0])
    assert text.startswith("PlanError: [api.iloc] visits.iloc: rows never leave")
    assert "nearest: visits[visits.age >= 18]" in text
    assert "File" not in text
    assert "line" in text and "visits.iloc[3]" in text
