"""Functions of libraries that analysts call on handles by habit: which one it was, and its Cloister form.

A handle cannot be turned into an array, so such a call ends in a refusal somewhere inside the library. The refusal
looks outwards for the function the analyst called and names the form of *that* function. What is not in the table
gets the general refusal.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import NoReturn

from cloister.errors import PlanError

_LIBRARIES = frozenset({"pandas", "numpy", "matplotlib", "seaborn", "sklearn", "statsmodels", "scipy"})
_PASSED = frozenset({"wrapper", "inner", "wrapped", "<lambda>", "__call__"})

FORMS: dict[str, tuple[str, ...]] = {
    "pandas.merge": ("{f}.merge({f}[[{key!r}, {num!r}]].rename(columns={{{num!r}: 'other'}}))", "{f}.{num}.mean()"),
    "pandas.concat": ("cl.concat([{f}, {f}]).{num}.mean()",),
    "pandas.crosstab": ("cl.crosstab({f}.{cat}, {f}.{num} >= 50)", "{f}.groupby({cat!r}).size()"),
    "pandas.get_dummies": ("{f}.assign(is_it=({f}.{cat} == {val!r}))", "{f}.{cat}.value_counts(normalize=True)"),
    "pandas.cut": ("cl.cut({f}.{num}, [0, 25, 50, 75])",),
    "pandas.qcut": (
        "cl.cut({f}.{num}, [0, *{f}.{num}.quantile([0.25, 0.5, 0.75]), 1000])",
        "{f}.{num}.quantile([0.25, 0.5, 0.75])",
    ),
    "pandas.pivot_table": ("{f}.pivot_table(values={num!r}, index={cat!r})",),
    "pandas.pivot": ("{f}.pivot_table(values={num!r}, index={cat!r})",),
    "pandas.melt": ("{f}.groupby({cat!r})[[{num!r}, {num2!r}]].mean().melt(ignore_index=False)",),
    "pandas.unique": ("{f}.{cat}.domain", "{f}.{cat}.value_counts()"),
    "pandas.to_datetime": ("{f}.dtypes", "{f}.mock(5)"),
    "pandas.to_numeric": ("{f}.{num} * 1.0",),
    "pandas.factorize": ("{f}.{cat}.domain",),
    "matplotlib.hist": ("{f}.{num}.plot.hist(bins=20)",),
    "matplotlib.plot": ('{f}.groupby("{cat}").{num}.mean().release.plot.line()',),
    "matplotlib.scatter": ("{f}.{num}.corr({f}.{num2})",),
    "matplotlib.bar": ('{f}.groupby("{cat}").{num}.mean().release.plot.bar()',),
    "matplotlib.boxplot": ("{f}.{num}.plot.box()",),
    "seaborn.histplot": ("{f}.{num}.plot.hist(bins=20)",),
    "seaborn.boxplot": ('{f}.groupby("{cat}").{num}.quantile([0.25, 0.5, 0.75]).release.plot.box()',),
    "seaborn.scatterplot": ("{f}.{num}.corr({f}.{num2})",),
    "sklearn.fit": ("from cloister.learn import LinearRegression", "cl.gram({f}, [{num!r}, {num2!r}]).corr()"),
    "sklearn.fit_transform": ("cl.gram({f}, [{num!r}, {num2!r}]).corr()",),
    "sklearn.train_test_split": ("cl.train_test_split({f})",),
    "sklearn.cross_val_score": ("from cloister.learn import cross_validate", "cl.train_test_split({f})"),
    "sklearn.cross_validate": ("from cloister.learn import cross_validate", "cl.train_test_split({f})"),
    "sklearn.roc_auc_score": ("from cloister.learn.metrics import roc_auc",),
    "sklearn.roc_curve": ("from cloister.learn.metrics import roc_curve",),
    "sklearn.log_loss": ("from cloister.learn.metrics import log_loss",),
    "sklearn.accuracy_score": ("from cloister.learn.metrics import accuracy",),
    "sklearn.confusion_matrix": ("from cloister.learn.metrics import confusion_matrix",),
    "statsmodels.fit": ("cl.gram({f}, [{num!r}, {num2!r}]).ridge({num!r})",),
    "statsmodels.ols": ("cl.gram({f}, [{num!r}, {num2!r}]).ridge({num!r})",),
    "statsmodels.__init__": ("cl.gram({f}, [{num!r}, {num2!r}]).ridge({num!r})",),
}


def called() -> str | None:
    """Return the library function that the analyst's code called, as ``pandas.merge``, if one is running."""
    frame, found = sys._getframe(1), None
    while frame is not None:
        root = frame.f_globals.get("__name__", "").partition(".")[0]
        if root in _LIBRARIES:
            if frame.f_code.co_name not in _PASSED:
                found = f"{root}.{frame.f_code.co_name}"
        elif found is not None and root != "cloister":
            break
        frame = frame.f_back  # type: ignore[assignment]
    return found


def refusal(words: Mapping[str, str]) -> PlanError | None:
    """Return the refusal of the library function that is running, if its form is known."""
    name = called()
    forms = FORMS.get(name or "")
    if name is None or forms is None:
        return None
    return PlanError(
        f"api.{name}",
        f"{name} needs the rows of {words['f']}, and they never leave the enclave",
        clause="only released aggregates leave (release gate)",
        nearest=tuple(form.format(**words) for form in forms),
        next_step="docs/analyst-api.md lists what library functions become",
    )


def instead(error: PlanError, words: Mapping[str, str]) -> PlanError:
    """Return ``error`` in the words of the library function that is running, if its form is known.

    It stays the kind of error it is: libraries step over some.
    """
    known = refusal(words)
    if known is None:
        return error
    return type(error)(known.code, known.reason, clause=known.clause, next_step=known.next_step, nearest=known.nearest)


def type_asked(words: Mapping[str, str]) -> NoReturn:
    """Answer pandas' question what kind of thing a handle is: refuse the function that asks, if its form is known.

    Raises:
        PlanError: A library function whose form is known is running.
        AttributeError: Otherwise: it is none of pandas' own.
    """
    found = refusal(words)
    if found is not None:
        raise found
    raise AttributeError("_typ")
