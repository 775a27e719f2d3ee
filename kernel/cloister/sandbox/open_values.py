"""``value_counts()`` of open text: which texts occur for many units, and for how many.

The domain of such a column is not public, so the texts are released themselves (``ThresholdKeys``): those that noisily
more units have than a threshold. That costs, beside rho, a part of the delta that the contract keeps for keys: the same
share of the analyst's delta as of the analyst's rho. What is counted is units, not rows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, TypeVar, cast

import pandas as pd

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan import companions
from cloister.sandbox import precision, release
from cloister.sandbox.answer import Answer
from cloister.sandbox.ask import Ask
from cloister.sandbox.rows import Rows
from cloister.sandbox.terms import Term

T = TypeVar("T")
MOST_GROUPS = 8
_GRID = 10**18
_NEXT = "count the texts you can name, or ask for a contract with delta_keys"


@dataclasses.dataclass(frozen=True)
class KeysAsk(Ask[T]):
    """A question for the values of keys themselves; a unit counts for at most ``groups`` of them."""

    groups: int = 1

    def plan(self, rho: str) -> a.ThresholdKeys:
        """Return the plan at a price; delta is the same part of the analyst's delta for keys as ``rho`` of rho.

        Raises:
            PlanError: ``api.delta_keys``: a contract that keeps no delta for keys.
        """
        source, names = self.rows.asked(self.keys, ())
        parts = []
        for account in self.rows.session.accounts(self.rows.tables):
            share = Fraction(rho) / Fraction(account.rho_total)
            parts.append(Fraction(math.floor(Fraction(account.delta_keys) * share * _GRID), _GRID))
        if min(parts) <= 0:
            raise _no_delta(self.rows, next(iter(self.keys)))
        return a.ThresholdKeys(source, names, self.groups, rho, precision.text(min(parts)))

    def as_asked(self, plan: a.ThresholdKeys) -> a.ThresholdKeys:
        """Return the plan: its one measure has one name."""
        return plan


def value_counts(rows: Rows, name: str, term: Term, options: Mapping[str, Any]) -> Ask[pd.Series]:
    """Ask for the texts of a column that many units have, with how many.

    Raises:
        PlanError: Shares of all rows, which are not known, or missing values.
    """
    if options["normalize"] or options["dropna"] is not True:
        raise PlanError(
            "api.option",
            "of an open text only what many people have is known: not the rest, and not what is missing",
            nearest=(f"{rows.label}.{name}.value_counts()", f"{rows.label}.{name}.isna().mean()"),
        )
    groups = min(rows.schema.rows, MOST_GROUPS)

    def present(answer: Answer) -> Any:
        texts = [label for (label,) in answer.shaped.cells()]
        note = companions.left_out(
            cast(a.ThresholdKeys, answer.fact.plan), answer.sigmas[0], answer.fact.rho, rows.card.unit
        )
        found = answer.bind(
            lambda values: pd.Series(values["units"], pd.Index(texts, name=name, dtype=object), name="count"),
            ["units"],
            note,
        )
        if not options["sort"]:
            return found
        order = found.sort_values(ascending=options["ascending"], kind="stable").index
        return release.reshape(found, lambda part: part.reindex(order))

    return KeysAsk(rows, (), present, {name: term}, groups=groups)


def _no_delta(rows: Rows, name: str) -> PlanError:
    return PlanError(
        "api.delta_keys",
        f"which texts occur in {name!r} is itself a fact about people, and this contract keeps no delta to release it",
        clause="budgets.delta_keys",
        next_step=_NEXT,
        nearest=(
            f'cl.recode({rows.label}.{name}, ["first text", "second text"]).value_counts()',
            f'{rows.label}.{name}.str.contains("text").mean()',
        ),
    )
