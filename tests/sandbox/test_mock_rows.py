"""Mock rows follow every relation and expression of a handle: code rehearsed on them is code that runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sandbox_world as world
import support

import cloister.sandbox as cl

PUBLIC = pd.DataFrame({"region": ["north", "south"], "weight": [1, 2.5]})
HANDLES: dict[str, Callable[[Any], Any]] = {
    "per unit": lambda v: v.groupby("patient_id").agg(n=("cost", "count"), most=("bmi", "max"), any=("smoker", "any")),
    "per unit and region": lambda v: v.per_unit(by="region", n=("cost", "count"), kinds=("sex", "nunique")),
    "merge": lambda v: v.merge(v.per_unit(n=("cost", "count"))),
    "merge left": lambda v: v.merge(v[v.age > 50][["cost"]], how="left"),
    "public rows": lambda v: v.merge(PUBLIC, on="region", how="left"),
    "public rows, inner": lambda v: v.merge(PUBLIC, on="region"),
    "map": lambda v: v.assign(x=v.sex.map({"F": "f", "M": "m"}), y=v.age.map({40: 1})),
    "shift": lambda v: v.assign(x=v.sort_values("date").groupby("patient_id").bmi.shift(1)),
    "cumsum": lambda v: v.assign(x=v.within(order="date").cost.cumsum(), n=v.within(order="date").cumcount()),
    "transform": lambda v: v.assign(x=v.groupby("patient_id").cost.transform("max")),
    "first visits": lambda v: v.sort_values("date").groupby("patient_id").head(1),
    "concat": lambda v: cl.concat([v, v[v.age > 50]], keys=["all", "old"]),
    "split": lambda v: cl.split(v, parts=3, take=[0, 2]),
    "dates": lambda v: v.assign(
        y=v.date.dt.year, w=v.date.dt.isocalendar().week, f=v.date.dt.to_period("Q"), e=v.date.dt.is_month_end,
        d=v.date.dt.days_in_month, n=v.date.dt.day_name(), s=v.date + pd.Timedelta(days=3), x=v.date.dt.dayofyear,
    ),
    "texts": lambda v: v.assign(
        a=v.sex + "-" + v.region, b=v.region.str.upper(), c=v.region.str.len(), d=v.region.str.contains("th"),
        e=v.region.str[0:2], f=v.region.str.replace("th", "x"), g=cl.recode(v.region, ["north"]),
        h=cl.parse(v.region, 0, 9, 1),
    ),
    "numbers": lambda v: v.assign(
        a=v.age // 7, b=v.age % 7, c=v.bmi.round(), d=cl.ratio(v.cost, v.age, 0, 100, 0.5), e=np.sqrt(v.cost),
        f=v.cost.where(v.smoker), g=v.bmi.fillna(v.age), h=cl.cut(v.age, 4), i=v.smoker.astype(int),
        j=np.sign(v.cost - 900), k=cl.cut(v.age, [0, 50, 110], right=True, include_lowest=True),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HANDLES)
def test_every_handle_has_mock_rows_of_its_dtypes(name: str, visits: cl.Frame, vault: world.Vault) -> None:
    handle = HANDLES[name](visits)
    mock = handle.mock(40)
    assert len(mock) == 40
    assert list(mock) == list(handle)
    assert mock.dtypes.astype(str).to_dict() == handle.dtypes.astype(str).to_dict()
    for column, term in handle._columns.items():
        if term.grid.kind == "number":
            low, high = float(term.grid.lo * term.grid.step), float(term.grid.hi * term.grid.step)
            assert mock[column].dropna().between(low - 1e-9, high + 1e-9).all(), column
        if not term.grid.nullable:
            assert mock[column].notna().all(), column
    repr(handle), handle._repr_html_()
    assert not vault.releases()


def test_mock_rows_of_relations_are_what_pandas_makes_of_mock_rows(visits: cl.Frame) -> None:
    everything = visits.mock(1_000)
    counts = visits.groupby("patient_id").agg(n=("cost", "count")).mock(300)
    assert set(counts.n) <= set(everything.groupby("patient_id").cost.count())
    stacked = cl.concat([visits, visits], keys=["a", "b"]).mock(10)
    assert set(stacked.source) == {"a", "b"}
    first = visits.sort_values("date").groupby("patient_id").head(1).mock(50)
    assert first.patient_id.is_unique
    train, test = cl.train_test_split(visits)
    assert not set(train.mock(400).patient_id) & set(test.mock(400).patient_id)


def test_what_works_also_works_on_a_mock_handle(mock_visits: cl.Frame) -> None:
    """Every comparison with pandas runs on a mock kernel as well."""
    for item in support.every():
        if item.code is not None and item.what.startswith(("Series", "DataFrame", "groupby(unit key)")):
            item.code(mock_visits.copy())
