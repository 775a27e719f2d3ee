"""``cl.match_report``: how many units several tables have, each, in pairs and together; one release with error bars.

Which units a table has is asked once per unit, over the stack of all tables, so every unit counts in each number once:
one charge, the noise of every number is of one size, and shares are computed from the counts at no further cost.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pandas as pd

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.moments import Estimate, Noisy, ratio
from cloister.plan.shape import ShapedMeasure
from cloister.sandbox import html
from cloister.sandbox.align import handles, short_names
from cloister.sandbox.answer import Answer, Fact
from cloister.sandbox.ask import Ask, Terminal
from cloister.sandbox.frame import Frame
from cloister.sandbox.plot import Plot

MOST_WITH_PAIRS = 10
ALL = "all"
_SHARE = (0.0, 1.0)


@dataclasses.dataclass(frozen=True, repr=False)
class MatchReport:
    """A released match report.

    Attributes:
        tables: What the tables are called here.
        counts: Units of each table, of every pair (``a & b``) and of all together: a released Series.
        unmatched: For each table the share of its units that some other table does not have, with its 95 % interval.
        fact: Price, receipts and mode of the release.
    """

    tables: tuple[str, ...]
    counts: pd.Series
    unmatched: pd.DataFrame
    fact: Fact

    @property
    def plot(self) -> Plot:
        """Plots of the counts with error bars: ``report.plot.bar()``."""
        found: Plot = self.counts.release.plot
        return found

    def table(self) -> pd.DataFrame:
        """Return every count with its standard error and 95 % interval."""
        found: pd.DataFrame = self.counts.release.table()
        return found

    def _head(self) -> str:
        mode = {"mock": "MOCK, invented rows; ", "teaching": f"{self.fact.assurance}; "}.get(self.fact.mode, "")
        paid = "recalled, no charge" if self.fact.recalled else "one charge"
        return f"{mode}match report of {', '.join(self.tables)}: epsilon {self.fact.epsilon:.3g}, {paid}"

    def __repr__(self) -> str:
        lines = [self._head()]
        for name, row in self.table().iterrows():
            lines.append(f"  {name}: {_count(row)}")
        lines += [f"  {name} without a match in {self._others}: {_share(row)}" for name, row in self._shares()]
        return "\n".join([*lines, "intervals: 95 %, privacy noise"])

    def _repr_html_(self) -> str:
        counts = [[html.text(name), html.text(_count(row))] for name, row in self.table().iterrows()]
        shares = [[html.text(name), html.text(_share(row))] for name, row in self._shares()]
        return html.block(
            html.paragraph(html.mark(self.fact.mode, self.fact.assurance), html.strong(self._head())),
            html.table(["units in", "count, 95 % interval"], counts),
            html.table([f"table, without a match in {self._others}", "share of its units"], shares),
        )

    @property
    def _others(self) -> str:
        return "the other table" if len(self.tables) == 2 else "all the others"

    def _shares(self) -> list[tuple[Any, pd.Series]]:
        return list(self.unmatched.iterrows())


def _match_report(*tables: Any, pairs: bool | None = None) -> Ask[MatchReport]:
    """Release how many units the tables have: each, every two of them, and all together.

    Takes ``epsilon=`` or ``share=`` like every release; ``cl.match_report.cost(...)`` tells the price.

    Args:
        tables: Two or more handles (or one list of them) that protect the same unit and compare its key alike.
        pairs: Whether every two tables are counted too: each count more costs precision of all. By default up to 10
            tables.

    Raises:
        PlanError: Not handles, units that differ, or pairs of more than 10 tables.
    """
    frames = handles("match_report", tables)
    names = short_names(frames)
    wanted = len(frames) <= MOST_WITH_PAIRS if pairs is None else bool(pairs)
    if wanted and len(frames) > MOST_WITH_PAIRS:
        raise PlanError(
            "api.match_report",
            f"{len(frames)} tables have {len(frames) * (len(frames) - 1) // 2} pairs, too many for one release",
            nearest=("cl.match_report(*tables, pairs=False)", "cl.match_report(tables[0], tables[1])"),
        )
    rows = frames[0]._rows.on(_membership(frames, names), "units in each of " + ", ".join(names))
    groups: list[tuple[str, ...]] = [(name,) for name in names]
    groups += itertools.combinations(names, 2) if wanted and len(names) > 2 else []
    groups.append(tuple(names))
    measures = tuple(a.Sum(_label(group, names), _in_all(group)) for group in groups)

    def present(answer: Answer) -> MatchReport:
        labels = [measure.name for measure in measures]
        together = answer.measure(_label(tuple(names), names))
        unmatched = {name: _rest(together, answer.measure(name)) for name in names}
        shares = {name: (found.value, found.low, found.high, found.unreliable) for name, found in unmatched.items()}
        table = pd.DataFrame.from_dict(shares, orient="index", columns=["share", "low", "high", "unreliable"])
        counts = answer.row({label: label for label in labels}, "units")
        return MatchReport(tuple(names), counts, table, answer.fact)

    return Ask(rows, measures, present)


match_report: Terminal[MatchReport] = Terminal(_match_report)


def _membership(frames: list[Frame], names: list[str]) -> a.PerUnit:
    """Return one row per unit that any table has, with a condition for each table: whether it has the unit."""
    there = (("there", a.Boolean(True)),)
    stacked = a.Stack(
        tuple(a.Select(a.Derive(frame._rows.relation, there), ("there",)) for frame in frames), "table", tuple(names)
    )
    tests = (a.Compare("eq", a.Col("table"), a.Text(name)) for name in names)
    return a.PerUnit(
        stacked, tuple(a.UnitMeasure(_column(name), "any", test) for name, test in zip(names, tests, strict=True))
    )


def _column(name: str) -> str:
    return f"in {name}"


def _in_all(group: tuple[str, ...]) -> a.Scalar:
    columns = tuple(a.Col(_column(name)) for name in group)
    return columns[0] if len(columns) == 1 else a.And(columns)


def _label(group: tuple[str, ...], names: list[str]) -> str:
    return ALL if len(group) == len(names) > 2 else " & ".join(group)


def _rest(together: ShapedMeasure, own: ShapedMeasure) -> Estimate:
    """Return the share of a table's units that are not in all tables, by Fieller's interval."""
    matched = ratio(_noisy(together), _noisy(own), _SHARE, positive=True)
    return Estimate(1 - matched.value, matched.stderr, 1 - matched.high, 1 - matched.low, matched.unreliable)


def _noisy(found: ShapedMeasure) -> Noisy:
    return Noisy(float(found.values[0]), float(found.stderr[0]), float(found.high[0]) - float(found.values[0]))


def _count(row: pd.Series) -> str:
    doubt = "  (unreliable)" if row["unreliable"] else ""
    return f"{row['value']:,.0f}  [{max(row['low'], 0):,.0f}, {row['high']:,.0f}]{doubt}"


def _share(row: pd.Series) -> str:
    doubt = "  (unreliable)" if row["unreliable"] else ""
    return f"{100 * row['share']:.1f} %  [{100 * row['low']:.1f} %, {100 * row['high']:.1f} %]{doubt}"
