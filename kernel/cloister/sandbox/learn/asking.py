"""What a learner asks the vault: one Gram of columns of the same rows, after the checks that cost nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from cloister.errors import PlanError
from cloister.sandbox.ask import Ask
from cloister.sandbox.column import Column
from cloister.sandbox.doubts import Checked, Expects, checked
from cloister.sandbox.frame import Frame
from cloister.sandbox.gram import Gram
from cloister.sandbox.gram import ask as gram_of
from cloister.sandbox.rows import Rows
from cloister.sandbox.terms import Term

FORM = 'LinearRegression(epsilon=1).fit(visits[["age", "region"]], visits.cost)'
T = TypeVar("T")


def ask(what: str, expects: Expects, rows: Rows, columns: Sequence[Term], present: Callable[[Gram], T]) -> Checked[T]:
    """Return the question for the Gram of columns, in this order; ``present`` makes of it what is wanted.

    Args:
        what: What is asked for.
        expects: What the noise of the Gram comes to.
        rows: The rows.
        columns: The columns.
        present: Makes of the Gram what is wanted.
    """
    # Names do not enter a Gram's plan; numbers cannot collide.
    found = gram_of(Frame(rows, {str(position): term for position, term in enumerate(columns)}))
    return checked(Ask(found.rows, found.measures, lambda answer: present(found.present(answer))), what, expects)


def check_handles(X: Any, y: Any, form: str = FORM, *, what: str = "fit") -> None:  # noqa: N803 (scikit-learn's names)
    """Refuse anything but a handle of features and a column.

    Args:
        X: The handle.
        y: The target.
        form: A call that works.
        what: What is called, for the reason.

    Raises:
        PlanError: Rows that are here already, or something else.
    """
    if isinstance(X, Frame) and isinstance(y, Column):
        return
    _refuse_here(form, what, X, y)
    reason = f"{what} takes a handle of features and a column of the same rows"
    if isinstance(X, Frame) and isinstance(y, str):
        raise PlanError(
            "api.learn.handles",
            f"{reason}, not the name of one",
            nearest=(f"{X._rows.label}[{y!r}]  # the column itself", form),
        )
    raise PlanError("api.learn.handles", reason, nearest=(form,))


def check_frame(X: Any, form: str) -> None:  # noqa: N803
    """Refuse anything but a handle of features, where there is no target.

    Raises:
        PlanError: Rows that are here already, or something else.
    """
    if isinstance(X, Frame):
        return
    _refuse_here(form, "fit", X)
    raise PlanError("api.learn.handles", "fit takes a handle of features", nearest=(form,))


def _refuse_here(form: str, what: str, *given: Any) -> None:
    if not any(isinstance(part, pd.DataFrame | pd.Series | np.ndarray) for part in given):
        return
    if what == "fit":
        raise PlanError(
            "api.learn.handles",
            "this model is fitted where the rows are; these rows are here already",
            nearest=(form, "sklearn.linear_model.Ridge().fit(X, y)  # ordinary rows, ordinary scikit-learn"),
        )
    raise PlanError(
        "api.learn.handles",
        f"{what} asks where the rows are; these rows are here already",
        nearest=(form, "sklearn.metrics.roc_auc_score(y, model.predict(X))  # ordinary rows, ordinary scikit-learn"),
    )


def check_target(y: Column) -> None:
    """Refuse a target that is not a number or condition with public bounds.

    Raises:
        PlanError: It is not.
    """
    grid = y._term.grid
    if grid.kind not in {"number", "bool"} or grid.lo == grid.hi:
        raise PlanError(
            "api.learn.target",
            f"the target {y.name} is not a number with bounds",
            nearest=(FORM, 'model.fit(visits[["age"]], visits.region == "north")  # a condition counts 0 or 1'),
        )
