"""Aggregates, cross-tables, plots and library functions that work as in pandas (see ``support.py``).

For room F2: add a ``Works`` here for every aggregate you make work (``DataFrame.quantile``, ``GroupBy.std``, ...), and
take its name out of the tables in ``sandbox/refuse.py``; then run ``python tests/sandbox/support.py``.
"""

from __future__ import annotations

import numpy as np
from support import Works

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
    Works("np.mean", lambda d: np.mean(d.age)),
    Works("np.sum", lambda d: np.sum(d.cost)),
    Works("cl.crosstab", remark="`tests/sandbox/test_pandas_equality.py`"),
    Works("cl.gram", remark="`tests/sandbox/test_pandas_equality.py`"),
]
