"""``contribution``: what each provider adds to a joint model, as Shapley values that divide its worth, and revenue.

    contribution([north, south, east], target="cost", features=["age", "region"])       # rows of their own
    contribution(joint, target="default", blocks={"bank": [...], "platform": [...]})   # columns of one aligned table

One release: a noisy Gram per provider, or one for all blocks. Every coalition's model is computed from it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from cloister.errors import PlanError
from cloister.plan import algebra
from cloister.sandbox import html, release, terms
from cloister.sandbox.align import short_names
from cloister.sandbox.answer import Answer, Fact
from cloister.sandbox.ask import Ask, Terminal
from cloister.sandbox.doubts import checked
from cloister.sandbox.frame import Frame
from cloister.sandbox.learn import asking, expected
from cloister.sandbox.learn import features as enc
from cloister.sandbox.learn.coalitions import MOST_PLAYERS, Game, divide
from cloister.sandbox.learn.encoding import on_handle
from cloister.sandbox.plot import Plot
from cloister.sandbox.rows import Rows
from cloister.sandbox.stacking import concat
from cloister.sandbox.terms import Term

Value = Literal["r2", "log_loss"]
_MEASURE, _PROVIDER = "gram", "provider"
_MISSING = ("refuse", "drop")
_FORMS = (
    'contribution([north, south], target="cost", features=["age", "region"])',
    'contribution(joint, target="cost", blocks={"bank": ["age"], "platform": ["region"]})',
)
_RELIABLE = 3.0
_WORTH = {
    "r2": "share of the target's variance explained (R2)",
    "log_loss": "gain in log-loss over the mean, in nats per row (Gaussian, -log(1 - R2) / 2)",
}


@dataclasses.dataclass(frozen=True, repr=False)
class Contribution:
    """Contributions to a joint model.

    Attributes:
        values: Shapley value of every provider: a Series whose ``.release`` has errors and intervals.
        total: The worth of the model of all, which is the sum of the values.
        table: Every provider's value with its 95 % interval, its share of the total, and its worth alone.
        divisible: Whether the total stands out of the noise; if not there is nothing to divide and no share.
        value: What is divided: ``r2`` or ``log_loss``.
        exact: Whether every coalition was valued; otherwise those of sampled orders, which the errors say.
        fact: Price, receipts and mode of the release.
    """

    values: pd.Series
    total: float
    total_low: float
    total_high: float
    table: pd.DataFrame
    divisible: bool
    value: Value
    exact: bool
    fact: Fact

    @property
    def plot(self) -> Plot:
        """Plots of the values with error bars: ``contribution.plot.barh()``."""
        found: Plot = self.values.release.plot
        return found

    def split(self, amount: float, *, places: int = 2) -> pd.Series:
        """Return how an amount is divided: in proportion to the values, nothing for those below 0; it adds up exactly.

        Args:
            amount: What there is to divide.
            places: Decimal places of a part; what rounding leaves goes to the largest remainders.

        Raises:
            PlanError: ``learn.indivisible``: the model of all explains nothing that stands out of the noise.
        """
        if not self.divisible:
            raise PlanError(
                "learn.indivisible",
                "nothing can be divided: what the model of all explains does not stand out of the noise",
                next_step="ask with more epsilon, or with features that say something about the target",
            )
        if not math.isfinite(amount):
            raise PlanError("learn.amount", "an amount is a number", nearest=("found.split(10_000)",))
        unit = 10**places
        whole = round(amount * unit)
        positive = self.values.clip(lower=0).to_numpy(dtype=float)
        exact = positive / positive.sum() * whole
        parts = np.floor(exact).astype(np.int64)
        for place in np.argsort(parts - exact, kind="stable")[: whole - int(parts.sum())]:
            parts[place] += 1
        return pd.Series([int(part) / unit for part in parts], self.values.index, name="amount")

    def _lines(self) -> list[list[str]]:
        lines = []
        for name, row in self.table.iterrows():
            share = f"{100 * row['share']:.1f} %" if self.divisible else "-"
            interval = f"[{row['low']:.3f}, {row['high']:.3f}]"
            lines.append([str(name), f"{row['value']:.3f}", interval, share, f"{row['alone']:.3f}"])
        return lines

    def _head(self) -> str:
        mode = {"mock": "MOCK, invented rows; ", "teaching": f"{self.fact.assurance}; "}.get(self.fact.mode, "")
        paid = "recalled, no charge" if self.fact.recalled else "one charge"
        return f"{mode}contributions to a joint model: epsilon {self.fact.epsilon:.3g}, {paid}"

    def _foot(self) -> str:
        how = "every coalition valued" if self.exact else "coalitions of sampled orders valued"
        found = f"all together {self.total:.3f} [{self.total_low:.3f}, {self.total_high:.3f}]: {_WORTH[self.value]}"
        if not self.divisible:
            found += "; NOTHING CAN BE DIVIDED: it does not stand out of the noise"
        return f"{found}; Shapley values, {how}; intervals: 95 %, privacy noise"

    def __repr__(self) -> str:
        rows = [_HEADS, *self._lines()]
        widths = [max(len(row[place]) for row in rows) for place in range(len(_HEADS))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([self._head(), *(f"  {line}" for line in lines), self._foot()])

    def _repr_html_(self) -> str:
        rows = [[html.text(cell) for cell in row] for row in self._lines()]
        mark = html.mark(self.fact.mode, self.fact.assurance)
        head = html.paragraph(mark, html.strong(self._head()))
        return html.block(head, html.table(_HEADS, rows), html.note(self._foot()))


_HEADS = ["provider", "value", "95 % interval", "share", "alone"]


def _contribution(
    data: Any,
    *,
    target: str,
    features: Sequence[str] | None = None,
    blocks: Mapping[str, Sequence[str]] | None = None,
    names: Sequence[str] | None = None,
    value: Value = "r2",
    missing: Literal["refuse", "drop"] = "refuse",
) -> Ask[Contribution]:
    """Release what each provider adds to a joint linear model of a target.

    Takes ``epsilon=`` or ``share=`` like every release; ``contribution.cost(...)`` tells the price.

    Args:
        data: A list of handles with the same columns, one per provider; or one handle of aligned tables.
        target: The column that is predicted: a number or a condition.
        features: Of a list of handles: the columns to predict from; by default all that all have.
        blocks: Of one handle: the columns of each provider, by its name.
        names: Of a list of handles: what the providers are called.
        value: What is divided: ``"r2"``, or ``"log_loss"``, a proxy of it that is computed from R2.
        missing: ``"refuse"`` columns that may be missing, or ``"drop"`` the rows where one is: a provider with many
            gaps is then valued by fewer of its rows.

    Raises:
        PlanError: Not handles, columns a model cannot use, fewer than two providers, or too many.
    """
    if value not in _WORTH:
        raise PlanError("api.contribution", f"value= is one of {', '.join(map(repr, _WORTH))}", nearest=_FORMS)
    if missing not in _MISSING:
        raise PlanError("api.contribution", f"missing= is one of {', '.join(map(repr, _MISSING))}", nearest=_FORMS)
    if isinstance(data, Frame):
        return _of_blocks(data, target, blocks, value, missing)
    frames = list(data) if isinstance(data, list | tuple) else []
    if blocks is not None or not frames or not all(isinstance(frame, Frame) for frame in frames):
        raise PlanError(
            "api.contribution",
            "contributions are of a list of handles, or of blocks of one handle's columns",
            nearest=_FORMS,
        )
    return _of_rows(frames, target, features, names, value=value, missing=missing)


contribution: Terminal[Contribution] = Terminal(_contribution)


def _of_rows(
    frames: list[Frame],
    target: str,
    features: Sequence[str] | None,
    names: Sequence[str] | None,
    *,
    value: Value,
    missing: enc.Missing,
) -> Ask[Contribution]:
    called = list(map(str, names)) if names is not None else short_names(frames)
    _check_players(called, len(frames))
    keys = {key for frame in frames for key in frame._rows.key}
    shared = [name for name in frames[0] if all(name in frame for frame in frames) and name not in keys]
    wanted = list(dict.fromkeys([*(features if features is not None else shared), target]))
    stacked = concat([frame[wanted] for frame in frames], keys=called, names=[_PROVIDER])
    rows, columns, _ = _encoded(stacked, [name for name in wanted if name != target], target, missing)
    key = stacked._columns[_PROVIDER]

    def present(answer: Answer) -> Contribution:
        found = answer.measure(_MEASURE)
        game = Game(np.array(found.matrices), float(found.stderr[0]))
        return _made(game, called, value, answer.fact)

    expects = expected.explained("R2 of all together", grams=len(frames), helps="fewer features")
    return checked(Ask(rows, (_gram(columns),), present, {_PROVIDER: key}), "contributions", expects)


def _of_blocks(
    frame: Frame, target: str, blocks: Mapping[str, Sequence[str]] | None, value: Value, missing: enc.Missing
) -> Ask[Contribution]:
    if not isinstance(blocks, Mapping):
        raise PlanError(
            "api.contribution", "blocks= says which columns of the handle are whose", nearest=(_FORMS[1], _FORMS[0])
        )
    held = {str(name): [columns] if isinstance(columns, str) else list(columns) for name, columns in blocks.items()}
    _check_players(list(held), len(held))
    every = [name for columns in held.values() for name in columns]
    if twice := [name for name in every if every.count(name) > 1 or name == target]:
        raise PlanError(
            "api.contribution",
            f"{twice[0]!r} is in two blocks, or a feature and the target",
            next_step="each column belongs to one provider",
            nearest=_FORMS[1:],
        )
    if empty := [name for name, columns in held.items() if not columns]:
        raise PlanError("api.contribution", f"the block {empty[0]!r} has no column", nearest=_FORMS[1:])
    rows, columns, encoded = _encoded(frame[[*every, target]], every, target, missing)
    places = {name: [at for at, whose in enumerate(encoded, 1) if whose in own] for name, own in held.items()}

    def present(answer: Answer) -> Contribution:
        found = answer.measure(_MEASURE)
        game = Game(np.array(found.matrices), float(found.stderr[0]), tuple(map(tuple, places.values())))
        return _made(game, list(held), value, answer.fact)

    expects = expected.explained("R2 of all together", helps="fewer features")
    return checked(Ask(rows, (_gram(columns),), present), "contributions", expects)


def _check_players(names: Sequence[str], providers: int) -> None:
    if not 2 <= providers <= MOST_PLAYERS or len(set(names)) != len(names) or len(names) != providers:
        raise PlanError(
            "api.contribution",
            f"contributions are of 2 to {MOST_PLAYERS} providers, each with a name of its own",
            nearest=_FORMS,
        )


def _encoded(
    frame: Frame, features: Sequence[str], target: str, missing: enc.Missing
) -> tuple[Rows, list[Term], list[str]]:
    """Return rows, encoded columns with the target last, and for each encoded feature which column it is of."""
    y = frame[target]
    asking.check_target(y)
    rows, described = enc.describe(frame[list(features)], missing)
    if enc.gappy(rows, y._term):
        if missing == "refuse":
            raise enc.missing_error(rows, target, y._term)
        rows = rows.where(terms.negation(terms.is_null(y._term)))
    found = on_handle(Frame(rows, frame[list(features)]._columns), described)
    return rows, [*found.values(), y._term], [column.feature.name for column in enc.columns(described)]


def _gram(columns: Sequence[Term]) -> algebra.Gram:
    return algebra.Gram(_MEASURE, tuple(term.scalar for term in columns))


def _made(game: Game, names: list[str], value: Value, fact: Fact) -> Contribution:
    # The same release gives the same bootstrap; the seed says nothing about data.
    found = divide(dataclasses.replace(game, log=value == "log_loss"), list(fact.plan_digest.encode()))
    divisible = bool(found.low[-1] > 0 and found.total > _RELIABLE * found.stderr[-1])
    index = pd.Index(names, name="provider")
    parts = {
        "value": pd.Series(found.values, index, name=value),
        "stderr": pd.Series(found.stderr[:-1], index),
        "low": pd.Series(found.low[:-1], index),
        "high": pd.Series(found.high[:-1], index),
        "unreliable": pd.Series(not divisible, index),
    }
    table = pd.DataFrame({name: parts[name] for name in ("value", "stderr", "low", "high")})
    table["share"] = found.values / found.total if divisible else np.nan
    table["alone"] = found.alone
    table["sampling"] = found.sampling
    derived = f"Shapley values of {_WORTH[value]}; errors by parametric bootstrap of the noise, {found.draws} draws"
    values = release.bind(parts, fact, derived)
    ends = (float(found.low[-1]), float(found.high[-1]))
    return Contribution(values, found.total, *ends, table, divisible, value, not found.sampling.any(), fact)
