"""Functions of libraries on handles work or are refused with the Cloister form of that very function (25 of them)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import sandbox_world as world

import cloister.sandbox as cl
from cloister.errors import CloisterError

mpl.use("Agg")
import matplotlib.pyplot as plt

Call = Callable[[cl.Frame], Any]

WORK: dict[str, Call] = {
    "np.mean": lambda d: np.mean(d.age),
    "np.std": lambda d: np.std(d.age),
    "np.percentile": lambda d: np.percentile(d.age, [25, 75]),
    "np.histogram": lambda d: np.histogram(d.age, bins=[0, 40, 80]),
    "np.corrcoef": lambda d: np.corrcoef(d.age, d.bmi),
    "np.where": lambda d: np.where(d.age >= 18, 1, 0).mean(),
}

REFUSED: dict[str, tuple[Call, str]] = {
    "pd.merge": (lambda d: pd.merge(d, d, on="age"), "merge("),
    "pd.concat": (lambda d: pd.concat([d, d]), "cl.concat"),
    "pd.crosstab": (lambda d: pd.crosstab(d.sex, d.region), "cl.crosstab"),
    "pd.get_dummies": (pd.get_dummies, "assign("),
    "pd.cut": (lambda d: pd.cut(d.age, [0, 50, 100]), "cl.cut"),
    "pd.qcut": (lambda d: pd.qcut(d.age, 4), "quantile("),
    "pd.pivot_table": (lambda d: pd.pivot_table(d, values="cost", index="sex"), "pivot_table("),
    "pd.melt": (pd.melt, "melt("),
    "pd.DataFrame": (pd.DataFrame, "mean()"),
    "np.unique": (lambda d: np.unique(d.sex), "domain"),
    "np.array": (lambda d: np.array(d.age), "mean()"),
    "np.sort": (lambda d: np.sort(d.age), "quantile("),
    "plt.hist": (lambda d: plt.hist(d.age), "plot.hist"),
    "plt.plot": (lambda d: plt.plot(d.age), "plot.line"),
    "plt.scatter": (lambda d: plt.scatter(d.age, d.bmi), "corr("),
    "plt.bar": (lambda d: plt.bar(d.sex, d.cost), "plot.bar"),
}


@pytest.mark.parametrize("name", WORK)
def test_it_releases(name: str, visits: cl.Frame, vault: world.Vault) -> None:
    assert WORK[name](visits) is not None
    assert len(vault.releases()) == 1


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_its_own_form(name: str, visits: cl.Frame, vault: world.Vault) -> None:
    call, form = REFUSED[name]
    with pytest.raises(CloisterError) as caught:
        call(visits)
    plt.close("all")
    assert any(form in nearest for nearest in caught.value.nearest), caught.value.nearest
    for nearest in caught.value.nearest:
        exec(nearest.partition("  #")[0].replace('to_csv("', 'to_csv("/dev/null" or "'), {"visits": visits, "cl": cl})
    plt.close("all")


def test_scikit_learn_fit_split_and_cross_validation(visits: cl.Frame, vault: world.Vault) -> None:
    from sklearn.linear_model import LinearRegression
    from sklearn.metrics import confusion_matrix, roc_auc_score
    from sklearn.model_selection import cross_val_score, train_test_split

    model = LinearRegression()
    for call, form in (
        (lambda: model.fit(visits[["age"]], visits.cost), "cloister.learn"),
        (lambda: train_test_split(visits, test_size=0.2), "cl.train_test_split"),
        (lambda: cross_val_score(model, visits[["age"]], visits.cost), "cross_validate"),
        (lambda: roc_auc_score(visits.smoker, visits.age), "roc_auc"),
        (lambda: confusion_matrix(visits.smoker, visits.age > 3), "confusion_matrix"),
    ):
        with pytest.raises(CloisterError) as caught:
            call()
        assert any(form in nearest for nearest in caught.value.nearest), caught.value.nearest
        for nearest in caught.value.nearest:
            if nearest.startswith("from "):
                exec(nearest)
    assert not vault.releases()


@pytest.mark.parametrize("protocol", ["__array__", "__dataframe__", "__iter__", "__len__", "__arrow_c_stream__"])
def test_the_protocols_that_plotting_and_statistics_libraries_use(protocol: str, visits: cl.Frame) -> None:
    """seaborn and statsmodels reach values through these."""
    with pytest.raises(CloisterError) as caught:
        getattr(visits.age, protocol)()
    assert caught.value.nearest
