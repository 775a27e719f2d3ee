"""What a test returns: statistic, p-value, estimates, effect sizes, and what all of it rests on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from cloister.errors import PlanError
from cloister.sandbox import html

if TYPE_CHECKING:
    from cloister.sandbox.answer import Fact
    from cloister.sandbox.rows import Rows

UNRELIABLE = "NOT RELIABLE: the data do not stand out of the noise; use more epsilon, more rows or fewer cells"
ONE_ROW = "rows are independent; each person has one"
MANY_ROWS = (
    "persons are independent; rows of one person may all say the same, so they count once (at most {} rows each): "
    "cap(1) makes this exact"
)


@dataclasses.dataclass(frozen=True, repr=False)
class Result:
    """The outcome of a test.

    Attributes:
        name: Which test, of what.
        statistic: Its statistic.
        p_value: Probability of a statistic at least as extreme without an effect, privacy noise included.
        dof: Degrees of freedom.
        estimates: What was estimated, with errors; one line per group, cell or coefficient.
        effect: Effect sizes by name.
        reliable: False where the data do not stand out of the noise; then nothing here says anything.
        assumptions: What the p-value rests on.
        fact: Price, receipt and mode of the release behind it.
    """

    name: str
    statistic: float
    p_value: float
    dof: float
    estimates: pd.DataFrame
    effect: Mapping[str, float]
    reliable: bool
    assumptions: tuple[str, ...]
    fact: Fact

    def summary(self) -> str:
        """Return everything as text."""
        return "\n".join(
            [self.name, *self._facts(), self.estimates.to_string(float_format="{:.4g}".format), *self._notes()]
        )

    def _facts(self) -> list[str]:
        effects = [f"{name} = {value:.4g}" for name, value in self.effect.items()]
        return [", ".join([f"statistic {self.statistic:.4g}", f"df {self.dof:.4g}", _p(self.p_value), *effects])]

    def _notes(self) -> list[str]:
        marks = {"mock": "MOCK: invented rows", "teaching": f"lesson: {self.fact.assurance}"}
        notes = [] if self.reliable else [UNRELIABLE]
        notes += [f"assumes: {text}" for text in self.assumptions]
        notes.append(f"epsilon {self.fact.epsilon:.3g}{' (recalled, free)' if self.fact.recalled else ''}")
        return notes + [text for mode, text in marks.items() if mode == self.fact.mode]

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        rows = [
            [html.text(label), *(html.text(f"{value:.4g}") for value in line)]
            for label, line in zip(map(_label, self.estimates.index), self.estimates.to_numpy(), strict=True)
        ]
        table = html.table(["", *map(str, self.estimates.columns)], rows)
        warn = "" if self.reliable else html.badge("not reliable", "#a3243b")
        title = html.paragraph(html.strong(self.name), warn, html.mark(self.fact.mode, self.fact.assurance))
        facts = [html.paragraph(html.text(line)) for line in self._facts()]
        return html.block(title, *facts, table, *map(html.note, self._notes()))


def rows_per_unit(rows: Rows) -> int:
    """Return how many of these rows one unit can have at most."""
    return max(1, rows.schema.rows)


def sampling(rows_each: int) -> str:
    """Return what is assumed about how rows came about."""
    return ONE_ROW if rows_each == 1 else MANY_ROWS.format(rows_each)


def wrong(reason: str, *nearest: str) -> PlanError:
    """Return the refusal of a test that is not asked like this."""
    return PlanError("api.stats", reason, nearest=nearest)


def _p(value: float) -> str:
    return "p < 0.0001" if value < 1e-4 else f"p = {value:.4f}"


def _label(label: object) -> str:
    return " / ".join(map(str, label)) if isinstance(label, tuple) else str(label)
