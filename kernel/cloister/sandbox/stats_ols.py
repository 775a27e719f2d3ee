"""Ordinary least squares with errors that include the privacy noise: ``cl.stats.ols("cost ~ age + region", visits)``.

The model is ``LinearRegression(alpha=0)``: one noisy Gram, its noise in the coefficients exact to first order, and the
classical sampling error (equal variances) added to it.
"""

from __future__ import annotations

import re
from typing import Any

from scipy.special import stdtr, stdtrit  # type: ignore[import-untyped]

from cloister.sandbox import stats_result
from cloister.sandbox.answer import Answer
from cloister.sandbox.ask import Ask, Terminal
from cloister.sandbox.column import Column
from cloister.sandbox.frame import Frame
from cloister.sandbox.learn.linear import LinearRegression
from cloister.sandbox.stats_result import Result, wrong

_FORMS = ('cl.stats.ols("cost ~ age + region", visits)', 'cl.stats.ols(visits[["age", "region"]], visits.cost)')
_NAME = re.compile(r"(?:C\(\s*(\w+)\s*\)|(\w+))")


def _ols(model: str | Frame, data: Frame | Column) -> Ask[Result]:
    """Fit ordinary least squares and test every coefficient.

    Args:
        model: ``"y ~ a + b"`` (names of columns; categories become levels against the first), or a handle of features.
        data: The handle the names are columns of; or, with features, the target.

    Rows with a missing value are left out. ``estimates`` has the coefficients with privacy and total standard error,
    95 % interval and p-value; ``p_value`` is that of the clearest slope, times the number of slopes (Bonferroni).

    Raises:
        PlanError: Not a formula of names, or columns a model cannot use.
    """
    features, target = _of_formula(model, data) if isinstance(model, str) else (model, data)
    if not isinstance(features, Frame) or not isinstance(target, Column):
        raise wrong("least squares take a formula and a handle, or features and a target", *_FORMS)
    learner = LinearRegression(alpha=0, missing="drop")
    ask = learner._ask(features, target)
    each = stats_result.rows_per_unit(ask.rows)

    def present(answer: Answer) -> Result:
        learner._document, learner._fact = ask.present(answer)
        return _summary(learner, each, answer)

    return Ask(ask.rows, ask.measures, present, ask.keys)


def _of_formula(text: str, data: Any) -> tuple[Frame, Column]:
    left, tilde, right = text.partition("~")
    names = [_NAME.fullmatch(part.strip()) for part in right.split("+")]
    if not isinstance(data, Frame) or not tilde or not left.strip().isidentifier() or not all(names):
        raise wrong(
            "a formula is a column, ~, and columns with + between; make other terms columns first",
            *_FORMS,
            'cl.stats.ols("cost ~ age + age2", visits.assign(age2=visits.age ** 2))',
        )
    wanted = [found[1] or found[2] for found in names if found]
    return data[wanted], data[left.strip()]


def _summary(model: LinearRegression, each: int, answer: Answer) -> Result:
    privacy, total = model.table(), model.table(population=True)
    rest = max(model.n_ / each - len(total), 1.0)
    reach = float(stdtrit(rest, 0.975))
    shown = total[["value", "stderr"]].rename(columns={"value": "coef", "stderr": "total s.e."})
    shown.insert(1, "privacy s.e.", privacy["stderr"])
    shown["low"] = shown["coef"] - reach * shown["total s.e."]
    shown["high"] = shown["coef"] + reach * shown["total s.e."]
    ratios = shown["coef"] / shown["total s.e."]
    shown["t"] = ratios
    shown["p"] = 2 * stdtr(rest, -ratios.abs())
    slopes = shown.iloc[1:]
    # Bonferroni over the slopes: valid whatever their correlation.
    best = int(slopes["p"].to_numpy().argmin())
    return Result(
        name=f"{model.document.target.name} on {', '.join(slopes.index)} (ordinary least squares)",
        statistic=float(slopes["t"].iloc[best]),
        p_value=min(float(slopes["p"].iloc[best]) * len(slopes), 1.0),
        dof=rest,
        estimates=shown,
        effect={"R2": model.r2_, "n": model.n_},
        reliable=model.reliable_,
        assumptions=(
            stats_result.sampling(each),
            "residuals have equal variance and no coefficient is pulled to zero (alpha=0)",
            "statistic and p of the whole are of the clearest slope, p times the number of slopes (Bonferroni)",
        ),
        fact=answer.fact,
    )


ols: Terminal[Result] = Terminal(_ols)
